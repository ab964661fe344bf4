"""A warm start: the student is first trained on the data's labels or completions, for some steps or to an accuracy.

The accuracy is that on the validation data: `warm:50%:` trains until half of the predictions are right.
"""

import re
from dataclasses import replace

from didact.errors import check_range
from didact.learners import Decoder
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part, WarmStart

FORM = "warm:STEPS:STUDENT | warm:SHARE%:STUDENT"
EXAMPLE = "warm:1000:decoder:4x128"
WARM_RATE = 3e-3
"""Learning rate of a small language model with random initial weights, for a number of steps."""
STEADY_RATE = 2e-3
"""Constant learning rate of such a model that is trained to an accuracy."""


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A student with its warm start."""
    found = re.fullmatch(r"(\d+)(%?)", spec.argument)
    if found is None:
        raise spec.error()
    amount, share = int(found[1]), bool(found[2])
    named = f"the {'share' if share else 'number of steps'} in {spec.field}={spec.text!r}"
    check_range(f"{named}, in percent," if share else named, amount, at_least=1, at_most=100 if share else None)
    part = purpose.build(spec.inner[0])
    small = isinstance(purpose, ForQuestions) and isinstance(part.model.module, Decoder)
    first = WarmStart(
        model=part.model,
        spec=spec.text,
        rate=(STEADY_RATE if share else WARM_RATE) if small else part.rate,
        steps=0 if share else amount,
        goal=amount / 100.0 if share else 0.0,
        seed=purpose.seed,
    )
    return replace(part, spec=spec.text, warm_starts=(*part.warm_starts, first))
