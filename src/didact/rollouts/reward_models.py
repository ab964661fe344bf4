"""Language models as reward models: how they score answers, and the verifier that asks one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.rollouts.sampling import Sampling
from didact.rollouts.writer import Writer
from didact.teachers.verifiers import Abstention, Verifier
from didact.types import Batch, Question

_ROWS = 64
"""How many answers a reward model reads at once."""


def answer_rewards(model: Any, batch: Batch) -> Tensor:
    """The rewards that a reward model gives whole answers: its logits of the end-of-sequence token behind them.

    Args:
        model: a `CausalLearner`.
        batch: B prompts with answers, padded on the right.

    Returns:
        float [B], differentiable.
    """
    output = model(batch)
    last = batch["attention_mask"].sum(1) - 1
    states = output.hidden[torch.arange(batch.size, device=last.device), last]
    return output.head(states)[:, model.tokenizer.eos]


class RewardModelVerifier(Verifier):
    """Rewards answers by a model of preferences; abstains on those that it cannot read as a whole.

    Args:
        model: a `CausalLearner`, trained by `reward_model`.
        name: its spec.
    """

    kind = "a reward model"

    def __init__(self, model: Any, *, name: str) -> None:
        super().__init__()
        self.model, self.name = model.eval().requires_grad_(False), name
        self.writer = Writer(model, Sampling())

    def __str__(self) -> str:
        """Its spec."""
        return self.name

    def score(self, text: str, question: Question) -> float:
        """The reward of one answer."""
        (found,) = self._scores([text], [question], None)
        if isinstance(found, Abstention):
            raise found
        return found

    @torch.no_grad()
    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> list[float | Abstention]:
        batch = self.writer.encode(questions, texts).batch
        fits = batch["attention_mask"].sum(1) <= self.model.context
        rows = Batch({name: x[:, : self.model.context] if x.ndim > 1 else x for name, x in batch.items()})
        parts = rows.to(self.model.device).split(_ROWS)
        found = torch.cat([answer_rewards(self.model, part).float().cpu() for part in parts])
        long = Abstention("is longer than the reward model can read")
        return [value if fit else long for value, fit in zip(found.tolist(), fits.tolist(), strict=True)]
