"""The claim of a method: the paper's statement, small enough to check in about a minute.

A method's file ends with `CLAIM = Claim(...)`. It is read without running the file, so that its arguments must be
literals: strings, numbers, tuples and dictionaries of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from didact.documents import Values
from didact.errors import ConfigError, check_choice

Verdict = Literal["replicated", "not replicated", "opposite"]
"""The verdict of the seeds on a claim."""
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
]
"""The axes that can be held equal: fields of `didact.types.Cost`."""
SEEDS = tuple(range(100, 110))
"""The default seeds of the report on a claim."""
LEAST_SEEDS = 5
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
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A paper's claim about its method, as a comparison that can be rerun.

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
    """The axis of cost on which the method and its baseline spend the same."""
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
    systems: tuple[str, ...] = ()
    """The ids of the published systems that the method represents."""

    def __post_init__(self) -> None:
        for field in ("statement", "shows", "omits"):
            if not getattr(self, field).strip():
                raise ConfigError(f"The claim's {field} is empty; say it in a sentence.")
        for field in ("method", "baseline", "cheap"):
            check_choice(f"The claim's {field}", getattr(self, field), self.arms)
        if self.method in (self.baseline, self.cheap):
            raise ConfigError(
                f"The claim's method is {self.method!r}, but its baseline and cheap alternative must be other arms."
            )
        check_choice("The claim's equal", self.equal, _AXES)
        for name in _CLAIMS_OWN:
            if name in self.settings:
                raise ConfigError(
                    f"The claim's settings hold {name!r}, which has a field of its own or none; leave it out."
                )
        if len(set(self.seeds)) < LEAST_SEEDS or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"The claim's seeds are {list(self.seeds)}; give {LEAST_SEEDS} or more, each once.")
        if bool(self.tuned_on) != bool(self.tuned.strip()):
            raise ConfigError("The claim has one of tuned_on and tuned; give the seeds and what was chosen on them.")
        self.check_reported(self.seeds)

    def check_reported(self, seeds: Iterable[int]) -> None:
        """Raise `ConfigError` if settings were tuned on one of the seeds."""
        used = sorted(set(self.tuned_on) & set(seeds))
        if used:
            raise ConfigError(
                f"seeds has {', '.join(map(str, used))}, on which settings of this claim were chosen, so that results "
                f"on them would flatter it; take others than {', '.join(map(str, sorted(self.tuned_on)))}."
            )

    def verdict(self, low: float, high: float, *, higher_is_better: bool) -> Verdict:
        """The verdict on an effect.

        Args:
            low: lower end of the 95% interval of the method's metric minus the baseline's, paired by seed.
            high: its upper end.
            higher_is_better: whether more of the metric is better.

        Returns:
            `replicated` if the whole interval is on the claimed side of zero, `opposite` if it is on the other side,
            else `not replicated`.
        """
        if low <= 0 <= high:
            return "not replicated"
        return "replicated" if (low > 0) == higher_is_better else "opposite"
