"""Verifiers by their specs."""

from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find
from didact.teachers.verifiers import Verifier


def verifier_of(text: str) -> Verifier:
    """Make a verifier; `str` of it is a spec of the same.

    Args:
        text: such as `numeric+0.1*regex:/<answer>/`; `didact list verifiers` prints what there is.

    Raises:
        ConfigError: The spec is not understood, or names something that is not there.
        MissingExtraError: A part needs a package that is not installed.
        TrustError: A file asks for it, and it names code; see `didact.trusting`.
    """
    return build(parse(text, "verifier"))


def build(spec: Spec) -> Verifier:
    """Make the verifier of a spec that was read, with those that are nested in it.

    Raises:
        DidactError: As `verifier_of`.
    """
    return find(spec.role, spec.kind).load().build(spec)
