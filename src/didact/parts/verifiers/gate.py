"""What the second verifier says, where the first says more than 0; else 0."""

from didact.parts.kinds import Spec
from didact.parts.verifier import build as build_one
from didact.teachers.verifiers import GatedVerifier

FORM = "gate(VERIFIER,VERIFIER)"
EXAMPLE = "gate(regex:/<answer>/,exact)"


def build(spec: Spec) -> GatedVerifier:
    """The two of them."""
    return GatedVerifier(*map(build_one, spec.inner))
