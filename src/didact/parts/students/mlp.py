"""A multi-layer perceptron with layers of the given widths; without widths, a linear model.

On text it reads the mean of token embeddings of the first width.
"""

from didact.learners import ModuleLearner, nets
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "mlp:WIDTH,WIDTH"
EXAMPLE = "mlp:64,64"
RATE = 3e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A perceptron for examples of any kind."""
    widths, examples = widths_of(spec), purpose.examples
    if examples.modality == "text" and not widths:
        raise spec.error("over text an mlp needs the width of its embedding, as in mlp:64.")
    with seeded_build(spec, purpose.seed):
        return Part(model=ModuleLearner(nets.mlp(widths, examples, examples.outputs)), spec=spec.text, rate=RATE)
