"""The reward of the second verifier if that of the first is above 0; else 0."""

from didact.parts.kinds import Spec
from didact.parts.verifier import build as build_one
from didact.teachers.verifiers import GatedVerifier

FORM = "gate(VERIFIER,VERIFIER)"
EXAMPLE = "gate(regex:/<answer>/,exact)"


def build(spec: Spec) -> GatedVerifier:
    """The gate of two verifiers."""
    return GatedVerifier(*map(build_one, spec.inner))
