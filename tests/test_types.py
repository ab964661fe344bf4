"""The nouns: batches, terms, examples, errors."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import planted
from didact.errors import ConfigError, DataError, MissingExtraError, check_choice, check_range, nearest
from didact.types import IGNORE, Batch, Term, Terms, is_labelled


def test_a_batch_checks_itself():
    assert planted(4).batch().check().size == 4
    with pytest.raises(DataError, match="no tensor 'id'"):
        Batch({"x": torch.zeros(2)}).check()
    with pytest.raises(DataError, match="must be int64"):
        Batch({"id": torch.zeros(2)}).check()
    with pytest.raises(DataError, match=r"'x' has shape \[3\].*2 rows"):
        Batch({"id": torch.arange(2), "x": torch.zeros(3)}).check()


def test_a_missing_tensor_or_view_is_named():
    batch = Batch({"id": torch.arange(2), "x": torch.zeros(2), "weak.x": torch.ones(2)})
    with pytest.raises(DataError, match=r"no tensor 'y'; it has id, weak.x, x"):
        batch["y"]
    with pytest.raises(DataError, match="no view 'strong'; it has weak"):
        batch.view("strong")
    assert batch.view("weak")["x"].tolist() == [1.0, 1.0]
    assert "weak.x" not in batch.view("weak")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 25))
def test_splitting_keeps_every_example_in_order(size, parts):
    batch = Batch({"id": torch.arange(size), "x": torch.rand(size, 2)})
    pieces = batch.split(parts)
    assert torch.equal(torch.cat([p["id"] for p in pieces]), batch["id"])
    assert all(p.size <= parts for p in pieces)


def test_selecting_by_mask_and_by_position():
    examples = planted(6)
    mask = examples.tensors["label"] == 1
    assert examples.select(mask).tensors["label"].tolist() == [1, 1]
    assert examples.select(torch.tensor([3, 0])).tensors["id"].tolist() == [1003, 1000]
    assert examples.batch().select(mask)["id"].tolist() == [1001, 1004]


def test_missing_targets():
    assert is_labelled(torch.tensor([0, IGNORE, 2])).tolist() == [True, False, True]
    assert is_labelled(torch.tensor([0.0, float("nan")])).tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 12), st.floats(0.1, 4))
def test_any_cut_gives_the_same_total_and_gradient(values, size, weight):
    def gradient(cuts):
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        count = {"a": torch.tensor(len(values))}
        for part in x.split(cuts):
            Terms(a=Term((part**3).sum(), torch.tensor(len(part)), weight)).backward(count)
        assert x.grad is not None
        return x.grad

    torch.testing.assert_close(gradient(len(values)), gradient(size), rtol=1e-6, atol=1e-9)


def test_terms_without_a_gradient_are_left_out_of_the_backward_pass():
    x = torch.ones(2, requires_grad=True)
    Terms(a=Term(x.sum(), 2), constant=Term(torch.tensor(3.0), 1)).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, 0.5]


def test_a_mean_leaves_the_weight_out():
    assert Term(torch.tensor(6.0), torch.tensor(4), 10.0).mean().item() == 1.5
    assert Term(torch.tensor(0.0), 0, 10.0).mean().item() == 0.0


def test_rows_add_up_to_a_total_of_what_each_example_has():
    nan = float("nan")
    sums = torch.ones(())
    terms = Terms(
        label=Term(sums, 1.0, 2.0, rows=torch.tensor([1.0, nan, nan])),
        teacher=Term(sums, 1.0, 0.5, rows=torch.tensor([4.0, 6.0, nan])),
        watched=Term(sums, 1.0, 0.0, rows=torch.tensor([7.0, 8.0, 9.0])),
        penalty=Term(sums, 1.0, 3.0),
        copies=Term(sums, 1.0, 3.0, rows=torch.ones(6)),
    )
    rows = terms.rows(3)
    assert set(rows) == {"label", "teacher", "watched", "total"}
    assert rows["total"][:2].tolist() == [4.0, 3.0] and rows["total"][2].isnan()
    assert Terms(penalty=terms["penalty"]).rows(3) == {}
    assert set(Terms(watched=terms["watched"]).rows(3)) == {"watched"}


def test_rows_are_computed_when_they_are_read_and_carry_no_gradient():
    values, read = torch.tensor([1.0, 3.0], requires_grad=True), []
    term = Term((2.0 * values).sum(), 2.0, rows=lambda: read.append(1) or 2.0 * values).times(0.5).for_group("head")
    assert (term.weight, term.group, read) == (0.5, "head", [])
    assert term.rows.tolist() == [2.0, 6.0] and not term.rows.requires_grad
    assert len(read) == 2
    assert Term(values.sum(), 2.0, rows=values).rows.grad_fn is None
    assert Term(values.sum(), 2.0).times(2.0).rows is None
    terms = Terms(label=term)
    without, kept = terms.detach()["label"], terms.detach(rows=True)["label"]
    assert without.rows is None and kept.rows.tolist() == [2.0, 6.0]
    assert (kept.group, kept.weight, kept.sum.item(), kept.sum.requires_grad) == ("head", 0.5, 8.0, False)


def test_a_loss_that_teaches_nothing_is_refused():
    with pytest.raises(DataError, match=r"\(a\) depends on a trained parameter"):
        Terms(a=Term(torch.tensor(3.0), 1)).backward()


def test_errors_say_what_would_work():
    with pytest.raises(ConfigError, match=r"alpha is 2, but must be at least 0 and at most 1\."):
        check_range("alpha", 2, at_least=0, at_most=1)
    with pytest.raises(ConfigError, match="alpha is nan"):
        check_range("alpha", float("nan"), above=0)
    with pytest.raises(ConfigError, match="Did you mean cosine"):
        check_choice("schedule", "cosne", ["cosine", "linear"])
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
    assert "pip install 'didact[report]'" in str(MissingExtraError("jinja2", "report", "The report"))


def test_importing_didact_imports_neither_torch_nor_scikit_learn():
    code = """if True:
        import sys, didact
        assert not {"torch", "sklearn"} & set(sys.modules)
        didact.Batch
        assert "torch" in sys.modules and "sklearn" not in sys.modules
        didact.Distiller
        assert "sklearn" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_public_name_is_an_attribute_error():
    import didact

    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        _ = didact.fti
    assert "fit" in dir(didact)
