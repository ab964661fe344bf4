"""Views of tables and texts against slow transcriptions and their statistics; views that a material lacks."""

import typing

import numpy as np
import pytest
import torch

from didact import sources
from didact.cli import main
from didact.errors import ConfigError
from didact.preprocessing import Category, Number, TablePreprocessing
from didact.sources import augment, augment_tables, augment_texts
from didact.types import Examples, Strength


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def table(rows=400):
    """A number, a category of three values, and six more numbers; every cell tells its row."""
    number = torch.arange(rows).float()[:, None]
    category = torch.eye(3)[torch.arange(rows) % 3]
    columns = [Number(name="n")]
    columns += [Category(name="c", values=("x", "y", "z"), places=(0, 1, 2), width=3, unknown=-1, missing=0)]
    columns += [Number(name=f"m{i}") for i in range(6)]
    x = torch.cat([number, category, number.expand(-1, 6)], 1)
    label = torch.arange(rows) % 2
    return Examples(
        tensors={"x": x, "label": label, "id": torch.arange(rows)},
        task="classification",
        modality="table",
        classes=("a", "b"),
        preprocessing=TablePreprocessing(tuple(columns)),
    )


def cells_of(x):
    """The rows that the numbers came from [B, 7], and the category [B]."""
    return x[:, [0, 4, 5, 6, 7, 8, 9]].long(), x[:, 1:4]


def test_corruption_replaces_as_many_cells_of_each_row_with_draws_from_their_columns():
    data = table()
    x = data.tensors["x"]
    found = augment.augmenter(data, "corrupt")({"x": x}, seeded())["x"]
    numbers, category = cells_of(found)
    assert torch.equal(category.sum(1), torch.ones(400))
    # Four of eight cells: 60% rounded down. A draw is the row itself once in 400 times, or its category in three.
    moved = (numbers != torch.arange(400)[:, None]).sum(1) + (category != x[:, 1:4]).any(1)
    assert moved.max() == 4
    assert float(moved.double().mean()) == pytest.approx(4 - 0.5 / 3 - 3.5 / 400, abs=0.06)
    drawn = numbers[numbers != torch.arange(400)[:, None]].double()
    assert float(drawn.mean()) == pytest.approx(199.5, abs=4 * 115.5 / len(drawn) ** 0.5)
    assert float(drawn.std()) == pytest.approx(115.5, rel=0.05)
    # Cells of one row come from many others.
    apart = [len(set(row.tolist()) - {i}) for i, row in enumerate(numbers)]
    assert np.mean(apart) > 3


def test_corruption_is_a_transcription_with_the_same_numbers():
    data, draws = table(20), seeded(5)
    x, owner = data.tensors["x"], augment_tables.owners(data)
    assert owner.tolist() == [0, 1, 1, 1, 2, 3, 4, 5, 6, 7]
    chance, row = torch.rand(20, 8, generator=draws).numpy(), torch.randint(20, (20, 8), generator=draws).numpy()
    expected = x.clone()
    for i in range(20):
        for cell in np.argsort(chance[i])[:4]:
            expected[i, owner == cell] = x[row[i, cell], owner == cell]
    assert torch.equal(augment_tables.corrupt(x, x, owner, seeded(5)), expected)


def test_cutmix_takes_each_cell_from_one_other_row():
    data = table()
    x = data.tensors["x"]
    numbers, category = cells_of(augment.augmenter(data, "cutmix")({"x": x}, seeded())["x"])
    assert torch.equal(category.sum(1), torch.ones(400))
    for row, found in enumerate(numbers.tolist()):
        assert len(set(found) - {row}) <= 1
    moved = (numbers != torch.arange(400)[:, None]).double().mean()
    assert float(moved) == pytest.approx(0.3, abs=4 * (0.21 / 2800) ** 0.5)
    alone = x[:1]
    assert torch.equal(augment.augmenter(data, "cutmix")({"x": alone}, seeded())["x"], alone)


IDS = torch.arange(1, 41).repeat(300, 1)
LENGTH = 10 + torch.arange(300) % 30
MASK = (torch.arange(40) < LENGTH[:, None]).long()


def test_dropping_closes_up_what_is_left():
    ids, mask = augment_texts.drop(IDS, MASK, seeded())
    kept = augment_texts.hide(MASK, 0.1, seeded())
    for row in range(300):
        expected = [int(token) for token, stays in zip(IDS[row], kept[row], strict=True) if stays]
        assert ids[row, : len(expected)].tolist() == expected
        assert mask[row].tolist() == [1] * len(expected) + [0] * (40 - len(expected))
    share = 1 - float((mask.sum() - 300) / (MASK.sum() - 300))
    assert share == pytest.approx(0.1, abs=0.015)
    assert (ids[:, 0] == 1).all()


def test_swapping_moves_neighbours_and_nothing_else():
    ids = augment_texts.swap(IDS, MASK, seeded())
    assert torch.equal(ids.sort(1)[0], IDS)
    step = ids - IDS
    assert set(step.unique().tolist()) == {-1, 0, 1}
    assert not step[:, 0].any()
    assert not step[MASK == 0].any()
    for row, column in (step == 1).nonzero().tolist():
        assert step[row, column + 1] == -1
    # A pair of neighbours begins at every second place.
    pairs = ((LENGTH - 2) / 2).sum()
    assert float((step == 1).sum() / pairs) == pytest.approx(0.1, abs=0.015)


def test_all_views_are_listed_and_belong_to_a_material():
    of_all = {name for kind in ("image", "table", "series", "text") for name in augment.views_of(kind)}
    assert of_all == set(augment.VIEWS) == set(typing.get_args(Strength))


@pytest.mark.parametrize("name", ["randaugment", "time_warp", "swap"])
def test_a_view_that_a_table_lacks_is_refused_with_those_it_has(name):
    with pytest.raises(ConfigError, match="table") as refused:
        sources.BatchSource(table(), batch_size=4, views={"strong": name})
    kind = {"randaugment": "image", "time_warp": "series", "swap": "text"}[name]
    assert str(refused.value) == (
        f"The view strong is '{name}', a view of {kind} data, which these data (table) lack; use one of none, weak, "
        "strong, corrupt, cutmix."
    )


def test_views_that_a_method_or_its_data_lack_are_refused(capsys):
    run = ["run", "mean_teacher", "--data", "digits", "--student", "mlp:4", "--steps", "2", "--labels", "20"]
    assert main([*run, "--views", "third=weak"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "views names 'third', but the method 'mean_teacher' has no such view: its views are first, second." in err
    assert main([*run, "--views", "second=swap"]) == 2
    assert "a view of text data, which digits (image) lack" in " ".join(capsys.readouterr().err.split())
