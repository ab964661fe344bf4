"""Whether a regular expression matches anywhere in the text."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import RegexVerifier

FORM = "regex:/PATTERN/"
EXAMPLE = "regex:/<answer>.+/"


def build(spec: Spec) -> RegexVerifier:
    """A verifier by Python's `re`."""
    if not spec.argument:
        raise spec.error()
    return RegexVerifier(spec.argument)
