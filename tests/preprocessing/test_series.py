"""Series as inputs: gaps, unequal lengths and scales, against numpy's own functions, and as an ONNX graph."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from didact.errors import DataError
from didact.learners import onnx_graph
from didact.preprocessing import SeriesPreprocessing, SeriesRows, parse
from didact.preprocessing.series import fill, pad

NAN = np.nan
rng = np.random.default_rng(0)


def plain(channels=1, length=6, standardise="none"):
    return SeriesPreprocessing(length=length, means=(0.0,) * channels, stds=(1.0,) * channels, standardise=standardise)


def test_gaps_are_filled_as_numpy_interpolates():
    values = rng.normal(size=(40, 3, 17))
    values[rng.random(values.shape) < 0.6] = NAN
    found = fill(values)
    for row, expected in zip(values.reshape(-1, 17), found.reshape(-1, 17), strict=True):
        known = ~np.isnan(row)
        if known.any():
            np.testing.assert_allclose(expected, np.interp(np.arange(17), np.flatnonzero(known), row[known]))
        else:
            assert np.isnan(expected).all()


def test_channels_are_scaled_by_the_values_of_training_rows():
    train = np.stack([rng.normal(5, 2, (30, 8)), rng.normal(1e6, 3, (30, 8))], axis=1)
    train[rng.random(train.shape) < 0.2] = NAN
    known = SeriesRows(train).fit()
    np.testing.assert_allclose(known.means, np.nanmean(train, axis=(0, 2)))
    np.testing.assert_allclose(known.stds, np.nanstd(train, axis=(0, 2)))
    new = rng.normal([[5], [1e6]], [[2], [3]], (4, 2, 8))
    expected = (new - np.array(known.means)[:, None]) / np.array(known.stds)[:, None]
    np.testing.assert_allclose(known.encode(new).tensors["x"].numpy(), expected, atol=1e-5)


def test_each_series_can_be_scaled_by_itself():
    series = rng.normal(3, 2, (5, 2, 9)) * np.arange(1, 6)[:, None, None]
    series[0, 0, 4] = NAN
    x = plain(2, 9, "series").encode(series).tensors["x"].double().numpy()
    mean, std = np.nanmean(series, -1, keepdims=True), np.nanstd(series, -1, keepdims=True)
    np.testing.assert_allclose(x, (fill(series) - mean) / std, atol=1e-6)
    np.testing.assert_allclose(x[1:].mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(x[1:].std(-1), 1, atol=1e-6)


@pytest.mark.parametrize("standardise", ["channel", "series"])
def test_a_constant_is_not_blown_up_by_rounding(standardise):
    series = np.full((3, 1, 50), 0.1)
    series[:, :, ::7] += 1e-17
    x = SeriesRows(series, standardise).fit().encode(series).tensors["x"]
    assert float(x.abs().max()) < 1e-9


def test_shorter_series_end_with_their_last_value_and_channels_without_one_are_the_mean():
    known = SeriesRows(rng.normal(4, 1, (20, 2, 6))).fit()
    series = np.array([[[1.0, 2.0, NAN, 4.0], [NAN] * 4]])
    found = known.encode(series)
    mean, std = known.means[0], known.stds[0]
    expected = (np.array([1, 2, 3, 4, 4, 4]) - mean) / std
    np.testing.assert_allclose(found.tensors["x"][0, 0], expected, rtol=1e-5)
    assert torch.equal(found.tensors["x"][0, 1], torch.zeros(6))
    assert found.missing == {"channel 0": 1, "channel 1": 4}
    assert torch.equal(known.encode(pad(series, 6)).tensors["x"], found.tensors["x"])


def test_hashes_are_those_of_the_contents_alone():
    series = rng.normal(size=(4, 2, 5))
    series[1, :, 3:] = NAN
    series[2, 0, 1] = NAN
    hashes = SeriesRows(series).hashes
    assert hashes.unique().numel() == 4
    assert torch.equal(SeriesRows(pad(series, 9)).hashes, hashes)
    assert torch.equal(SeriesRows(series).select(torch.tensor([2, 0])).hashes, hashes[[2, 0]])


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (np.zeros((2, 3, 6)), r"\[3, 6\], but the student takes \[2, 6\]"),
        (np.zeros((2, 2, 7)), "cut longer ones"),
        (np.array([[[1.0], [2.0]], [[np.inf], [0.0]]]), "row 2 holds an infinite number"),
    ],
)
def test_what_does_not_fit_is_refused(series, words):
    with pytest.raises(DataError, match=words):
        plain(2).encode(series)


def test_it_is_read_back_from_json_and_nonsense_is_refused():
    known = SeriesRows(rng.normal(size=(5, 1, 3)), columns=("a", "b", "c")).fit()
    document = json.loads(json.dumps(known.describe()))
    assert parse(document) == known
    for changed in ({"standardise": "often"}, {"stds": [0.0]}, {"length": 10**9}, {"columns": ["a"]}, {"means": []}):
        with pytest.raises(ValueError, match=r"its series|10\*\*9|list"):
            parse({**document, **changed})


@pytest.mark.parametrize("standardise", ["channel", "series", "none"])
@pytest.mark.parametrize("length", [1, 7, 33])
def test_the_graph_does_what_the_preprocessing_does(standardise, length):
    means, stds = ((5.0, 1e6), (2.0, 1e3)) if standardise == "channel" else ((0.0, 0.0), (1.0, 1.0))
    known = SeriesPreprocessing(length=length, means=means, stds=stds, standardise=standardise)
    series = onnx_graph.sample_series(known)
    assert np.isnan(series).any()
    session = onnxruntime.InferenceSession(onnx_graph.encoder(known).SerializeToString())
    found = session.run(None, {"series": series})[0]
    np.testing.assert_allclose(found, known.encode(series).tensors["x"].numpy(), rtol=1e-6, atol=1e-6)
