"""The mechanism of `grpo_lambda`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.policies import Policy, collected
from didact.methods.language.grpo_lambda import Config, GRPOLambda
from didact.types import Batch

P, G, V = 4, 6, 3


@mechanism(
    world="Rollouts of different lengths; one prompt is always answered rightly, the others half of the time.",
    effect="Of right completions the longer earn less, where the prompt is mastered: advantage falls with length.",
    control="Where the prompt is not mastered, length earns nothing.",
    breaks=("flip penalise_length", "drop penalise_length"),
)
def length_is_paid_for_where_a_prompt_is_mastered(seed: int) -> Found:
    """The correlation of length and advantage among the right completions of a prompt."""
    length = torch.stack([torch.randperm(G, generator=torch.Generator().manual_seed(seed + k)) + 1 for k in range(P)])
    mask = torch.arange(G + 1) < (length + 1).flatten().unsqueeze(1)
    mask[:, 0] = False
    right = torch.tensor([[1.0] * G] + [[1.0, 0.0] * (G // 2)] * (P - 1)).flatten()
    group = torch.arange(P).repeat_interleave(G)
    ids = mask.long()
    ones = torch.ones(P * G)
    batch = Batch(
        {
            **{"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask, "reward": right},
            **{"id": group, "group": group, "temperature": ones, "trust": ones, "log_probs": torch.zeros(ids.shape)},
        }
    )
    method = GRPOLambda(Config(share=1 / P, strength=0.3), Policy(torch.zeros(P, V)))
    advantage = collected(method, batch)["advantage"].view(P, G)

    def measured(k: int) -> float:
        seen = right.view(P, G)[k] > 0
        pair: Tensor = torch.stack([length[k][seen].float(), advantage[k][seen]])
        return 0.0 if pair[1].std() < 1e-6 else float(torch.corrcoef(pair)[0, 1])

    return Found(effect=measured(0), predicted=below(-0.9), control=measured(1), null=(-0.1, 0.1))
