"""Whether the final answer is the same number or expression as the reference."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import NumericVerifier


def build(spec: Spec) -> NumericVerifier:
    """Numbers exactly, everything else by math-verify."""
    return NumericVerifier()
