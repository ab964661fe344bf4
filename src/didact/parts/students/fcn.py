"""A fully convolutional net for masks: dilated blocks of the given widths, and an answer for each pixel."""

from didact.learners import ModuleLearner, maps
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "fcn:WIDTH,WIDTH"
EXAMPLE = "fcn:16,16"
RATE = 3e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A fully convolutional net for images with masks."""
    widths, examples = widths_of(spec), purpose.examples
    if examples.task != "segmentation" or not widths:
        raise spec.error(
            f"the data are a {examples.task} of {examples.modality} data; a net that answers for each pixel needs "
            "images with masks, and at least one width. For a class of each image, cnn:16,32 would work."
        )
    with seeded_build(spec, purpose.seed):
        return Part(
            model=ModuleLearner(maps.fcn(widths, examples, examples.outputs), head=None), spec=spec.text, rate=RATE
        )
