"""A student that first learns another tensor of the data, such as labels that are less sure, for some steps."""

from dataclasses import replace

import torch

from didact.errors import check_range, nearest
from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part, WarmStart
from didact.types import IGNORE, MASK

FORM = "first:NAME:STEPS:STUDENT"
EXAMPLE = "first:style:300:mlp:32"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A student whose warm start is on labels of another tensor, of the same classes."""
    name, _, words = spec.argument.partition(":")
    steps = convert(f"the steps in {spec.field}={spec.text!r}", words, int)
    check_range(f"the number of steps in {spec.field}={spec.text!r}", steps, at_least=1)
    _check(spec, purpose, name)
    part = purpose.build(spec.inner[0])
    first = WarmStart(model=part.model, spec=spec.text, rate=part.rate, steps=steps, label=name, seed=purpose.seed)
    return replace(part, spec=spec.text, warm_starts=(first, *part.warm_starts))


def _check(spec: Spec, purpose: ForExamples, name: str) -> None:
    """Refuse a tensor that holds no classes of the data."""
    examples, count = purpose.examples, purpose.classes(spec)
    like = examples.tensors[MASK if examples.task == "segmentation" else "label"]
    known = [
        key
        for key, values in examples.tensors.items()
        if values.dtype == torch.int64 and values.shape == like.shape and values is not like and key != "id"
    ]
    if name not in known:
        raise spec.error(f"the data have no tensor {name!r} of such labels. {nearest(name, known)}")
    values = examples.tensors[name]
    if bool(((values < 0) & (values != IGNORE)).any()) or int(values.max()) >= count:
        raise spec.error(
            f"{name!r} has numbers from {int(values.min())} to {int(values.max())}, and the data {count} classes."
        )
