"""A convolutional net for series: blocks of the given widths over time, a mean over time, and a linear head."""

from didact.learners import ModuleLearner, nets
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "cnn1d:WIDTH,WIDTH"
EXAMPLE = "cnn1d:32,64,32"
RATE = 3e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A convolutional net for series."""
    widths, examples = widths_of(spec), purpose.examples
    if examples.modality != "series" or not widths:
        raise spec.error(
            f"the data are of the kind {examples.modality}; it needs series and at least one width. For images, "
            "cnn:16,32 would work, for tables mlp:64,64; arrays are series where you say modality='series'.",
        )
    with seeded_build(spec, purpose.seed):
        return Part(model=ModuleLearner(nets.cnn1d(widths, examples, examples.outputs)), spec=spec.text, rate=RATE)
