"""Learning to Summarize from Human Feedback (Stiennon et al. 2020): a reward model of preferences, or of steps.

Of two answers to a prompt, the preferred one gets a higher reward, under the logistic loss of the Bradley-Terry model.
The result rewards completions as `--verifier reward:runs/NAME`, for `grpo`, `online_dpo` and others.

With `supervision=process` it learns which lines of an answer are right (Lightman et al. 2024, a process reward model),
from prompts, lists of steps (`completions`) and lists of `labels`, by cross-entropy at the last token of each step, as
TRL's `PRMTrainer` does. It then rewards lines as `--verifier process:runs/NAME`.

Departures: the reward is the model's own logit of its end-of-sequence token behind the whole answer, where others add a
head of one output (of two, for steps): a row of the head that is there is such a head, and the result stays a plain
causal language model that `from_pretrained` loads. `center` keeps rewards near 0, as in TRL (Eisenstein et al. 2023),
whose learning rate it has: five times that of `sft`.

Compared with trl/trainer/reward_trainer.py and trl/experimental/prm/prm_trainer.py of huggingface/trl: the losses
agree, `center` too. The authors' code (openai/summarize-from-feedback, reward_model.py) reads its head at the last
token of the answer, and has no training loss. Values and gradients:
`tests/methods/test_language_objectives.py::test_a_reward_model_is_a_bradley_terry_model`.

On `last_letter:compared`, it is better than a tuned `sft` by 6.3 points of pairs in the right order (2.7 to 9.2), and
undecided against itself without its mechanism ("dpo") (+2.2, -1.7 to +5.2); a single run does not show that. Training
takes 1.9 times the operations of the baseline.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.losses.policy.preferences import bradley_terry_loss, step_label_loss
from didact.losses.tokens.rows import metric_term
from didact.rollouts import answer_rewards, step_rewards
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `reward_model`."""

    supervision: Literal["outcome", "process"] = "outcome"  # which of two answers is better; which steps are right
    center: float = 0.0  # weight of the squared sum of a pair's rewards, which keeps them around 0

    def __post_init__(self) -> None:
        check_range("center", self.center, at_least=0.0)
        check_choice("supervision", self.supervision, ("outcome", "process"))
        if self.supervision == "process" and self.center:
            raise ConfigError(f"center is {self.center:g}, but supervision 'process' has no pairs; leave out center.")


class RewardModel(Method):
    """Learn to reward preferred answers, or right steps.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = CompletionFeed(pairs=True, rate=5.0)

    answer_scores = staticmethod(answer_rewards)
    """How a model orders answers, for the evaluation."""

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config, self.learner = config, learner
        steps = config.supervision == "process"
        self.feed = replace(self.feed, pairs=not steps, steps=steps)

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`, and `center` if it has weight; or `step`.

        `right` is the share of correctly ordered pairs, or of steps that are taken for what they are.
        """
        if self.config.supervision == "process":
            return self._steps(batch)
        chosen, rejected = (self.answer_scores(self.learner, side) for side in (batch, batch.view("rejected")))
        losses = bradley_terry_loss(chosen, rejected)
        right = metric_term((chosen > rejected).float())
        terms = Terms(preference=Term(losses.sum(), len(losses), rows=losses), right=right)
        if self.config.center:
            squares = (chosen + rejected).square()
            terms["center"] = Term(squares.sum(), len(squares), rows=squares).times(self.config.center)
        return terms

    def _steps(self, batch: Batch) -> Terms:
        label = batch["step_label"]
        rewards, there = step_rewards(self.learner, batch), (label >= 0).float()
        losses, right = step_label_loss(rewards, label), ((rewards > 0) == (label > 0.5)).float()
        rows = losses.sum(1) / there.sum(1)
        return Terms(step=Term(losses.sum(), there.sum(), rows=rows), right=metric_term(right, there))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs, or the steps."""
        if self.config.supervision == "process":
            return dict.fromkeys(("step", "right"), (batch["step_label"] >= 0).sum())
        return dict.fromkeys(("preference", "right", "center"), batch.size)


CLAIM = Claim(
    statement="A reward model orders more unseen pairs of answers rightly than the likelihoods of a model that fits "
    "the better answers.",
    arms={
        "reward_model": "reward_model",
        "sft": "sft",
        "dpo": "dpo",
        "untaught": {"method": "reward_model", "lr": 1e-9},
    },
    method="reward_model",
    baseline="sft",
    cheap="sft",
    ablation="dpo",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "reward_model": {"lr": (0.001, 0.003, 0.01)},
        "sft": {"lr": (0.001, 0.003, 0.01)},
        "dpo": {"lr": (0.0003, 0.001, 0.003)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:30%:decoder:1x32",
        "batch_size": 32,
        "steps": 60,
        "sampling": {"max_new_tokens": 2},
        "evaluate_every": 1000,
    },
    equal="steps",
    metric="pair_accuracy",
    world="last_letter:compared",
    shows="What a score of whole answers learns from pairs, beside what likelihoods know of them.",
    omits="Judgements of people, whose pairs are not all ordered by one rule.",
)
