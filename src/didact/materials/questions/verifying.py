"""The verifiers of a run on questions."""

import contextlib

from didact import trusting
from didact.experiment.material import Run
from didact.materials.questions.data import QuestionData
from didact.parts.verifier import verifier_of
from didact.teachers import FunctionVerifier, Verifier


def open_verifier(run: Run[QuestionData]) -> Verifier | None:
    """The verifier from its spec, or from Python; by default the one of the questions.

    Raises:
        DidactError: The spec is invalid.
    """
    given, spec = run.objects.verifier, run.config.verifier or run.data.questions.verifier
    if given is None and not spec:
        return None
    found = _built(spec, run) if given is None else given
    return found if isinstance(found, Verifier) else FunctionVerifier(found)


def goal_verifier(run: Run[QuestionData]) -> Verifier | None:
    """The verifier that measures the accuracy of a warm start."""
    spec = run.data.questions.verifier or run.config.verifier
    if run.verifier is None or spec is None:
        return None
    return run.verifier if spec.startswith("<") else _built(spec, run)


def ground_truth(run: Run[QuestionData]) -> Verifier | None:
    """The questions' own verifier, which defines correctness if another one gives the reward."""
    own = run.data.questions.verifier
    return _built(own, run) if own and run.config.verifier not in (None, own) else None


def _built(spec: str, run: Run[QuestionData]) -> Verifier:
    """Build a verifier from its spec; that of the questions comes from a world or from Python, never from a file."""
    own = run.data.questions.verifier
    with trusting.untrusted("the verifier", [own]) if spec == own else contextlib.nullcontext():
        return verifier_of(spec)
