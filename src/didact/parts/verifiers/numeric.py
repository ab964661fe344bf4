"""Whether the final answer equals the reference as a number or expression."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import NumericVerifier


def build(spec: Spec) -> NumericVerifier:
    """A verifier that compares numbers exactly, everything else by math-verify."""
    return NumericVerifier()
