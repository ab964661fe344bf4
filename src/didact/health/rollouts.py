"""Monitors of learning from rollouts: what goes wrong with a policy before its rewards show it.

They read the figures that methods put beside their loss: terms without weight, such as `entropy` and `length`. A
monitor whose figure the method does not show has nothing to say.
"""

import math
from typing import ClassVar, final

from didact.documents import Values
from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window


class TermMonitor(BaseMonitor):
    """Abstract: compares the mean of one term over a window with a bound, or with what it was in the first window.

    Args:
        action: what to ask for.
        bound: where the figure is too far gone.
    """

    kept = ("beginning", "objected")
    term: ClassVar[str]
    """The term of the loss that is read."""
    default: ClassVar[float]
    """The bound where none is given."""
    relative: ClassVar[bool] = False
    """Whether the figure is the mean divided by that of the first window."""
    highest: ClassVar[bool] = True
    """Whether the bound is the highest that is well; else the lowest."""
    words: ClassVar[str]
    """What it means, as a sentence with `{figure}` and `{bound}`."""

    def __init__(self, *, action: Level = "warn", bound: float | None = None) -> None:
        super().__init__(action)
        self.bound = self.default if bound is None else bound
        check_range(f"{self.name}(bound=...)", self.bound, above=0.0)
        self.beginning: float | None = None
        self.objected = False

    def observe(self, window: Window) -> Verdict:
        """Check the window; a complaint that stays true is made once."""
        figure = self.figure(window)
        if figure is None:
            return Verdict("ok", self.name, 0.0, f"There is no figure {self.term!r}.")
        bad = figure > self.bound if self.highest else figure < self.bound
        again, self.objected = self.objected, bad
        reason = self.words.format(figure=figure, bound=self.bound)
        if not bad or again:
            return Verdict("ok", self.name, figure, f"{self.name} is {figure:.3g}." if not bad else reason)
        return Verdict(self.action, self.name, figure, reason)

    def figure(self, window: Window) -> float | None:
        """The number that is judged; None where there is none."""
        mean = mean_of(window.losses, self.term)
        if mean is None or not self.relative:
            return mean
        if self.beginning is None:
            self.beginning = mean
        return mean / self.beginning if self.beginning > 0 else None


def mean_of(losses: Values, term: str) -> float | None:
    """The mean of a term over a window; None where it is not there or never finite."""
    if term not in losses or not len(losses[term]):
        return None
    mean = float(losses[term].nanmean())
    return mean if math.isfinite(mean) else None


@final
class PolicyEntropy(TermMonitor):
    """Objects when the policy has lost most of its entropy: it no longer tries anything else."""

    name, term, default, relative, highest = "PolicyEntropy", "entropy", 0.1, True, False
    words = (
        "The entropy of the policy has fallen to {figure:.0%} of what it was, below {bound:.0%}; it no longer explores."
    )


@final
class LengthDrift(TermMonitor):
    """Objects when rollouts have become much longer than they were."""

    name, term, default, relative = "LengthDrift", "length", 2.0, True
    words = "Rollouts are {figure:.1f} times as long as at the beginning, above {bound:g}; a reward may pay for length."


@final
class Repetition(TermMonitor):
    """Objects when much of the rollouts says what they said before."""

    name, term, default = "Repetition", "repetition", 0.5
    words = "{figure:.0%} of the runs of four tokens in a completion occurred in it before, above {bound:.0%}."


@final
class ReferenceDrift(TermMonitor):
    """Objects when the policy has gone far from its reference, in nats a token."""

    name, term, default = "ReferenceDrift", "kl", 0.5
    words = "The policy is {figure:.2f} nats a token away from its reference, above {bound:g}."


@final
class DeadGroups(TermMonitor):
    """Objects when most groups of rollouts have equal rewards, so that comparing them teaches nothing."""

    name, term, default = "DeadGroups", "dead", 0.9
    words = "{figure:.0%} of the rollouts are in groups whose rewards are all the same, above {bound:.0%}; they teach "
    words += "nothing. Give questions of another difficulty, or more samples."


@final
class UniqueCorrect(TermMonitor):
    """Objects when the right rollouts at a question are nearly all the same."""

    name, term, default, highest = "UniqueCorrect", "unique", 0.05, False
    words = "Only {figure:.0%} of the right rollouts differ from an earlier one at their question, below {bound:.0%}."


@final
class RewardGap(TermMonitor):
    """Objects when rewards grow away from the truth: the learner has found out what pays without being right.

    The figure is how much more the mean reward exceeds the share of right answers than it did in the first window.
    """

    name, term, default = "RewardGap", "truth", 0.2
    words = "Rewards have grown {figure:.2f} further beyond what is true than at the beginning, above {bound:g}; the "
    words += "verifier may be cheated."

    def figure(self, window: Window) -> float | None:
        """Reward less truth, less what that was in the first window."""
        reward, truth = mean_of(window.losses, "reward"), mean_of(window.losses, "truth")
        if reward is None or truth is None:
            return None
        if self.beginning is None:
            self.beginning = reward - truth
        return reward - truth - self.beginning


@final
class TeacherOverlap(TermMonitor):
    """Objects when a student and its teacher agree too little on which tokens are likely, or less than they did.

    The figure is the share of the teacher's likeliest tokens that are among the student's. It may be low at the
    beginning, so that being below the bound is a complaint only after some windows in a row; falling far below the
    highest so far is one at once.

    Args:
        action: what to ask for.
        bound: the lowest share that is well in the long run, in (0, 1].
        fall: the least share of the highest figure that is kept, in [0, 1].
        patience: windows in a row below the bound that are too many, at least 1.
    """

    name, term, default, highest = "TeacherOverlap", "overlap", 0.4, False
    kept = (*TermMonitor.kept, "best", "low")

    def __init__(
        self, *, action: Level = "warn", bound: float | None = None, fall: float = 0.8, patience: int = 5
    ) -> None:
        super().__init__(action=action, bound=bound)
        check_range("TeacherOverlap(bound=...)", self.bound, above=0.0, at_most=1.0)
        check_range("TeacherOverlap(fall=...)", fall, at_least=0.0, at_most=1.0)
        check_range("TeacherOverlap(patience=...)", patience, at_least=1)
        self.fall, self.patience = fall, patience
        self.best, self.low = 0.0, 0

    def observe(self, window: Window) -> Verdict:
        """Check the window; a complaint that stays true is made once."""
        figure = self.figure(window)
        if figure is None:
            return Verdict("ok", self.name, 0.0, f"There is no figure {self.term!r}.")
        self.best, self.low = max(self.best, figure), self.low + 1 if figure < self.bound else 0
        words = f"{figure:.0%} of the tokens that the teacher holds likeliest are among the student's"
        if fallen := figure < self.fall * self.best:
            words += f", after {self.best:.0%} before: the student is leaving its teacher."
        elif self.low >= self.patience:
            words += f", below {self.bound:.0%} {self.low} times in a row: what the teacher says may not reach it."
        bad = fallen or self.low >= self.patience
        again, self.objected = self.objected, bad
        return Verdict(self.action if bad and not again else "ok", self.name, figure, words if bad else f"{words}.")


ROLLOUT_MONITORS = (
    PolicyEntropy,
    LengthDrift,
    Repetition,
    ReferenceDrift,
    DeadGroups,
    UniqueCorrect,
    RewardGap,
    TeacherOverlap,
)
"""The monitors of this file; those whose figures a method does not show stay silent."""
