"""Which tokens student and teacher hold likely, against sorted scores."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.tokens import _teacher, overlap
from didact.losses.tokens.overlap import topk_overlap
from didact.methods.language import gkd
from didact.parts.models import build_causal
from didact.teachers import LanguageTeacher
from didact.types import Batch, Head, Logits, States, TopK
from heads import draw, slow_scores


def slow(mine, theirs, k):
    """The share of the teacher's k highest that are among the student's, row by row."""
    found = []
    for own, other in zip(mine, theirs, strict=True):
        first, second = (set(np.argsort(-row, kind="stable")[:k].tolist()) for row in (own, other))
        found.append(len(first & second) / k)
    return found


@pytest.mark.parametrize("scores", [1, 25, 2**24])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_overlap_is_that_of_the_highest_scores(k, scores, monkeypatch):
    monkeypatch.setattr(_teacher, "CHUNK", scores)
    hidden, head = draw(0, 40, 11, 3, bias=True, scale=0.7)
    teacher_hidden, teacher = draw(1, 40, 8, 5, bias=True, softcap=2.0)
    found = topk_overlap(hidden, head, States(hidden=teacher_hidden, head=teacher), k)
    mine, theirs = slow_scores(hidden, head)[:, :8], slow_scores(teacher_hidden, teacher)
    assert found.tolist() == pytest.approx(slow(mine, theirs, k))
    assert found.dtype == torch.float32 and not found.requires_grad
    if k == 8:
        assert found.tolist() == [1.0] * 40
    else:
        assert 0.0 < found.mean() < 1.0


def test_the_order_of_the_likeliest_does_not_matter():
    head = Head(torch.eye(6))
    mine = torch.tensor([[5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0]])
    theirs = torch.tensor([[3.0, 4, 5, 0, 0, 0], [0.0, 1, 2, 3, 4, 5], [9.0, 0, 0, 0, 8, 7]])
    assert topk_overlap(mine, head, Logits(logits=theirs), 3).tolist() == pytest.approx([1.0, 0.0, 1 / 3])
    assert topk_overlap(mine, head, Logits(logits=mine), 2).tolist() == [1.0] * 3


def test_likeliest_tokens_alone_can_be_looked_for():
    mine, head = torch.tensor([[5.0, 4, 3, 2, 1, 0]] * 2), Head(torch.eye(6))
    told = TopK(ids=torch.tensor([[2, 1], [9, 0]]), log_probs=torch.tensor([[-2.0, -1.0]] * 2), tail=torch.zeros(2))
    assert topk_overlap(mine, head, told, 1).tolist() == [0.0, 1.0]
    assert topk_overlap(mine, head, told, 8).tolist() == [0.5, 0.5]


def test_what_does_not_fit_is_refused():
    hidden, head = draw(0, 4, 6, 3)
    with pytest.raises(ConfigError, match="k is 0"):
        topk_overlap(hidden, head, States(hidden=hidden, head=head), 0)
    with pytest.raises(ConfigError, match=r"4 rows and the teacher's signal is of \[2\]"):
        topk_overlap(hidden, head, States(hidden=hidden[:2], head=head), 2)


@pytest.mark.parametrize("looked_at", [3, 256])
def test_gkd_shows_the_overlap_at_evenly_spaced_tokens(looked_at, monkeypatch):
    monkeypatch.setattr(overlap, "LOOKED_AT", looked_at)
    learner, teacher = (build_causal("decoder:1x16:64", seed=seed) for seed in (0, 1))
    ids = torch.randint(4, 260, (5, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[:, 2:] = True
    mask[4, 4:] = False
    there = mask.long()
    there[:, :2] = 1
    batch = Batch({"input_ids": ids, "attention_mask": there, "completion_mask": mask, "id": torch.arange(5)})
    method = gkd.GKD(gkd.Config(), learner, LanguageTeacher(teacher))
    places = [(row, place - 1) for row, place in mask.nonzero().tolist()]
    places = places[:: -(-len(places) // looked_at)]
    with torch.no_grad():
        mine, theirs = (np.array([model(batch).logits[at].numpy() for at in places]) for model in (learner, teacher))
    term = method.loss(batch)["overlap"]
    assert float(term.sum / term.count) == pytest.approx(np.mean(slow(mine, theirs, 8)), abs=1e-6)
    assert term.count == method.counts(batch)["overlap"] == 18
    assert term.weight == 0.0 and not term.sum.requires_grad
