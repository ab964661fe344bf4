"""The claim of a method: the paper's statement, small enough to check in about a minute.

A method's file ends with `CLAIM = Claim(...)`. It is read without running the file, so that its arguments must be
literals: strings, numbers, tuples and dictionaries of them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from didact.documents import Values
from didact.errors import ConfigError, check_choice, check_range

Axis = Literal[
    "labels",
    "teacher_calls",
    "teacher_tokens",
    "student_tokens",
    "sampled_tokens",
    "env_steps",
    "examples",
    "steps",
    "flops",
    "last_stage",
]
"""What can be held equal: the fields of `didact.types.Cost`, or the steps of the last stage."""
SEEDS = tuple(range(100, 110))
"""The default seeds of the report on a claim."""
LEAST_SEEDS, MOST_SEEDS = 5, 40
LEAST_PILOT = 3
"""Tuning seeds of which a spread can be estimated."""
_CLAIMS_OWN = ("data", "seed", "seeds", "metric", "reference", "baselines")
_AXES = (
    "labels",
    "teacher_calls",
    "teacher_tokens",
    "student_tokens",
    "sampled_tokens",
    "env_steps",
    "examples",
    "steps",
    "flops",
    "last_stage",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A paper's claim about its method, as a comparison that can be rerun.

    A claim that names its smallest effect of interest decides: before the first seed is reported, it fixes its arms,
    with an ablation of the mechanism, and its seeds, of which the tuning seeds say how many are needed. A claim without
    one is of the first design: it can be better, worse or undecided, never equivalent.

    Raises:
        ConfigError: a named arm is missing, there are too few seeds or they were used for tuning, or a part is missing;
            the message names the field.
    """

    statement: str
    """The claim in small: one sentence that the comparison can falsify."""
    arms: Mapping[str, str | Values]
    """The arms by name, as `didact.compare` takes them: `"supervised"`, `{"method": "distill", "teacher": "random"}`,
    or a baseline such as `label_spreading` under its own name."""
    method: str
    """The arm of the statement."""
    baseline: str
    """The arm that the paper beats."""
    cheap: str
    """The cheap alternative that a sceptic would choose; it may be the baseline."""
    settings: Values
    """The settings that all arms share, as `didact.compare` takes them: `labels`, `steps`, `student`, `teacher`."""
    equal: Axis
    """The axis of cost on which the method and its baseline spend the same; see `stages` for `last_stage`."""
    shows: str
    """The part of the paper's mechanism that the comparison shows."""
    omits: str
    """The parts of the paper's setting that it doesn't show."""
    world: str = "digits"
    """The name of a world in `didact.worlds`."""
    metric: str = "accuracy"
    """The metric that is compared; each metric has a known direction."""
    seeds: tuple[int, ...] = SEEDS
    """The seeds of the report, 5 or more."""
    tuned_on: tuple[int, ...] = ()
    """The seeds on which settings were tuned, which are never reported; none if every arm has its defaults."""
    tuned: str = ""
    """The settings that were tuned on those seeds, with the same effort for every arm."""
    smallest_effect: float | None = None
    """The smallest effect of interest, in the metric's unit: 0.01 is a point of accuracy."""
    ablation: str = ""
    """The arm that is the method without its mechanism; it may be the baseline. It takes the settings that were found
    for the method, unless it states them."""
    untaught: str = ""
    """The arm that learned nothing, if there is one: what an arm must be better than to have learned anything."""
    search: Mapping[str, Mapping[str, Sequence[object]]] = field(default_factory=dict)
    """By arm, the values of its settings that are tried on the tuning seeds; the best ones on the validation examples
    are reported. As many for the baseline as for the method."""
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By arm, the options that hold the shares of its earlier stages. With `equal="last_stage"`, the steps of such an
    arm are extended, so that its last stage is as long as the whole run of the others."""
    systems: tuple[str, ...] = ()
    """The ids of the published systems that the method represents."""

    def __post_init__(self) -> None:
        for name in ("statement", "shows", "omits"):
            if not getattr(self, name).strip():
                raise ConfigError(f"The claim's {name} is empty; say it in a sentence.")
        for role, arm in (("method", self.method), *self.roles()):
            check_choice(f"The claim's {role}", arm, self.arms)
        if self.method in dict(self.roles()).values():
            raise ConfigError(
                f"The claim's method is {self.method!r}, but its baseline, cheap alternative, ablation and untaught "
                "arm must be other arms."
            )
        for name in _CLAIMS_OWN:
            if name in self.settings:
                raise ConfigError(
                    f"The claim's settings hold {name!r}, which has a field of its own or none; leave it out."
                )
        if len(set(self.seeds)) < LEAST_SEEDS or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"The claim's seeds are {list(self.seeds)}; give {LEAST_SEEDS} or more, each once.")
        self._check_stages()
        self._check_tuning()
        if self.smallest_effect is not None:
            self._check_design(self.smallest_effect)
        self.check_reported(self.seeds)

    @property
    def tunes(self) -> bool:
        """Whether its tuning seeds are run before those of the report: that of a claim that names a smallest effect."""
        return self.smallest_effect is not None

    def roles(self) -> Iterator[tuple[str, str]]:
        """The arms that the method is compared with, each with its role: the field that names it."""
        for role in ("baseline", "cheap", "ablation", "untaught"):
            if arm := getattr(self, role):
                yield role, arm

    def _check_stages(self) -> None:
        check_choice("The claim's equal", self.equal, _AXES)
        for arm in self.stages:
            check_choice("The claim's stages", arm, self.arms)
        if bool(self.stages) != (self.equal == "last_stage"):
            raise ConfigError(
                f"The claim's equal is {self.equal!r} and its stages are {dict(self.stages)}; give stages for "
                "equal='last_stage', and for nothing else."
            )

    def _check_tuning(self) -> None:
        counts = {arm: math.prod(map(len, grid.values())) for arm, grid in self.search.items()}
        for arm in counts:
            check_choice("The claim's search", arm, self.arms)
        if counts.get(self.method, 1) != counts.get(self.baseline, 1):
            raise ConfigError(
                f"The claim's search tries {counts.get(self.method, 1)} settings of {self.method!r} and "
                f"{counts.get(self.baseline, 1)} of {self.baseline!r}; try as many of both."
            )
        if self.search and self.smallest_effect is None:
            raise ConfigError("The claim has a search, but no smallest_effect; name it before anything is seen.")
        if self.smallest_effect is None and bool(self.tuned_on) != bool(self.tuned.strip()):
            raise ConfigError("The claim has one of tuned_on and tuned; give the seeds and what was chosen on them.")

    def _check_design(self, smallest_effect: float) -> None:
        """What a claim that decides needs."""
        check_range("The claim's smallest_effect", smallest_effect, above=0.0, below=math.inf)
        if not self.ablation:
            raise ConfigError("The claim names no ablation; give the arm that is the method without its mechanism.")
        if len(self.seeds) > MOST_SEEDS:
            raise ConfigError(f"The claim has {len(self.seeds)} seeds; give at most {MOST_SEEDS}.")
        if len(set(self.tuned_on)) < LEAST_PILOT:
            raise ConfigError(
                f"The claim's tuned_on is {list(self.tuned_on)}; give {LEAST_PILOT} seeds or more, whose spread says "
                "how many are to be reported."
            )

    def check_reported(self, seeds: Iterable[int]) -> None:
        """Raise `ConfigError` if settings were tuned on one of the seeds."""
        used = sorted(set(self.tuned_on) & set(seeds))
        if used:
            raise ConfigError(
                f"seeds has {', '.join(map(str, used))}, on which settings of this claim were chosen, so that results "
                f"on them would flatter it; take others than {', '.join(map(str, sorted(self.tuned_on)))}."
            )
