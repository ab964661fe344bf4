"""What teaching costs."""

import dataclasses
from dataclasses import dataclass


@dataclass(slots=True)
class Cost:
    """What teaching used: counted, never estimated."""

    labels: int = 0
    """Distinct labelled examples that training or model selection looked at."""
    teacher_calls: int = 0
    """Examples that a teacher answered (answers taken from a cache are not counted again)."""
    teacher_tokens: int = 0
    """Tokens that a teacher read or wrote."""
    student_tokens: int = 0
    """Tokens of the batches that the student was trained on."""
    sampled_tokens: int = 0
    """Tokens that were sampled for its training: the student's attempts, and answers that a teacher wrote."""
    env_steps: int = 0
    """Steps taken in environments."""
    examples: int = 0
    """Training examples seen, repeats included."""
    steps: int = 0
    """Optimizer steps."""
    flops: int = 0
    """Floating-point operations of the matrix products and convolutions of the student's training, counted once for
    each shape of a batch; without those of teachers."""
    seconds: float = 0.0
    """Wall-clock time of training, without evaluation of the finished student."""
    peak_memory: int = 0
    """Bytes: the highest resident memory of the process, or memory allocated on the device where there is one."""

    def __add__(self, other: "Cost") -> "Cost":
        """Add up two costs; peak memory is the larger of the two."""
        total = Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)})
        total.peak_memory = max(self.peak_memory, other.peak_memory)
        return total

    def as_dict(self) -> dict[str, int | float]:
        """The figures by name, ready for JSON."""
        return dataclasses.asdict(self)
