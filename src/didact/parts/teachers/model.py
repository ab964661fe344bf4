"""Any student as a teacher; for examples it is trained first, on all training labels.

For questions it is not trained, unless it has a warm start, as in `warm:1000:decoder:4x128`.
"""

from dataclasses import replace

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part, WarmStart
from didact.teachers import FrozenTeacher, LanguageTeacher

FORM = "STUDENT"
EXAMPLE = "cnn:32,64"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A student as a teacher, frozen after its warm start."""
    part = purpose.build(spec.inner[0])
    teacher = FrozenTeacher if isinstance(purpose, ForExamples) else LanguageTeacher
    first = part.warm_starts
    if isinstance(purpose, ForExamples) and not first and spec.inner[0].kind not in ("own", "hf", "run"):
        first = (WarmStart(model=part.model, spec=spec.text, rate=part.rate, seed=purpose.seed),)
    frozen = tuple(replace(one, freeze=True) for one in first)
    return replace(part, model=teacher(part.model), spec=spec.text, warm_starts=frozen)
