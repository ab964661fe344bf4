"""Verifiers by their specs."""

from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find
from didact.teachers.verifiers import Verifier


def verifier_of(text: str) -> Verifier:
    """Build a verifier from its spec; `str` of it is an equivalent spec.

    Args:
        text: such as `numeric+0.1*regex:/<answer>/`; `didact list verifiers` prints the kinds.

    Raises:
        ConfigError: The spec is invalid, or names something unknown.
        MissingExtraError: A part needs a package that is not installed.
        TrustError: It comes from an untrusted file and names code; see `didact.trusting`.
    """
    return build(parse(text, "verifier"))


def build(spec: Spec) -> Verifier:
    """Build the verifier of a parsed spec, with its nested ones.

    Raises:
        DidactError: As `verifier_of`.
    """
    return find(spec.role, spec.kind).load().build(spec)
