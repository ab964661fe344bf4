"""The mechanism of `cross_tokenizer`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy
from didact.mechanisms.world import normal
from didact.methods.language.cross_tokenizer import Config, CrossTokenizer
from didact.teachers import LanguageTeacher
from didact.types import Batch

P, V = 16, 4


@mechanism(
    world="A student whose words are two tokens, and a teacher whose words are one, with a score for every pair.",
    effect="Chunks are compared by the chain rule: if each word is as likely for both, there is no loss.",
    control="The teacher's words have the likelihoods of other prompts.",
    breaks=("drop binarised_kl", "shuffle token_log_probs"),
)
def words_are_compared_whatever_their_tokens(seed: int) -> Found:
    """The loss."""
    mine = normal(P, V, seed=seed)
    log_q = mine.log_softmax(1)
    words = (log_q[:, :, None] + log_q[:, None, :]).flatten(1)
    first, second = torch.randint(V, (2, P), generator=torch.Generator().manual_seed(seed))
    nothing, prompts = torch.zeros(P, dtype=torch.int64), torch.arange(P)

    def view(*tokens: Tensor, width: int) -> dict[str, Tensor]:
        ids = torch.stack([nothing, *tokens], 1)
        mask = torch.ones_like(ids).bool()
        mask[:, 0] = False
        chunk = mask.long().clamp(max=width)
        return {"input_ids": ids, "completion_mask": mask, "chunk": chunk, "id": prompts}

    def measured(theirs: Tensor) -> float:
        method = CrossTokenizer(Config(), Policy(mine), LanguageTeacher(Policy(theirs)))
        other = {f"teacher.{name}": tensor for name, tensor in view(first * V + second, width=1).items()}
        batch = Batch({**view(first, second, width=1), **other})
        return float(method.loss(batch)["teacher"].mean().detach())

    return Found(effect=measured(words), predicted=near(0.0), control=measured(words.roll(1, 0)), null=above(0.02))
