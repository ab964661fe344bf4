"""The result of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from didact.documents import Document
from didact.types import Cost, Verdict

Status = Literal["done", "interrupted", "paused", "stopped"]


@dataclass(slots=True, kw_only=True)
class FitResult:
    """The result of a run."""

    status: Status
    """`done` when the budget was used up, `interrupted` by a signal, `paused` or `stopped` by a verdict."""
    reason: str
    """The same in a sentence."""
    cost: Cost
    parts: Mapping[str, Cost] = field(default_factory=dict)
    """The cost of each part of the run, by its name: `batches` (labels and tokens), `teacher`, `writer.verifier`."""
    verdicts: list[tuple[int, Verdict]] = field(default_factory=list)
    """The verdicts of monitors other than ok, with the step."""
    history: list[Document] = field(default_factory=list)
    """The records of `metrics.jsonl`."""
    best: dict[str, float] = field(default_factory=dict)
    """The best evaluation, with its `step`; empty if there was none."""

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self.cost.steps
