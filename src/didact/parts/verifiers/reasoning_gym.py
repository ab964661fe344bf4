"""What the scorer of the question's reasoning-gym task says."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import ReasoningVerifier


def build(spec: Spec) -> ReasoningVerifier:
    """By the `metadata` in the question's data."""
    return ReasoningVerifier()
