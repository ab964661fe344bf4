"""The tuning seeds of a claim: settings are chosen on validation examples, and the spread says how many seeds it needs.

All settings of all arms are arms of one comparison on the tuning seeds. The best mean on the validation examples is
chosen, by the same rule for the method and its baseline. Of the test examples, the spread alone is looked at.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from didact.claiming import Claim
from didact.documents import Document, Values
from didact.errors import RunError
from didact.evaluation import estimate, verdicts
from didact.experiment.arms import Arm, parse_arm
from didact.types import LOWER_IS_BETTER


@dataclass(frozen=True, slots=True)
class Variant:
    """An arm with one of its settings."""

    name: str
    arm: Arm
    settings: Values
    """What the search set; empty for an arm that is not searched."""


def variants(claim: Claim) -> dict[str, list[Variant]]:
    """By arm that the claim compares, its variants: one for each setting of the search."""
    names = dict.fromkeys([claim.method, *(arm for _, arm in claim.roles())])
    return {name: _variants(name, claim.arms[name], claim.search.get(name, {})) for name in names}


def _variants(name: str, arm: Arm, grid: Mapping[str, Sequence[object]]) -> list[Variant]:
    found = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        words = ", ".join(f"{key}={value}" for key, value in settings.items())
        found.append(Variant(f"{name} ({words})" if words else name, _with(arm, settings), settings))
    return found


def choose(claim: Claim, kept: Values) -> Document:
    """What the tuning seeds say.

    Args:
        claim: a claim that decides.
        kept: by seed, as a string, the results of each variant under `arms`.

    Returns:
        `chosen`: by arm that was searched, its settings; `tried`: by variant of such an arm, the mean on the validation
        examples; `spread`: by role, `sd` of the paired differences, the `seeds_needed` for it, and the `power` of the
        claim's own seeds.

    Raises:
        RunError: An arm that was searched has no validation figure of the claim's metric.
    """
    tried: dict[str, float] = {}
    best: dict[str, Variant] = {}
    for arm, found in variants(claim).items():
        if len(found) > 1:
            tried.update({one.name: _validated(claim, kept, one.name) for one in found})
        pick = min if claim.metric in LOWER_IS_BETTER else max
        best[arm] = pick(found, key=lambda one: tried.get(one.name, 0.0))
    return {
        "seeds": list(claim.tuned_on),
        "chosen": {arm: dict(one.settings) for arm, one in best.items() if one.settings},
        "tried": tried,
        "spread": {role: _spread(claim, kept, best[claim.method].name, best[arm].name) for role, arm in claim.roles()},
    }


def settled(claim: Claim, chosen: Mapping[str, Values]) -> dict[str, Arm]:
    """The arms of a claim with the settings that were chosen; an ablation of the method takes those of the method."""
    found = {name: _with(arm, chosen.get(name, {})) for name, arm in claim.arms.items()}
    name = claim.ablation
    if not name or name in claim.search or name == claim.baseline:
        return found
    mine, method = stated(claim.arms[name]), stated(claim.arms[claim.method])
    if mine["method"] == method["method"]:
        found[name] = _with(claim.arms[name], {**chosen.get(claim.method, {}), **mine})
    return found


def _validated(claim: Claim, kept: Values, name: str) -> float:
    """A variant's mean of the metric on the validation examples."""
    found = [kept[str(seed)]["arms"][name]["validation"].get(claim.metric, "nan") for seed in claim.tuned_on]
    figures = [float(value) for value in found]
    if not all(map(math.isfinite, figures)):
        raise RunError(
            f"The arm {name!r} has no {claim.metric} on the validation examples, on which its settings are chosen; "
            "give the claim a metric that has one, validation examples, or no search."
        )
    return fmean(figures)


def _spread(claim: Claim, kept: Values, method: str, other: str) -> Document:
    """The spread of the paired differences between two variants."""
    assert claim.smallest_effect is not None
    pairs = [
        [float(kept[str(seed)]["arms"][name]["metrics"][claim.metric]) for name in (method, other)]
        for seed in claim.tuned_on
    ]
    sd = estimate([mine - theirs for mine, theirs in pairs]).sd or 0.0
    return {
        "sd": sd,
        "seeds_needed": verdicts.seeds_needed(sd, claim.smallest_effect),
        "power": verdicts.power(len(claim.seeds), sd, claim.smallest_effect),
    }


def _with(arm: Arm, settings: Values) -> Arm:
    return {**stated(arm), **settings} if settings else arm


def stated(arm: Arm) -> Values:
    """An arm as a mapping of its settings."""
    if isinstance(arm, Mapping):
        return arm
    assert isinstance(arm, str)
    method, settings = parse_arm(arm)
    return {"method": method, **settings}
