"""Made-up rows: each column lies between a row and a near one, and says what a row could say."""

import numpy as np
import pandas as pd
import pytest
import torch

import didact
from didact import sources
from didact.errors import ConfigError, DataError
from didact.preprocessing import Category, Date, Number
from didact.sources.made_up import RIVALS, make_up, with_made_up
from didact.types import is_labelled
from didact.worlds import load


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 3000, 300), "D")
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, 300).round(1),
            "city": rng.choice(["Rome", "Oslo", "Cairo"], 300),
            "since": days.strftime("%Y-%m-%d"),
            "label": rng.choice(["yes", "no"], 300),
        }
    )
    frame.loc[::7, "age"] = None
    frame.loc[::9, "city"] = None
    path = tmp_path_factory.mktemp("table") / "table.csv"
    frame.to_csv(path, index=False)
    examples = sources.load(path)
    return sources.fit_preprocessing(examples, None)(examples)


def blocks(examples, x):
    start = 0
    for column in examples.preprocessing.columns:
        yield column, x[:, start : start + column.width]
        start += column.width


def test_every_cell_is_that_of_a_row_or_lies_between_two_numbers(table):
    made = make_up(table, 1000, seed=0)
    assert made.size == 1000 and not is_labelled(made.tensors["label"]).any()
    for (column, real), (_, found) in zip(
        blocks(table, table.tensors["x"]), blocks(made, made.tensors["x"]), strict=True
    ):
        known = {tuple(row) for row in real.tolist()}
        cells = [tuple(row) for row in found.tolist()]
        if isinstance(column, Number):
            assert column.marked
            gone = found[:, 1] == 1
            assert set(found[:, 1].tolist()) == {0.0, 1.0}
            assert {cell for cell, gap in zip(cells, gone, strict=True) if gap} <= known
            present = real[real[:, 1] == 0][:, 0]
            assert present.min() <= found[~gone, 0].min() and found[~gone, 0].max() <= present.max()
            assert sum(cell not in known for cell in cells) > 200
        else:
            assert isinstance(column, Category | Date)
            assert set(cells) <= known
    # One in eight has no column of its partner, and is the row again.
    assert len(set(made.tensors["id"].tolist())) > 800


def test_the_rule_against_one_row_at_a_time(table):
    """The same draws in the same order, in plain Python."""
    made, x = make_up(table, 50, seed=3).tensors["x"], table.tensors["x"].double()
    generator = torch.Generator().manual_seed(3)
    first = torch.randint(300, (50,), generator=generator)
    rivals = (first[:, None] + torch.randint(1, 300, (50, RIVALS), generator=generator)) % 300
    spread = x.std(0, correction=0)
    second = []
    for own, others in zip(first, rivals, strict=True):
        apart = [sum(((x[own] - x[other]) / spread) ** 2) for other in others]
        second.append(int(others[int(np.argmin(apart))]))
    start = 0
    for column in table.preprocessing.columns:
        taken = torch.rand(50, generator=generator) < 0.5
        ways = torch.rand(50, generator=generator) if isinstance(column, Number) else None
        for row in range(50):
            left, right = (x[at, start : start + column.width] for at in (first[row], second[row]))
            wanted = right.clone() if taken[row] else left.clone()
            if taken[row] and ways is not None and left[1] == right[1] == 0:
                wanted[0] = left[0] + ways[row] * (right[0] - left[0])
            torch.testing.assert_close(made[row, start : start + column.width].double(), wanted, rtol=0, atol=1e-5)
        start += column.width


def test_the_seed_decides_and_labels_stay(table):
    first, again, other = (make_up(table, 20, seed=seed).tensors["x"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    more = with_made_up(table, 0.5, seed=1)
    assert more.size == 450
    assert torch.equal(more.tensors["label"][:300], table.tensors["label"])
    assert torch.equal(more.tensors["x"][:300], table.tensors["x"])


def test_what_is_no_table_is_refused():
    with pytest.raises(ConfigError, match="are no table"):
        make_up(load("digits"), 3, seed=0)


def test_one_row_is_too_few(table):
    with pytest.raises(DataError, match="between two"):
        make_up(table.select(torch.tensor([0])), 3, seed=0)


SETTINGS = {"student": "mlp:4", "steps": 3, "progress": False}


def teacher(asked):
    def answer(rows):
        asked.append(rows)
        return np.stack([rows["u"] > 0, rows["u"] <= 0], 1).astype(float)

    return answer


def test_any_run_can_ask_its_teacher_about_them():
    rng, asked = np.random.default_rng(0), []
    frame = pd.DataFrame({"u": rng.normal(size=200), "label": rng.choice(["a", "b"], 200)})
    result = didact.run("distill", data=frame, target="label", teacher=teacher(asked), made_up=3, **SETTINGS)
    seen = pd.concat(asked)["u"]
    # A step takes 64 of 4 times as many rows: most of these were made up.
    assert (~seen.isin(frame["u"])).sum() > 60
    assert result.status == "done"


def test_rows_that_nobody_answers_are_refused():
    with pytest.raises(ConfigError, match="learns from labels alone"):
        didact.run("supervised", data="wine", made_up=1, **SETTINGS)
    with pytest.raises(ConfigError, match="made_up is -1"):
        didact.run("distill", data="wine", teacher="mlp:4", made_up=-1, **SETTINGS)


def test_a_student_of_trees_is_not_trained():
    with pytest.raises(ConfigError, match="nothing to train"):
        didact.run("supervised", data="wine", **{**SETTINGS, "student": "trees:31,1,4"})
