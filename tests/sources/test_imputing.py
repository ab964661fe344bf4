import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from didact import sources
from didact.errors import ConfigError, DataError
from didact.types import Column

NAN = float("nan")
CELLS = st.one_of(st.just(NAN), st.integers(-4, 4).map(float))


def table(rows, columns=()):
    x = torch.tensor(rows, dtype=torch.float32)
    examples = sources.from_tensors(torch.nan_to_num(x), torch.arange(len(x)) % 2, ids=np.arange(len(x)))
    return dataclasses.replace(examples.with_tensors(x=x), columns=columns or examples.columns)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(1, 3)), elements=CELLS))
def test_values_are_those_of_numpy(x):
    x[0] = 1.0  # every column has a value
    examples = table(x)
    modes = []
    for column in x.T:
        values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        modes.append(values[counts.argmax()])
    expected = {"mean": np.nanmean(x, 0), "median": np.nanmedian(x, 0), "most_frequent": modes}
    for how, values in expected.items():
        np.testing.assert_allclose(sources.fill_values(examples, how).numpy(), values, rtol=1e-6)


def test_a_category_gets_the_most_frequent_one_whichever_way():
    columns = (Column("n"), Column("c", ("a", "b", "d")))
    rows = [[1, 0, 1, 0], [3, NAN, NAN, NAN], [NAN, 0, 1, 0], [3, 1, 0, 0]]
    for how, number in (("mean", 7 / 3), ("median", 3.0), ("most_frequent", 3.0)):
        filled = sources.fill(table(rows, columns), sources.fill_values(table(rows, columns), how))
        expected = [[1, 0, 1, 0], [3, 0, 1, 0], [number, 0, 1, 0], [3, 1, 0, 0]]
        np.testing.assert_allclose(filled.tensors["x"].numpy(), expected, rtol=1e-6)


def test_nothing_is_learned_from_the_other_splits():
    train, other = table([[1.0], [NAN], [3.0]]), table([[1000.0], [NAN]])
    splits = sources.impute(sources.Splits(train, other, other), "mean")
    assert splits.train.tensors["x"].tolist() == [[1.0], [2.0], [3.0]]
    assert splits.validation.tensors["x"].tolist() == [[1000.0], [2.0]]
    assert splits.test.tensors["x"].tolist() == [[1000.0], [2.0]]
    assert other.tensors["x"].isnan().any()


def test_impossible_imputations_are_refused():
    with pytest.raises(DataError, match="column 'x1' has no value in any training row"):
        sources.fill_values(table([[1.0, NAN], [2.0, NAN]]), "mean")
    with pytest.raises(ConfigError, match="impute is 'avg'"):
        sources.fill_values(table([[1.0], [2.0]]), "avg")  # pyright: ignore[reportArgumentType]
    images = sources.from_tensors(torch.zeros(2, 1, 3, 3), torch.arange(2))
    with pytest.raises(DataError, match="data are of the kind image; only tables"):
        sources.fill_values(images, "mean")
