"""What a method claims: the paper's statement, made small enough to check in about a minute.

A method's file ends with `CLAIM = Claim(...)`. It is read without running the file, so that each of its arguments is
written out: words, numbers, tuples and dictionaries of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from didact.documents import Values
from didact.errors import ConfigError, check_choice

Verdict = Literal["replicated", "not replicated", "opposite"]
"""What the seeds say of a claim."""
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
"""What can be counted and held equal: fields of `didact.types.Cost`."""
SEEDS = tuple(range(100, 110))
"""The seeds that a claim is reported on, unless it names others."""
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
    """What a paper says of its method, as a comparison that can be run again.

    Raises:
        ConfigError: An arm that is named is not there, there are too few seeds to report or they were tuned on, or a
            part is missing; the message names the field.
    """

    statement: str
    """What the paper says, made small: one sentence that the comparison can show to be wrong."""
    arms: Mapping[str, str | Values]
    """By name, what `didact.compare` takes: `"supervised"`, `{"method": "distill", "teacher": "random"}`, or a baseline
    such as `label_spreading` under its own name."""
    method: str
    """The arm that the statement is about."""
    baseline: str
    """The arm that the paper beats."""
    cheap: str
    """The arm that a sceptic would take instead; it may be the baseline."""
    settings: Values
    """What all arms share, as `didact.compare` takes it: `labels`, `steps`, `student`, `teacher`."""
    equal: Axis
    """The axis of cost on which the method and its baseline spend the same."""
    shows: str
    """Which part of the paper's mechanism the comparison shows."""
    omits: str
    """What of the paper's setting it doesn't show."""
    world: str = "digits"
    """The name of a world in `didact.worlds`."""
    metric: str = "accuracy"
    """What is compared; whether more of it is better is known of each metric."""
    seeds: tuple[int, ...] = SEEDS
    """The seeds that are reported, 5 or more."""
    tuned_on: tuple[int, ...] = ()
    """The seeds on which settings were chosen, which are never reported; none where every arm has its defaults."""
    tuned: str = ""
    """Which settings were chosen on those seeds, with the same effort for every arm."""
    systems: tuple[str, ...] = ()
    """Ids of the published systems that the method stands for."""

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
        """Raise `ConfigError` where a seed is one that settings were chosen on."""
        used = sorted(set(self.tuned_on) & set(seeds))
        if used:
            raise ConfigError(
                f"seeds has {', '.join(map(str, used))}, on which settings of this claim were chosen, so that results "
                f"on them would flatter it; take others than {', '.join(map(str, sorted(self.tuned_on)))}."
            )

    def verdict(self, low: float, high: float, *, higher_is_better: bool) -> Verdict:
        """The verdict on an effect.

        Args:
            low: lower end of the 95% interval of the method's metric less the baseline's, paired by seed.
            high: its upper end.
            higher_is_better: whether more of the metric is good.

        Returns:
            `replicated` where the whole interval lies on the claimed side of zero, `opposite` where it lies on the
            other side, else `not replicated`.
        """
        if low <= 0 <= high:
            return "not replicated"
        return "replicated" if (low > 0) == higher_is_better else "opposite"
