"""A weighted sum of verifiers."""

from didact.parts.kinds import Spec
from didact.parts.verifier import build as build_one
from didact.teachers.verifiers import WeightedVerifier

FORM = "A+B | A+0.1*B | A+-0.5*B"
EXAMPLE = "exact+0.1*length:512:64"


def build(spec: Spec) -> WeightedVerifier:
    """The weighted sum of the terms."""
    return WeightedVerifier([(one.weight, build_one(one)) for one in spec.inner])
