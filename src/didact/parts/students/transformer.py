"""A transformer encoder over patches of an image, stretches of a series, columns of a table or tokens of a text."""

from didact.learners import ModuleLearner, nets
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import depth_and_width, seeded_build

FORM = "transformer:LAYERSxWIDTH"
EXAMPLE = "transformer:2x64"
RATE = 1e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A transformer for examples of any kind."""
    (depth, width), examples = depth_and_width(spec), purpose.examples
    if examples.modality == "table" and len(examples.shape) != 1:
        raise spec.error(
            f"one input has the shape {list(examples.shape)}; over a table, a transformer needs rows of numbers. An "
            "mlp:64,64 would work.",
        )
    with seeded_build(spec, purpose.seed):
        net = nets.transformer(depth, width, examples, examples.outputs)
        return Part(model=ModuleLearner(net), spec=spec.text, rate=RATE)
