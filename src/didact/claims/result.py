"""A replicated claim: its figures, verdicts and costs in tables and sentences."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from didact.claiming import Claim
from didact.claims import deciding
from didact.claims.deciding import Outcome
from didact.claims.rerunning import Floor
from didact.documents import Document, Values
from didact.evaluation import Comparison, phrases, wording

_TOKENS = ("teacher_tokens", "student_tokens", "sampled_tokens")
_ROLES = {"cheap": "cheap alternative"}


@dataclass(frozen=True, kw_only=True)
class Replication:
    """A replicated claim."""

    name: str
    """The method's name."""
    claim: Claim
    world: str
    """The world that it was run on."""
    comparison: Comparison
    """The results of all arms, with the baseline as the reference."""
    outcomes: tuple[Outcome, ...]
    """The verdicts on the method against each arm that the claim names, the baseline first."""
    floor: Floor
    """How far the method's figure moves if it is run again in another order."""
    pilot: Values
    """What the tuning seeds said, see `tuning.choose`; empty for a claim of the first design."""
    budget: Values
    """`axis`, and under `spent` each arm's mean on it."""
    teachers: Mapping[str, Mapping[str, float]]
    """By teacher, its mean figures on the test examples, and the mean cost of training it."""
    stored: Path | None
    """The path of the stored result; None for other seeds or another world than the claim's own."""

    @property
    def verdict(self) -> str:
        """The verdict against the baseline, or "one seed", which decides nothing."""
        return self.outcomes[0].verdict if len(self.comparison.seeds) > 1 else "one seed"

    @property
    def works(self) -> bool | None:
        """Whether the method is better than baseline and ablation; None without an ablation, or with one seed."""
        return deciding.works(self.outcomes) if len(self.comparison.seeds) > 1 else None


def tables(replicated: Replication) -> tuple[list[dict[str, str]], ...]:
    """Tables of the arms' figures, of the verdicts, and of the arms' main costs."""
    comparison = replicated.comparison
    axes = ("labels", replicated.claim.equal, "teacher_calls", "steps", "flops", "seconds")
    costs = {wording.name_of(axis) for axis in comparison.used_axes()}
    wanted = [name for name in map(wording.name_of, dict.fromkeys(axes)) if name in costs]
    rows = comparison.table()
    figures = [{name: cell for name, cell in row.items() if name not in costs} for row in rows]
    verdicts = [_verdict_row(replicated, one) for one in replicated.outcomes]
    return figures, verdicts, [{"cost": row["arm"], **{name: row[name] for name in wanted}} for row in rows]


def _verdict_row(replicated: Replication, one: Outcome) -> dict[str, str]:
    """A verdict, beside what the method spent and what the other arm spent."""
    comparison = replicated.comparison
    costs = [comparison.cost(arm) for arm in (replicated.claim.method, one.arm)]
    pairs = {
        axis: " : ".join(wording.cost_figure(axis, cost[axis]) for cost in costs)
        for axis in ("flops", "teacher_calls", *_TOKENS)
        if axis in comparison.used_axes()
    }
    single = len(comparison.seeds) == 1
    return {
        "against": f"{one.arm} ({_ROLES.get(one.role, one.role)})",
        "effect": phrases.difference_text(comparison.metric, one.effect.estimate),
        "verdict": "one seed" if single else one.word,
        **{wording.name_of(axis): words for axis, words in pairs.items()},
    }


def sentence(replicated: Replication) -> str:
    """The effect in words: the method minus the baseline, and minus the cheap alternative; and why it shows nothing."""
    claim, found = replicated.claim, {one.role: one for one in replicated.outcomes}
    first = phrases.difference_text(claim.metric, found["baseline"].effect.estimate)
    words = f"{claim.method} less {claim.baseline} is {first} in {phrases.heading(claim.metric)}"
    if claim.cheap != claim.baseline:
        words += f"; less {claim.cheap}, it is {phrases.difference_text(claim.metric, found['cheap'].effect.estimate)}"
    return " ".join([f"{words}.", *found["baseline"].marks, *found["baseline"].caveats, *_collapses(replicated)])


def _collapses(replicated: Replication) -> Iterator[str]:
    mine, theirs = replicated.outcomes[0].effect.collapsed
    if mine or theirs:
        claim = replicated.claim
        yield (
            f"Of {claim.method} {mine:.0%} and of {claim.baseline} {theirs:.0%} of the runs collapsed, so that "
            "interquartile means are compared."
        )


def summary(comparison: Comparison, arm: str) -> Document:
    """An arm's mean and its difference to the baseline, each with its interval, and the finding."""
    mean, apart = comparison.summary(arm), None if arm == comparison.reference else comparison.difference(arm)
    assert mean is not None
    return {
        "mean": mean.mean,
        "interval": [mean.low, mean.high],
        "difference": None if apart is None else apart.mean,
        "difference_interval": None if apart is None else [apart.low, apart.high],
        "finding": comparison.finding(arm),
    }
