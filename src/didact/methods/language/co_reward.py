"""Co-Reward: Self-supervised Reinforcement Learning for LLM Reasoning via Contrastive Agreement (Zhang et al. 2025).

No answers are known. Each prompt is sampled in two wordings, and a completion of one wording is rewarded if it agrees
with the most frequent answer to the other. A wrong answer is rewarded only if the learner makes the same mistake in
both wordings.

Departures: the paraphrase comes with the data, in the field `paraphrase`; whole answers are compared as text; there is
no divergence from a reference, and the loss is averaged over all tokens of a step, as in `grpo`. With `votes=own`, each
wording rewards its own most frequent answer. With `votes=single`, the paraphrase is not used, which is the majority
vote that the paper compares with.

The claim comes out the other way: votes do harm. A decoder that was right on 55% of the sums fell to 40% with votes
across wordings and to 33% with as many on one wording, while known answers raised it to 73%. Whether another wording
slows the collapse is not settled: the same seeds, with sums that were rounded otherwise, gave 36% and 21%. On the seed
that the learning rate was chosen on, both gained 8 points.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import DataError
from didact.losses.labels.votes import cross_view_vote, majority_vote
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.surrogate import ClipConfig
from didact.rollouts import concat
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `co_reward`."""

    votes: Literal["other", "own", "single"] = "other"  # whose votes give the reward; single uses one wording

    def __post_init__(self) -> None:
        super().__post_init__()


class CoReward(Method):
    """Learn from the agreement between completions of two wordings of a prompt.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="itself", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `reward` and `advantage` [B]; with two wordings, twice as many.

        `group` has a value for each wording of each prompt.

        Raises:
            DataError: a prompt has no paraphrase, and one is needed.
        """
        asked = [questions] if self.config.votes == "single" else [questions, [paraphrase(q) for q in questions]]
        parts = [writer.write(wording, turn=turn, verify=False) for turn, wording in enumerate(asked)]
        whole = concat(parts)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(text.strip() for text in whole.texts))}
        answer = torch.tensor([numbers[text.strip()] for text in whole.texts])
        view = (torch.arange(len(answer)) >= len(parts[0].texts)).long()
        _, place = whole.batch["group"].unique(return_inverse=True)
        group = 2 * place + view
        agreed = cross_view_vote(answer, place, view) if self.config.votes == "other" else majority_vote(answer, group)
        paid = {"group": group, "reward": agreed.float(), "trust": torch.ones(len(answer))}
        return add_advantages(Batch({**whole.batch, **paid}))

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; the others are metrics, with the reward of the votes."""
        tokens = policy_outputs(self.learner(batch), batch)
        losses = tokens.ppo_clip_loss(batch["advantage"], *self.config.clip)
        return Terms(policy=tokens.rows.term(losses), **tokens.metrics(batch))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All tokens."""
        return rollout_counts(batch, {"policy": "token"})


def paraphrase(question: Question) -> Question:
    """The paraphrase of a prompt.

    Raises:
        DataError: it has none.
    """
    words = question.data.get("paraphrase")
    if not isinstance(words, str) or not words:
        raise DataError(
            f"The question {question.prompt[:60]!r} has no paraphrase in its data; give the same question in other "
            "words in a column of that name, as the world addition:paraphrased does."
        )
    return dataclasses.replace(question, prompt=words, messages=())


CLAIM = Claim(
    statement="Without any answer, a decoder that can add a little becomes right on more held-out sums than it was, by "
    "the votes on another wording of each prompt.",
    arms={
        "co_reward": {"method": "co_reward", "batch_size": 128},
        "one wording": {"method": "co_reward", "votes": "single"},
        "ground truth": "grpo",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="co_reward",
    baseline="untaught",
    cheap="one wording",
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8,slots=256",
        "steps": 100,
        "batch_size": 256,
        "lr": 2e-4,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="All arms learn from 256 completions a step: 16 prompts in two wordings, or 32 in one, 8 times each; the "
    "source of the votes differs, and in one arm the answers are known.",
    omits="Longer training, in which the paper sees votes on one wording collapse, and paraphrases by another model.",
    world="addition:paraphrased",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0,),
    tuned="The learning rate and the steps of co_reward, one wording and the ground truth: 1e-4 (60 steps), 2e-4 and "
    "5e-4 (100 steps). On the reported seeds, one wording, which does still worse, was the baseline at first.",
    systems=("co-reward",),
)
