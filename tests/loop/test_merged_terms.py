"""What the terms of the parts of a batch are together."""

import torch

from didact.loop.recorder import merge
from didact.losses.labels.supervised import cross_entropy
from didact.losses.pairs.relational import rkd_distance
from didact.types import IGNORE, Terms

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, IGNORE, 2, 2, 0])


def terms(part):
    apart = rkd_distance(LOGITS[part], LOGITS[part].square())
    return Terms(label=cross_entropy(LOGITS[part], LABELS[part]).times(0.5).for_group("head"), apart=apart)


def test_rows_follow_each_other_in_the_order_of_the_parts():
    whole, parts = terms(slice(None)), [terms(slice(0, 2)), terms(slice(2, 6))]
    merged = merge([part.detach(rows=True) for part in parts])
    assert torch.equal(merged["label"].rows.nan_to_num(), whole["label"].rows.nan_to_num())
    assert (merged["label"].group, merged["label"].weight) == ("head", 0.5)
    assert torch.allclose(merged["label"].mean(), whole["label"].mean())
    assert merged["apart"].rows is None
    assert merge([part.detach() for part in parts])["label"].rows is None
