"""A net over bags whose first instance is a query: it says what the nested student's vectors of the others weigh.

The pooling is adaptive, relevance or entailment; see `didact.learners.bag_query`. A bag is `x` [N, instances, ...].
"""

from dataclasses import replace

from didact.learners.bag_query import QUERIES, query_bag_net
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students import bag
from didact.parts.students._drawing import seeded_build

FORM = "query_bag:POOLING:STUDENT"
EXAMPLE = "query_bag:adaptive:mlp:64"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A net over the bags of the data."""
    if spec.argument not in QUERIES:
        raise spec.error(f"the pooling is one of {', '.join(QUERIES)}, as in {EXAMPLE}.")
    part = bag.build(replace(spec, argument="mean"), purpose)
    with seeded_build(spec, purpose.seed):
        return replace(part, model=query_bag_net(part.model, spec.argument))
