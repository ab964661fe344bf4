"""Whether the text, or what is in its last box or after its last mark, is the reference answer."""

from didact.parts.kinds import Spec
from didact.parts.verifiers._words import words_of
from didact.teachers.verifiers import ExactVerifier

FORM = "exact | exact:boxed | exact:after:/MARK/"
EXAMPLE = "exact:after:/####/"
AFTER = "after:"


def build(spec: Spec) -> ExactVerifier:
    """The whole text, what the last box holds, or what follows the last mark."""
    if spec.argument.startswith(AFTER):
        return ExactVerifier(after=spec.argument.removeprefix(AFTER))
    return ExactVerifier(boxed="boxed" in words_of(spec, ("boxed", "after:/MARK/")))
