"""Graphs of preprocessing, run by onnxruntime alone, against the preprocessing itself."""

import datetime
import math

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from didact.learners import onnx_graph
from didact.preprocessing import Category, Date, Dropped, ImagePreprocessing, Number, TablePreprocessing, fit_table


def run(model, feed):
    """All outputs by name."""
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feed), strict=True))


def encoded(known, rows):
    """What the graph makes of columns, and what the preprocessing does, both [N, F]."""
    columns = {
        name: np.array(cells, dtype=object if isinstance(cells[0], str) else float) for name, cells in rows.items()
    }
    feed = {name: column.reshape(-1, 1) for name, column in columns.items()}
    return run(onnx_graph.encoder(known), feed)["x"], known.encode(columns).tensors["x"].numpy()


NUMBERS = [3.5, math.nan, -999.0, math.inf, -math.inf, 1e300, 1e38, 0.0, 1e9 + 0.125, -7e-30]
NUMBER = {"name": "n", "fill": 2.5}


@pytest.mark.parametrize(
    ("column", "missing"),
    [
        (Number(**NUMBER), ()),
        (Number(**NUMBER, marked=True), ("-999",)),
        (Number(**NUMBER, marked=True), ("-999", "0", "none")),
        (Number(name="n", offset=1e9, fill=1e9 + 7, marked=True), ()),
    ],
)
def test_numbers(column, missing):
    found, expected = encoded(TablePreprocessing((column,), missing), {"n": NUMBERS})
    np.testing.assert_array_equal(found, expected)


def test_numbers_far_from_zero_are_centred_before_they_become_32_bit_floats():
    found, _ = encoded(
        TablePreprocessing((Number(name="t", offset=1.7e9, fill=1.7e9),)), {"t": [1.7e9 + 0.5, 1.7e9 - 3]}
    )
    assert found[:, 0].tolist() == [0.5, -3]


WORDS = ["Rome", "Oslo", "rome", "", "Åland", "NA", "?", "Rome ", "Lima"]


@pytest.mark.parametrize("unknown", [-1, 3])
@pytest.mark.parametrize("gap", [4, 1])
@pytest.mark.parametrize("missing", [(), ("?", "Lima")])
def test_categories(unknown, gap, missing):
    values = ("Lima", "NA", "Oslo", "Rome", "Åland")
    column = Category(name="city", values=values, places=(0, 1, 2, 0, 2), width=5, unknown=unknown, missing=gap)
    found, expected = encoded(TablePreprocessing((column,), missing), {"city": WORDS})
    np.testing.assert_array_equal(found, expected)


def test_unknown_categories_without_a_column_are_all_0():
    column = Category(name="c", values=("a", "b"), places=(0, 1), width=2, unknown=-1, missing=1)
    assert encoded(TablePreprocessing((column,)), {"c": ["b", "z", "", "a"]})[0].tolist() == [
        [0, 1],
        [0, 0],
        [0, 1],
        [1, 0],
    ]


DATES = [
    "2021-03-04",
    "2021-03-04T05:06:07",
    "2021-03-04 23:59",
    " 2021-03-04 23:59:59.999 ",
    "2021-03-04T05:06:07Z",
    "2021-03-04T05:06:07.5+01:00",
    "2021-03-04T05:06-0530",
    "2021-03-04Z",
    "2021-03-04+01:00",
    "1969-12-31T23:59:59",
    "1970-01-01",
    "1900-02-28",
    "2000-02-29",
    "2024-02-29 12:00",
    "1600-02-29",
    "0001-01-01",
    "9999-12-31",
    "",
    "nan",
]


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("missing", [(), ("1970-01-01", "never")])
def test_dates(clock, marked, missing):
    column = Date(name="d", offset=18_000.25, clock=clock, marked=marked)
    dates = [*DATES, *(["never"] if missing else [])]
    found, expected = encoded(TablePreprocessing((column,), missing), {"d": dates})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])


def test_dates_without_any_time_of_day_are_read_too():
    """The splits of all rows have fewer pieces then."""
    found, expected = encoded(TablePreprocessing((Date(name="d", clock=True),)), {"d": ["2021-03-04", "1950-01-01"]})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_each_day_of_400_years_is_counted_right():
    first = datetime.date(1799, 1, 1)
    days = [first + datetime.timedelta(days=number) for number in range(0, 146_500, 11)]
    found, _ = encoded(TablePreprocessing((Date(name="d"),)), {"d": [day.isoformat() for day in days]})
    counted = np.array([(day - datetime.date(1970, 1, 1)).days for day in days]) / 365.25
    np.testing.assert_array_equal(found[:, 0], counted.astype(np.float32))
    month = np.array([2 * math.pi * (day.month - 1) / 12 for day in days])
    weekday = np.array([2 * math.pi * day.weekday() / 7 for day in days])
    angles = np.stack([np.sin(month), np.cos(month), np.sin(weekday), np.cos(weekday)], axis=1)
    np.testing.assert_allclose(found[:, 1:], angles, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "word", ["2021-02-29", "1900-02-29", "2021-04-31", "2021-13-01", "2021-00-10", "21-01-01", "2021-01-01T24:00", "x"]
)
def test_what_is_no_date_counts_as_missing(word):
    """`predict` refuses such rows, which a graph cannot."""
    column = TablePreprocessing((Date(name="d", offset=1.0, marked=True),))
    found = run(onnx_graph.encoder(column), {"d": np.array([[word]], dtype=object)})["x"]
    assert found.tolist() == [[0, 0, 0, 0, 0, 1]]


