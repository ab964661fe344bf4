"""Whether the text, or the content of its last box or after its last mark, equals the reference answer."""

from didact.parts.kinds import Spec
from didact.parts.verifiers._words import words_of
from didact.teachers.verifiers import ExactVerifier

FORM = "exact | exact:boxed | exact:after:/MARK/"
EXAMPLE = "exact:after:/####/"
AFTER = "after:"


def build(spec: Spec) -> ExactVerifier:
    """A verifier of the whole text, the last box, or the text after the last mark."""
    if spec.argument.startswith(AFTER):
        return ExactVerifier(after=spec.argument.removeprefix(AFTER))
    return ExactVerifier(boxed="boxed" in words_of(spec, ("boxed", "after:/MARK/")))
