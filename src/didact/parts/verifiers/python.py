"""Whether the Python in the text passes the question's tests, in a sandbox.

`python:share` is the share of the tests that it passes. `python:weak` also runs it in an incomplete sandbox.
"""

from didact import trusting
from didact.parts.kinds import Spec
from didact.parts.verifiers._words import words_of
from didact.teachers.verifiers import PythonVerifier, Sandbox

FORM = "python | python:share | python:weak | python:share:weak"
EXAMPLE = "python:share"


def build(spec: Spec) -> PythonVerifier:
    """A verifier by the `tests` in the question's data."""
    words = words_of(spec, ("share", "weak"))
    if "weak" in words:
        # A model's code would then run with no protection but Python's own hooks.
        trusting.check(spec.text, "code")
    return PythonVerifier(share="share" in words, sandbox=Sandbox(weak="weak" in words))
