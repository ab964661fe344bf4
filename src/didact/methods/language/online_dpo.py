"""Direct Language Model Alignment from Online AI Feedback (Guo et al. 2024, OAIF; online DPO).

DPO on the policy's own completions: several are sampled for each prompt, the one with the highest reward is preferred
to the one with the lowest, and the pair is learned at once. Unlike pairs that were collected beforehand, these stay on
policy.

Departures: rewards come from a verifier, which may be a reward model (`--verifier reward:runs/NAME`), where the paper
asks a language model which of two completions is better; of more than two, the extremes are a pair (`samples=2` is the
paper's). Prompts whose rewards are all equal have no pair. The learning rate is a fortieth of `sft`'s, as in TRL.

Compared with trl/experimental/online_dpo/online_dpo_trainer.py of huggingface/trl, as the authors' code is not public:
both objectives, sums over tokens and the default of beta agree. There, equal rewards make a pair too, and
log-probabilities are at a temperature of 1, here at that of sampling. Values and gradients:
`tests/methods/test_language_objectives.py::test_online_dpo_prefers_the_best_of_its_own_completions_to_the_worst`.

On `last_letter:compared`, it is undecided against a tuned `dpo` (+3.8 points, -1.9 to +9.4), and undecided against
`grpo` (-1.6, -4.5 to +1.4). Training takes 0.7 times the operations of the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.policy.groups import dead_groups, extremes_of_groups, group_mean
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import dpo_loss, ipo_loss
from didact.losses.tokens.rows import metric_term
from didact.rollouts import score_completions
from didact.teachers import snapshot
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `online_dpo`."""

    objective: Literal["dpo", "ipo"] = "dpo"  # the loss of a pair; see dpo
    beta: float = 0.1  # weight of the divergence from the initial model; higher stays nearer

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, ("dpo", "ipo"))
        check_range("beta", self.beta, above=0.0)


class OnlineDPO(Method):
    """Learn preferences between own completions.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.025, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config, self.learner = config, learner
        self.reference = snapshot(learner)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """The best completion of each prompt, its worst as the view `rejected`, and their log-probabilities at first.

        `pair` [P] is 0 for prompts without a pair.
        """
        batch = writer.write(questions).batch
        reward, trust = batch["reward"], batch["trust"]
        best, worst = extremes_of_groups(reward, batch["group"], trust)
        chosen, rejected = batch.select(best), batch.select(worst)
        known = (trust > 0).float()
        told = {
            "reward": group_mean(reward, batch["group"], known)[best],
            "pair": 1.0 - dead_groups(reward, batch["group"], trust)[best],
            "reference": score_completions(self.reference.learner, chosen),
            "rejected.reference": score_completions(self.reference.learner, rejected),
            "gap": chosen["reward"] - rejected["reward"],
        }
        inputs = ("input_ids", "attention_mask", "completion_mask", "temperature")
        return Batch({**chosen, **{f"rejected.{name}": rejected[name] for name in inputs}, **told})

    def loss(self, batch: Batch) -> Terms:
        """The term `preference`; the others are metrics: the share of correctly ordered pairs, and rewards."""
        other, pair = batch.view("rejected"), batch["pair"]
        chosen, rejected = (sequence_log_probs(self.learner(side), side) for side in (batch, other))
        compare = dpo_loss if self.config.objective == "dpo" else ipo_loss
        losses = compare(chosen, rejected, batch["reference"], other["reference"], beta=self.config.beta)
        right = (chosen - batch["reference"] > rejected - other["reference"]).float()
        return Terms(
            preference=Term((losses * pair).sum(), pair.sum(), rows=losses.masked_fill(pair == 0, float("nan"))),
            right=metric_term(right, pair),
            gap=metric_term(batch["gap"]),
            reward=metric_term(batch["reward"], batch["trust"]),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs, and the prompts."""
        pairs = batch["pair"].sum()
        return {"preference": pairs, "right": pairs, "gap": batch.size, "reward": batch["trust"].sum()}


CLAIM = Claim(
    statement="A model gives the best answer more often after DPO on pairs of its own completions than after DPO on "
    "pairs that were made beforehand.",
    arms={
        "online_dpo": "online_dpo",
        "dpo": {"method": "dpo", "batch_size": 16},
        "grpo": "grpo",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="online_dpo",
    baseline="dpo",
    cheap="grpo",
    ablation="dpo",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "online_dpo": {"beta": (0.1, 0.5), "lr": (0.0003, 0.001, 0.003)},
        "dpo": {"beta": (0.1, 0.5), "lr": (0.0003, 0.001, 0.003)},
        "grpo": {"lr": (0.001, 0.003)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:30%:decoder:1x32",
        "sampling": {"max_new_tokens": 2, "samples": 4},
        "batch_size": 64,
        "steps": 80,
        "evaluate_every": 1000,
    },
    equal="steps",
    world="last_letter:compared",
    shows="Pairs of the policy's own completions by a verifier, against pairs of the data, of 16 prompts a step each.",
    omits="Rewards of a language model, and preferences of people.",
)
