"""The students that a search tries, and by which method each is taught."""

from collections.abc import Sequence
from dataclasses import dataclass

from didact.errors import ConfigError
from didact.materials.examples.compression import refitting
from didact.types import Examples, Modality

REFIT = "refit"
"""What stands in the place of a method for estimators, which are fitted to the teacher's answers."""
_MLPS = ("mlp:8", "mlp:16", "mlp:32", "mlp:64", "mlp:128", "mlp:64,64", "mlp:128,128")
_TREES = ("tree:8", "tree:16", "tree:32", "tree:64", "tree:128", "tree:256")
_BOOSTED = ("boosted:5", "boosted:10", "boosted:20", "boosted:50", "boosted:100")
DEFAULTS: dict[Modality, tuple[str, ...]] = {
    "table": ("linear", *_TREES, *_BOOSTED, *_MLPS),
    "image": ("mlp:", "mlp:32", "mlp:128", "cnn:4,8", "cnn:8,16", "cnn:16,32", "cnn:32,64"),
    "series": ("mlp:", "mlp:32", "mlp:128", "cnn1d:8,16", "cnn1d:16,32", "cnn1d:32,64,32", "cnn1d:64,128,64"),
    "text": ("mlp:8", "mlp:16", "mlp:32", "mlp:64", "transformer:1x32", "transformer:2x64"),
}
"""By modality, the students of a search that names none, from small to large."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student and how it is taught."""

    student: str
    """The spec of a net; or `linear`, `tree:LEAVES`, `boosted:TREES`."""
    method: str
    """A method of didact, or `refit`."""

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.student}, {self.method}"

    @property
    def is_net(self) -> bool:
        """Whether steps train it."""
        return self.method != REFIT


def candidates(examples: Examples, students: Sequence[str], *, labelled: bool) -> list[Candidate]:
    """All that are tried.

    Args:
        examples: of the kind of the data.
        students: those that the user names; none for those that fit the data.
        labelled: whether there are labels, without which no student learns alone.

    Raises:
        ConfigError: A student is given twice, cannot be read, or does not fit the data.
    """
    names = list(students or DEFAULTS[examples.modality])
    methods = ("distill", "supervised") if labelled else ("distill",)
    found = list[Candidate]()
    for name in names:
        if not refitting.is_estimator(name):
            found += [Candidate(name, method) for method in methods]
            continue
        refitting.check(name)
        if examples.modality != "table":
            raise ConfigError(
                f"students has {name!r}, which reads tables, but the data {examples.name!r} are of the kind "
                f"{examples.modality}; name nets such as {DEFAULTS['image'][-1]}."
            )
        found.append(Candidate(name, REFIT))
    if len(set(found)) < len(found):
        raise ConfigError(f"students is {', '.join(names)}, where one is named twice; name each once.")
    return found
