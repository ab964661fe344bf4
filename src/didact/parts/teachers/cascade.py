"""Several teachers, of which the first is asked about every row, and each further one where those before were not sure.

`cascade:0.9:A+B` asks B where A gives its class less than 0.9, or abstains; of three or more, also where those that
were asked disagree. `cascade:0.9,100:A+B` asks all after the first about 100 rows at most. The last answer counts;
`cascade:0.9:committee:skill:A+B` joins the answers as that committee would. See `didact.teachers.CascadeTeacher`.
"""

from dataclasses import replace
from functools import partial

import torch

from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.teachers import committee
from didact.teachers import CascadeTeacher
from didact.types import Cost

FORM = "cascade:SURE:TEACHERS"
EXAMPLE = "cascade:0.9,100:mlp:8+cnn:32,64"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """The teachers, in the order in which they are asked."""
    words = spec.argument.split(",")
    if len(words) > 2:
        raise spec.error()
    field = f"in {spec.field}={spec.text!r}, how sure"
    sure = convert(field, words[0], float)
    calls = convert(field.replace("how sure", "the number of calls"), words[1], int) if len(words) == 2 else None
    classes, inner = purpose.classes(spec), spec.inner[0]
    if inner.kind != "committee":
        raise spec.error("a cascade asks one teacher after the other; give two or more, as in cascade:0.9:A+B.")
    joined = committee.build(inner, purpose)
    blend = joined.model
    teacher = CascadeTeacher(
        blend.teachers,
        sure=sure,
        calls=calls,
        blend=blend if inner.argument or blend.weights != "equal" else None,
        classes=classes,
        names=blend.names,
    )
    # Until the run begins, the first teacher alone is asked.
    teacher.open = False
    settles = (*joined.settles, partial(_open, teacher))
    return replace(joined, model=teacher, spec=spec.text, settles=settles, members=())


def _open(teacher: CascadeTeacher, _device: torch.device) -> Cost:
    teacher.open = True
    return Cost()