def mixed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "label": rng.normal(size=300),
            "/x y": 1e9 + rng.integers(0, 50, 300),
            "city": rng.choice(["Rome", "Oslo", "Cairo"], 300),
            "code": [f"c{number}" for number in rng.integers(0, 130, 300)],
            "since": pd.Timestamp("1960-01-01") + pd.to_timedelta(rng.integers(0, 9000, 300), "h"),
            "same": 1,
        }
    )
    for place, name in enumerate(["label", "city", "since"]):
        frame.loc[place :: 7 + place, name] = None
    return fit_table(frame)


def test_a_mixed_table():
    known = mixed()
    assert {type(column) for column in known.columns} == {Number, Category, Date, Dropped}
    rows = onnx_graph.sample_rows(known, wild=True)
    assert "same" not in rows
    feed = {name: column.reshape(-1, 1) for name, column in rows.items()}
    expected = known.encode(rows)
    assert set(expected.unknown) == {"city", "code"}
    assert {"label", "city", "since"} <= set(expected.missing)
    np.testing.assert_allclose(
        run(onnx_graph.encoder(known), feed)["x"], expected.tensors["x"].numpy(), rtol=0, atol=1e-7
    )


def linear(weight, bias):
    """x [B, F] times weight [F, C] plus bias, as a model."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["out"])]
    declared = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in zip(("x", "out"), weight.shape, strict=True)
    ]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "net", declared[:1], declared[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_answers_are_probabilities_with_the_names_of_classes():
    known, rng = mixed(), np.random.default_rng(1)
    weight, bias = (rng.normal(size=size).astype(np.float32) for size in ((known.shape[0], 3), (3,)))
    model = onnx_graph.answering(linear(weight, bias), known, classes=["b", "ä a", "1"], logits=True)
    rows = onnx_graph.sample_rows(known, wild=False)
    found = run(model, {name: column.reshape(-1, 1) for name, column in rows.items()})
    logits = known.encode(rows).tensors["x"].double().numpy() @ weight.astype(float) + bias
    expected = torch.from_numpy(logits).softmax(1).numpy()
    # A column is called `label`.
    assert set(found) == {"probabilities", "label_", "logits"}
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-4)
    assert found["label_"].tolist() == [("b", "ä a", "1")[place] for place in expected.argmax(1)]
    assert len(set(found["label_"].tolist())) > 1


def test_answers_of_a_regression_are_in_the_users_unit():
    known = TablePreprocessing((Number(name="x"),))
    net = linear(np.array([[2.0]], dtype=np.float32), np.array([0.5], dtype=np.float32))
    feed = {"x": np.array([[1.0], [-3.0]])}
    found = run(onnx_graph.answering(net, known, scale=(200_000.0, 80_000.0)), feed)
    assert found["prediction"].tolist() == [[400_000], [-240_000]]
    assert run(onnx_graph.answering(net, known), feed)["prediction"].tolist() == [[2.5], [-5.5]]


def test_inputs_that_nothing_is_known_of_are_left_as_they_are():
    net = linear(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32))
    found = run(onnx_graph.answering(net, None, classes=["a", "b"]), {"x": np.array([[0, 5]], dtype=np.float32)})
    np.testing.assert_allclose(found["probabilities"], [[1 / (1 + math.exp(5)), 1 / (1 + math.exp(-5))]], rtol=1e-5)
    assert found["label"].tolist() == ["b"]


def images(known, pixels):
    """What the graph makes of images uint8 [B, H, W, C]."""
    graph = onnx_graph.Graph()
    graph.output(onnx_graph.encode_images(graph, known), "x", np.float32, ("batch", *known.shape))
    return run(graph.model(), {"images": pixels})["x"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("given", [1, 3])
@pytest.mark.parametrize("size", [(8, 6), (21, 33)])
def test_images_are_resized_and_coloured_as_pillow_does(channels, given, size):
    known = ImagePreprocessing(channels=channels, height=8, width=6)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, given), dtype=np.uint8)
    mode = "L" if channels == 1 else "RGB"
    opened = [Image.fromarray(one[:, :, 0] if given == 1 else one).convert(mode).resize((6, 8)) for one in pixels]
    expected = np.stack([np.asarray(one).reshape(8, 6, channels).transpose(2, 0, 1) for one in opened]) / 255
    np.testing.assert_allclose(images(known, pixels), expected, atol=1e-6)
