"""A net for pairs of frames with masks of displacements: features of the given widths, matched from coarse to fine."""

import math

from didact.learners import ModuleLearner, maps
from didact.learners.matching import Matcher
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "matcher:WIDTH,WIDTH"
EXAMPLE = "matcher:8,8"
RATE = 3e-3


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A matcher for two frames, whose classes are displacements."""
    widths, examples = widths_of(spec), purpose.examples
    side = math.isqrt(examples.outputs)
    square = examples.task == "segmentation" and side % 2 and side**2 == examples.outputs
    if not square or examples.shape[0] != 2 or not widths:
        raise spec.error(
            f"the data are a {examples.task} with {examples.outputs} outputs for inputs {list(examples.shape)}; a net "
            "that finds pixels again needs frames [2, H, W] with masks, whose classes are displacements in a square, "
            "such as 25 of them, and at least one width. For other masks, fcn:16,16 would work."
        )
    with seeded_build(spec, purpose.seed):
        frame = examples.with_tensors(x=examples.tensors["x"][:, :1])
        encoder = maps.fcn(widths, frame, widths[-1]).get_submodule("module")
        return Part(model=ModuleLearner(Matcher(encoder, side // 2), head=None), spec=spec.text, rate=RATE)
