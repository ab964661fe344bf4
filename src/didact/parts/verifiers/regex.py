"""Whether a regular expression is found anywhere in the text."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import RegexVerifier

FORM = "regex:/PATTERN/"
EXAMPLE = "regex:/<answer>.+/"


def build(spec: Spec) -> RegexVerifier:
    """By Python's `re`."""
    if not spec.argument:
        raise spec.wrong()
    return RegexVerifier(spec.argument)
