"""Co-Reward: Self-supervised Reinforcement Learning for LLM Reasoning via Contrastive Agreement (Zhang et al. 2025).

No answers are known. Each prompt is sampled in two wordings, and a completion of one wording is rewarded if it agrees
with the most frequent answer to the other. A wrong answer is rewarded only if the learner makes the same mistake in
both wordings.

Departures: the paraphrase comes with the data, in the field `paraphrase`; whole answers are compared as text; there is
no divergence from a reference, and the loss is averaged over all tokens of a step, as in `grpo`. With `votes=own`, each
wording rewards its own most frequent answer. With `votes=single`, the paraphrase is not used, which is the majority
vote that the paper compares with.

Compared with verl/workers/reward_manager/co_reward.py and dp_actor.py of resistzzz/Co-Reward: the votes, ties, empty
answers and advantages agree. Its loss is the sum of the wordings' token means, with a bound of 3 for negative
advantages and a KL of weight 0.005. Values and gradients:
`tests/methods/test_language_votes.py::test_co_reward_has_the_clipped_loss_of_its_votes`.

On `addition:paraphrased`, it is better than a tuned "one wording" by 4.0 points (0.5 to 7.5), undecided against
"untaught" (+3.9, -0.2 to +7.9), and undecided against itself without its mechanism ("own votes") (+2.0, -1.0 to +5.0);
a single run does not show that.
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
        # An empty answer, on which all completions can agree, says nothing.
        valid = torch.tensor([bool(text.strip()) for text in whole.texts])
        if self.config.votes == "other":
            agreed = cross_view_vote(answer, place, view, valid)
        else:
            agreed = majority_vote(answer, group, valid)
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
    statement="Without any answer, a decoder that can add a little becomes right on more held-out sums by the votes on "
    "another wording of each prompt than by those on the same wording.",
    arms={
        "co_reward": {"method": "co_reward", "batch_size": 64},
        "one wording": {"method": "co_reward", "votes": "single"},
        "own votes": {"method": "co_reward", "votes": "own", "batch_size": 64},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="co_reward",
    baseline="one wording",
    cheap="untaught",
    ablation="own votes",
    smallest_effect=0.03,
    search={
        "co_reward": {"lr": (1e-4, 3e-4, 1e-3)},
        "one wording": {"lr": (1e-4, 3e-4, 1e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309),
    settings={
        "student": "warm:60%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8,slots=256",
        "steps": 40,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="All arms learn from 128 completions a step: 8 prompts in two wordings, or 16 in one, 8 times each; the "
    "source of the votes differs.",
    omits="Longer training, in which the paper sees votes on one wording collapse, and paraphrases by another model.",
    world="addition:paraphrased",
    systems=("co-reward",),
)
