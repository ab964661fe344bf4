"""A net over bags that moves the nested student's vectors of the instances to some prototypes, by optimal transport.

See `didact.learners.bag_transport`. A bag is `x` [N, instances, ...].
"""

from dataclasses import replace

from didact.learners.bag_transport import transport_bag_net
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students import bag
from didact.parts.students._drawing import seeded_build, widths_of

FORM = "transport_bag:PROTOTYPES:STUDENT"
EXAMPLE = "transport_bag:16:mlp:64"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A net over the bags of the data."""
    counts = widths_of(spec)
    if len(counts) != 1:
        raise spec.error(f"it takes one number of prototypes, as in {EXAMPLE}.")
    part = bag.build(replace(spec, argument="mean"), purpose)
    with seeded_build(spec, purpose.seed):
        return replace(part, model=transport_bag_net(part.model, counts[0]))
