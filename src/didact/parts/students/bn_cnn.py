"""A convolutional net for images that normalises over the batch; else as `cnn`."""

from didact.learners import ModuleLearner, nets
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "bn_cnn:WIDTH,WIDTH"
EXAMPLE = "bn_cnn:16,32"
RATE = 3e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A convolutional net for images."""
    widths, examples = widths_of(spec), purpose.examples
    if examples.modality != "image" or not widths:
        raise spec.error(
            f"the data are of the kind {examples.modality}; a convolutional net needs images and at least one width. "
            "For series, cnn1d:32,64,32 would work, for tables and text mlp:64,64 or transformer:2x64.",
        )
    with seeded_build(spec, purpose.seed):
        net = nets.cnn(widths, examples, examples.outputs, by_batch=True)
        return Part(model=ModuleLearner(net), spec=spec.text, rate=RATE)
