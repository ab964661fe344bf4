"""Language models as reward models: how they score answers and their steps, and the verifiers that ask one.

Axis letters: B answers, S steps, T positions, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from didact.rollouts.layout import bounded, step_positions
from didact.rollouts.sampling import Sampling
from didact.rollouts.writer import Writer
from didact.sources.steps import step_ends
from didact.teachers.verifiers import Abstention, Verifier
from didact.types import Batch, Question, StepRewards


def answer_rewards(model: Any, batch: Batch) -> Tensor:
    """The rewards that a reward model gives whole answers: its logits of the end-of-sequence token behind them.

    Args:
        model: a `CausalLearner`.
        batch: B prompts with answers, padded on the right.

    Returns:
        float [B], differentiable.
    """
    last = batch["attention_mask"].sum(1, keepdim=True) - 1
    return step_rewards(model, Batch({**batch, "step_at": last}))[:, 0]


def step_rewards(model: Any, batch: Batch) -> Tensor:
    """The rewards that a reward model gives steps: its logits of the end-of-sequence token behind each.

    Args:
        model: a `CausalLearner`.
        batch: B prompts with answers, padded on the right; `step_at` int64 [B, S] has the position of the last token of
            each step, and any position where an answer has fewer steps.

    Returns:
        float [B, S], differentiable.
    """
    output, place = model(batch), batch["step_at"]
    states = output.hidden.gather(1, place.unsqueeze(-1).expand(-1, -1, output.hidden.shape[-1]))
    return output.head(states)[..., model.tokenizer.eos]


@torch.no_grad()
def read_answers(
    model: Any, questions: Sequence[Question], texts: Sequence[str], *, steps: bool = False
) -> list[float | StepRewards | Abstention]:
    """What a reward model makes of answers.

    Args:
        model: a `CausalLearner`, in evaluation mode.
        questions: B of them.
        texts: an answer to each.
        steps: whether to judge the lines of answers, by the probability that each is right, or answers as a whole.

    Returns:
        B rewards, of any sign, or those of the steps; an abstention for an answer that it cannot read as a whole.
    """
    rollouts, context = Writer(model, Sampling()).encode(questions, texts), model.context
    fits = (rollouts.batch["attention_mask"].sum(1) <= context).tolist()
    rows = {name: x[:, :context] if x.ndim > 1 else x for name, x in rollouts.batch.items()}
    ends = [step_ends(text) for text in texts]
    if steps:
        places = [torch.tensor(found or [0]) for found in step_positions(rollouts, ends, model.tokenizer)]
        rows["step_at"] = pad_sequence(places, batch_first=True).clamp(max=context - 1)
    ask = step_rewards if steps else answer_rewards
    found = torch.cat([ask(model, part.to(model.device)).float().cpu() for part in bounded(Batch(rows))])
    scores = found.tolist() if not steps else list(map(_zipped, ends, found.sigmoid().tolist()))
    long = Abstention("is longer than the reward model can read")
    return [score if fit else long for score, fit in zip(scores, fits, strict=True)]


def _zipped(ends: Sequence[int], rewards: Sequence[float]) -> StepRewards:
    return tuple(zip(ends, rewards, strict=False))


class RewardModelVerifier(Verifier):
    """Rewards answers by a model of preferences; abstains on those that it cannot read as a whole.

    Args:
        model: a `CausalLearner`, trained by `reward_model`.
        name: its spec.
        steps: reward the lines of an answer, each by the probability that it is right, by a model that learned labels
            of steps; otherwise answers as a whole, by a model of preferences.
    """

    kind = "a reward model"

    def __init__(self, model: Any, *, name: str, steps: bool = False) -> None:
        super().__init__()
        self.model, self.name, self.by_step = model.eval().requires_grad_(False), name, steps

    def __str__(self) -> str:
        """Its spec."""
        return self.name

    def score(self, text: str, question: Question) -> float | StepRewards:
        """The reward of one answer, or those of its steps."""
        (found,) = self._scores([text], [question], None)
        if isinstance(found, Abstention):
            raise found
        return found

    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> Sequence[float | StepRewards | Abstention]:
        return read_answers(self.model, questions, texts, steps=self.by_step)
