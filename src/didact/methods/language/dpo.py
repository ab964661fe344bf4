"""Direct Preference Optimization: Your Language Model is Secretly a Reward Model (Rafailov et al. 2023, DPO).

Of two answers to a prompt, the preferred one becomes more likely and the other less likely, both relative to the frozen
initial model, under the logistic loss of the Bradley-Terry model of preferences.

Departures: none. `objective` has three others. `ipo` (Azar et al. 2024) leads the margin to 1 / (2 beta), where DPO
widens it without end; as in TRL, it compares log-probabilities per token. `simpo` (Meng et al. 2024) compares them with
a margin and without a reference. `orpo` (Hong et al. 2024) fits the preferred answer and compares odds, weighted by
beta; it needs no reference either, and starts from any model. The defaults of `beta` are the papers'. The loss is a
mean over pairs and the learning rate a twentieth of `sft`'s, as in TRL.

Compared with trainers.py of eric-mitchell/direct-preference-optimization (whose `ipo` sums over tokens),
scripts/simpo_trainer.py of princeton-nlp/SimPO (which advises a margin of half of beta, by default a quarter) and
src/orpo_trainer.py of xfactlab/orpo (which by default fits prompts too, with a beta of 1): the losses agree. Values and
gradients: `tests/methods/test_language_objectives.py::test_dpo_has_the_objectives_of_its_successors`.

On `last_letter:compared`, it is worse than a tuned `sft` by 11.8 points (7.4 to 16.3). Training takes 2.7 times the
operations of the baseline.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_choice, check_range
from didact.losses.policy.outputs import sequence_log_probs
from didact.losses.policy.preferences import dpo_loss, ipo_loss, odds_ratio_loss, simpo_loss
from didact.losses.tokens.rows import metric_term, select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.teachers import snapshot
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `dpo`."""

    objective: Literal["dpo", "ipo", "simpo", "orpo"] = "dpo"  # the loss of a pair
    beta: float | None = None  # how strongly pairs are told apart; 0.1 by default, 2 for simpo
    margin: float = 1.0  # simpo: by how much the preferred answer is to win

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, ("dpo", "ipo", "simpo", "orpo"))
        if self.beta is not None:
            check_range("beta", self.beta, above=0.0)
        check_range("margin", self.margin, at_least=0.0)


class DPO(Method):
    """Learn preferences without a reward model.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = CompletionFeed(pairs=True, rate=0.05)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner
        self.beta = config.beta or (2.0 if config.objective == "simpo" else 0.1)
        self.reference = snapshot(learner) if config.objective in ("dpo", "ipo") else None

    def loss(self, batch: Batch) -> Terms:
        """The terms `preference`, and `answer` for ORPO; `right` is the share of correctly ordered pairs."""
        config, mean = self.config, self.config.objective != "dpo"
        sides = batch, batch.view("rejected")
        outputs = [self.learner(side) for side in sides]
        mine = [sequence_log_probs(output, side, mean=mean) for output, side in zip(outputs, sides, strict=True)]
        theirs = self._by_reference(sides, mean=mean)
        if config.objective == "simpo":
            losses = simpo_loss(*mine, beta=self.beta, margin=config.margin)
        elif config.objective == "orpo":
            losses = self.beta * odds_ratio_loss(*mine)
        else:
            compare = dpo_loss if config.objective == "dpo" else ipo_loss
            losses = compare(*mine, *theirs, beta=self.beta)
        chosen, rejected = (now - before for now, before in zip(mine, theirs, strict=True))
        right = metric_term((chosen > rejected).float())
        terms = Terms(preference=Term(losses.sum(), len(losses), rows=losses), right=right)
        if config.objective == "orpo":
            terms["answer"] = completion_cross_entropy(select_tokens(outputs[0], batch))
        return terms

    @torch.no_grad()
    def _by_reference(self, sides: tuple[Batch, Batch], *, mean: bool) -> list[Tensor]:
        """The log-probabilities under the reference, [P] each; 0 without one."""
        if self.reference is None:
            return [torch.zeros(side.size, device=side["input_ids"].device) for side in sides]
        return [sequence_log_probs(self.reference.learner(side), side, mean=mean) for side in sides]

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The pairs, and the tokens of the preferred answers."""
        return {"preference": batch.size, "right": batch.size, "answer": token_counts(batch)["token"]}


CLAIM = Claim(
    statement="A model that learns which of two answers is better gives the best answer more often than one that fits "
    "the better ones alone.",
    arms={
        "dpo": "dpo",
        "sft": "sft",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="dpo",
    baseline="sft",
    cheap="sft",
    ablation="sft",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "dpo": {"beta": (0.1, 0.5), "lr": (0.0003, 0.001, 0.003)},
        "sft": {"lr": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)},
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
    world="last_letter:compared",
    shows="What the worse answer of each pair adds, where the better one is not always the best.",
    omits="Human preferences between whole completions of the model itself.",
)
