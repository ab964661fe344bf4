"""A custom student: a function or class that returns an `nn.Module`.

It is called with those of the keyword arguments `shape` (of one input), `outputs` (number of classes, or 1), `classes`
(their names) and `examples` that it takes. For questions it returns a `CausalLearner`.
"""

import inspect
from typing import Any

from torch import nn

from didact.documents import Document
from didact.learners import CausalLearner, ModuleLearner
from didact.parts.kinds import Spec
from didact.parts.own import import_object
from didact.parts.part import ForExamples, ForQuestions, Part, Purpose
from didact.parts.students._drawing import seeded_init

FORM = "package.module:factory"
EXAMPLE = "my_package.nets:make_net"
NAMES = "code"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The object that the factory returns, as a student."""
    with seeded_init(purpose.seed):
        made = call(spec, purpose)
    if isinstance(purpose, ForQuestions) and not isinstance(made, CausalLearner):
        raise spec.error(f"it returned {type(made).__name__}; for questions it must return a CausalLearner.")
    if not isinstance(made, nn.Module):
        raise spec.error(f"it returned {type(made).__name__}; it must return an nn.Module.")
    model = made if isinstance(made, ModuleLearner | CausalLearner) else ModuleLearner(made)
    return Part(model=model, spec=spec.text, tokenizer=getattr(model, "tokenizer", None))


def call(spec: Spec, purpose: Purpose) -> Any:
    """Import a factory and call it with those arguments that it takes."""
    factory = import_object(spec)
    offered: Document = {}
    if isinstance(purpose, ForExamples):
        examples = purpose.examples
        offered |= {"shape": examples.shape, "outputs": examples.outputs}
        offered |= {"classes": examples.classes, "examples": examples}
    try:
        wanted = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        raise spec.error("it is no function or class with a known signature.") from None
    return factory(**{name: value for name, value in offered.items() if name in wanted})
