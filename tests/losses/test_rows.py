import pytest
import torch

from didact.errors import ConfigError, DataError
from didact.losses.tokens import rows as rows_of
from didact.types import Batch, Head, Logits, TokenOutput


def batch():
    mask = torch.tensor([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    ids = torch.arange(15).view(3, 5)
    return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask, "id": ids[:, 0]})


def picked():
    hidden = torch.arange(15.0).view(3, 5, 1)
    return rows_of.select_tokens(TokenOutput(hidden, Head(torch.ones(20, 1))), batch())


def test_each_token_is_predicted_from_the_state_before_it():
    found = picked()
    assert found.targets.tolist() == [2, 3, 6, 7, 8, 9]
    assert found.hidden[:, 0].tolist() == [1.0, 2.0, 5.0, 6.0, 7.0, 8.0]
    assert found.row.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.pick(batch()["input_ids"]).tolist() == found.targets.tolist()
    assert torch.equal(found.pick_signal(Logits(logits=torch.arange(15.0).view(3, 5, 1))).logits, found.hidden)
    places = rows_of.locate_tokens(batch())
    assert torch.equal(places.position, found.position)
    assert torch.equal(places.targets, found.targets)
    assert found.spread(torch.tensor([5, 6, 7])).tolist() == [5, 5, 6, 6, 6, 6]
    assert found.sums(torch.ones(6)).tolist() == [2.0, 4.0, 0.0]


def test_tokens_or_sequences_are_averaged_over():
    values = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0, 5.0])
    assert float(picked().term(values).mean()) == pytest.approx(2.0)
    # Rows of means 2 and 2; then rows of means 2 and 1.
    assert float(picked().term(values, by="sequence").mean()) == pytest.approx(2.0)
    other = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0, 1.0])
    assert float(picked().term(other, by="sequence").mean()) == pytest.approx(1.5)
    assert {k: int(v) for k, v in rows_of.token_counts(batch()).items()} == {"token": 6, "sequence": 2}
    with pytest.raises(ConfigError, match="by is 'word'"):
        picked().term(values, by="word")


def test_positions_that_are_kept_but_do_not_count_change_nothing(monkeypatch):
    """On a GPU all positions are kept, with weights; the same arithmetic, tried here."""
    found, values = picked(), torch.arange(15.0)
    mask = batch()["completion_mask"]
    position = torch.arange(15).view(3, 5)[:, 1:].flatten()
    kept = rows_of.CompletionTokens(
        hidden=torch.zeros(12, 1),
        head=found.head,
        targets=position,
        row=position // 5,
        position=position,
        weight=mask[:, 1:].flatten().float(),
        size=3,
    )
    for by in rows_of.NORMALISATIONS:
        few, all_ = (one.term(values[one.position], by=by, longest=torch.full((3,), 7.0)) for one in (found, kept))
        assert float(few.mean()) == pytest.approx(float(all_.mean()))
        assert float(few.count) == float(all_.count)
    assert kept.lengths().tolist() == found.lengths().tolist()


def test_figures_to_look_at_carry_no_gradient_and_no_weight():
    values = torch.ones(6, requires_grad=True)
    term = picked().metric(values)
    assert not term.sum.requires_grad and term.weight == 0.0 and float(term.sum / term.count) == 1.0
    weighed = rows_of.metric_term(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0]))
    assert float(weighed.sum / weighed.count) == pytest.approx(2.0)


def test_a_batch_without_completions_is_refused():
    empty = Batch({**batch(), "completion_mask": torch.zeros(3, 5, dtype=torch.bool)})
    with pytest.raises(DataError, match="None of the 3 rows of the batch has a completion token"):
        rows_of.select_tokens(TokenOutput(torch.zeros(3, 5, 1), Head(torch.ones(20, 1))), empty)
