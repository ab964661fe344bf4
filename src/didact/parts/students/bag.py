"""A net over bags of instances: the nested student reads each instance, and attention pools what it makes of them.

The pooling is attention, gated, mean or max; see `didact.learners.bags`. A bag is `x` [N, instances, ...].
"""

from dataclasses import replace

from didact.learners.bags import POOLINGS, bag_net
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import seeded_build
from didact.types import Examples

FORM = "bag:POOLING:STUDENT"
EXAMPLE = "bag:attention:mlp:64"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A net over the bags of the data."""
    if spec.argument not in POOLINGS:
        raise spec.error(f"the pooling is one of {', '.join(POOLINGS)}, as in {EXAMPLE}.")
    examples = purpose.examples
    if examples.modality != "table" or examples.preprocessing is not None or len(examples.shape) < 2:
        raise spec.error(
            f"the data are {examples.modality} of the shape {list(examples.shape)}; it needs bags: a tensor x "
            "[N, instances, ...] of examples whose modality is table, such as those of digits:bags."
        )
    part = replace(purpose, examples=_instances(examples)).build(spec.inner[0])
    with seeded_build(spec, purpose.seed):
        return replace(part, model=bag_net(part.model, spec.argument), spec=spec.text)


def _instances(bags: Examples) -> Examples:
    """The instances of all bags as examples of their own, each with its bag's label."""
    count, shape = bags.shape[0], bags.shape[1:]
    tensors = {"x": bags.tensors["x"].flatten(0, 1)}
    tensors |= {
        name: bags.tensors[name].repeat_interleave(count, 0) for name in ("label", "id") if name in bags.tensors
    }
    return replace(bags, tensors=tensors, modality="image" if len(shape) == 3 else "table")
