"""The score of the question's reasoning-gym task."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import ReasoningVerifier


def build(spec: Spec) -> ReasoningVerifier:
    """A verifier by the `metadata` in the question's data."""
    return ReasoningVerifier()
