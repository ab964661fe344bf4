"""Set-ups on tables: teachers from files, caches, and what is wrong with rows, columns and targets."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from didact.cli import main as didact
from exam.room import Room, fault, healthy

NAMES = ("ant", "bee", "cat")
STUDENT = ("--student", "mlp:16", "--target", "label", "--no-progress")
NUMBERS = "abcd"

Columns = dict[str, np.ndarray]


def rows(size: int = 400, seed: int = 0, *, noise: float = 1.6) -> Columns:
    """Three classes around centres that overlap, so that nobody is always right."""
    draw = np.random.default_rng(seed)
    label = draw.integers(3, size=size)
    x = 2.0 * np.eye(4)[label] + noise * draw.normal(size=(size, 4))
    return {**{name: x[:, place].round(4) for place, name in enumerate(NUMBERS)}, "label": np.array(NAMES)[label]}


def amounts(size: int = 400, seed: int = 0) -> Columns:
    """A regression in a unit of its own, with noise."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(size, 4))
    target = 5000 + 300 * x @ np.array([1.0, -2.0, 0.5, 1.0]) + 150 * draw.normal(size=size)
    return {**{name: x[:, place].round(4) for place, name in enumerate(NUMBERS)}, "label": target.round(2)}


def inputs(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers [N, 4]."""
    return np.stack([columns[name] for name in NUMBERS], axis=1)


def forest(room: Room, name: str, columns: Columns, *, leaf: int = 8, scale: tuple[float, float] = (0.0, 1.0)) -> str:
    """A forest that was fitted on some rows, as a file; of a regression, on (target - mean) / std."""
    import pandas
    import skops.io
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    frame, label = pandas.DataFrame(columns)[list(NUMBERS)], columns["label"]
    if label.dtype.kind == "f":
        model = RandomForestRegressor(20, min_samples_leaf=leaf, random_state=0)
        label = (label - scale[0]) / scale[1]
    else:
        model = RandomForestClassifier(20, min_samples_leaf=leaf, random_state=0)
    skops.io.dump(model.fit(frame, label), room.file(name))
    return room.file(name)


@cache
def linear(outputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Weights [4, outputs] and biases of a logistic regression on other rows; further outputs repeat the first."""
    from sklearn.linear_model import LogisticRegression

    columns = rows(600, seed=1)
    model = LogisticRegression().fit(inputs(columns), columns["label"])
    order = [number % 3 for number in range(outputs)]
    return model.coef_.T[:, order].astype(np.float32), model.intercept_[order].astype(np.float32)


def onnx_net(path: str, weight: np.ndarray, bias: np.ndarray, shape: Sequence[int | str]) -> str:
    """Write a linear net of flattened inputs as ONNX, without names of classes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, path)
    return path


def run(*words: str) -> None:
    """Run a command of didact, without its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert didact(list(words)) == 0, words


# ---- healthy


@healthy("table", "a forest that was fitted on other rows teaches a net")
def _(room: Room) -> list[str]:
    others = rows(600, seed=1)
    teacher, theirs = forest(room, "forest.skops", others), room.table("others.csv", others)
    data = room.table("table.csv", rows())
    return ["distill", "--data", data, "--teacher", teacher, "--teacher-data", theirs, *STUDENT]


@healthy("table", "a regression with a forest of its unit")
def _(room: Room) -> list[str]:
    others = amounts(600, seed=1)
    teacher, theirs = forest(room, "forest.skops", others, leaf=3), room.table("others.csv", others)
    data = room.table("table.csv", amounts())
    return ["distill", "--data", data, "--teacher", teacher, "--teacher-data", theirs, *STUDENT]


@healthy("cache", "the stored answers of the run's own teacher")
def _(room: Room) -> list[str]:
    others = rows(600, seed=1)
    common = ["--data", room.table("table.csv", rows()), *STUDENT]
    teacher, theirs = forest(room, "forest.skops", others), room.table("others.csv", others)
    run("cache", "build", "store", "--teacher", teacher, *common)
    return ["distill", "--teacher", "cache:store", "--teacher-data", theirs, *common]


# ---- teachers


@fault("table", "labels in another order than the teacher's", r"it would be right on .* give its classes in that order")
def _(room: Room) -> list[str]:
    weight, bias = linear()
    teacher = onnx_net(room.file("net.onnx"), weight[:, [1, 2, 0]], bias[[1, 2, 0]], [4])
    return ["distill", "--data", room.table("table.csv", rows()), "--teacher", teacher, *STUDENT]


@fault("table", "a teacher with one output too many", r"4 classes, but the data have 3")
def _(room: Room) -> list[str]:
    teacher = onnx_net(room.file("net.onnx"), *linear(4), [4])
    return ["distill", "--data", room.table("table.csv", rows()), "--teacher", teacher, *STUDENT]


@fault("table", "a teacher that was fitted on the test rows", r"was fitted on \d+ of \d+ test examples")
def _(room: Room) -> list[str]:
    columns = rows()
    data, teacher = room.table("table.csv", columns), forest(room, "forest.skops", columns)
    return ["distill", "--data", data, "--teacher", teacher, "--teacher-data", data, *STUDENT]


@fault("table", "the same, and nobody says what it was fitted on", r"test examples may be among its training rows")
def _(room: Room) -> list[str]:
    columns = rows()
    data, teacher = room.table("table.csv", columns), forest(room, "forest.skops", columns, leaf=1)
    return ["distill", "--data", data, "--teacher", teacher, *STUDENT]


@fault("table", "a teacher that says what the labels say", r"say what the labels say")
def _(room: Room) -> list[str]:
    import pandas
    import skops.io
    from sklearn.tree import DecisionTreeClassifier

    columns = rows(400, noise=0.3)
    columns["split"] = np.array(["train", "test", "train", "validation"])[np.arange(400) % 4]
    chosen = {name: column[columns["split"] == "train"] for name, column in columns.items()}
    frame = pandas.DataFrame(chosen)
    skops.io.dump(DecisionTreeClassifier().fit(frame[list(NUMBERS)], frame["label"]), room.file("tree.skops"))
    data, theirs = room.table("table.csv", columns), room.table("theirs.csv", chosen)
    words = ["--teacher", room.file("tree.skops"), "--teacher-data", theirs, "--split-column", "split"]
    return ["distill", "--data", data, *words, *STUDENT]


@fault("table", "a teacher of other labels", r"always predicting the most frequent class would do as well")
def _(room: Room) -> list[str]:
    others = rows(600, seed=1)
    others["label"] = np.random.default_rng(2).permutation(others["label"])
    teacher = forest(room, "forest.skops", others)
    return ["distill", "--data", room.table("table.csv", rows()), "--teacher", teacher, *STUDENT]


@fault("table", "a teacher with unscaled targets: it answers in another unit", r"another unit")
def _(room: Room) -> list[str]:
    others = amounts(600, seed=1)
    scale = float(others["label"].mean()), float(others["label"].std())
    teacher = forest(room, "forest.skops", others, leaf=3, scale=scale)
    return ["distill", "--data", room.table("table.csv", amounts()), "--teacher", teacher, *STUDENT]


@fault("cache", "the stored answers of another teacher", r"the cache was built from .* weights")
def _(room: Room) -> list[str]:
    common = ["--data", room.table("table.csv", rows()), *STUDENT]
    run("cache", "build", "store", "--teacher", forest(room, "forest.skops", rows(600, seed=1)), *common)
    other = forest(room, "other.skops", rows(600, seed=2))
    return ["distill", "--teacher", f"cached:store:{other}", *common]


@fault("cache", "stored answers to other data", r"a cache whose data is")
def _(room: Room) -> list[str]:
    common = ["--teacher", forest(room, "forest.skops", rows(600, seed=1)), *STUDENT]
    run("cache", "build", "store", "--data", room.table("old.csv", rows(seed=3)), *common)
    return ["distill", "--teacher", "cache:store", "--data", room.table("table.csv", rows()), *STUDENT]


@fault("cache", "a shard of stored answers that was altered", r"checksum|altered|000000\.arrow")
def _(room: Room) -> list[str]:
    common = ["--data", room.table("table.csv", rows()), *STUDENT]
    run("cache", "build", "store", "--teacher", forest(room, "forest.skops", rows(600, seed=1)), *common)
    shard = next((room.path / "store").glob("*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    return ["distill", "--teacher", "cache:store", *common]


# ---- rows, columns and targets


@fault("table", "test rows that are training rows under another id", r"are in two splits")
def _(room: Room) -> list[str]:
    columns = rows(200)
    twice = {name: np.concatenate([column, column]) for name, column in columns.items()}
    twice["id"] = np.arange(400)
    return ["supervised", "--data", room.table("table.csv", twice), "--id-column", "id", *STUDENT]


@fault("table", "equal rows with different labels", r"have the same inputs as another with another label")
def _(room: Room) -> list[str]:
    columns = rows()
    again = {name: column[:40] for name, column in columns.items()}
    again["label"] = np.roll(np.array(NAMES), 1)[np.searchsorted(NAMES, again["label"])]
    both = {name: np.concatenate([columns[name], again[name]]) for name in columns}
    return ["supervised", "--data", room.table("table.csv", both), *STUDENT]


@fault("table", "labels that a good teacher contradicts", r"training labels contradict a teacher")
def _(room: Room) -> list[str]:
    columns, others = rows(noise=0.4), rows(600, seed=1, noise=0.4)
    columns["label"][::12] = np.roll(np.array(NAMES), 1)[np.searchsorted(NAMES, columns["label"][::12])]
    teacher = forest(room, "forest.skops", others)
    return ["distill", "--data", room.table("table.csv", columns), "--teacher", teacher, *STUDENT]


@fault("table", "a column that never changes", r"same value is in every training row of: 'site'")
def _(room: Room) -> list[str]:
    columns = {**rows(), "site": np.full(400, 7)}
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "a number of the row that tells the class, as rows are sorted", r"'number' alone")
def _(room: Room) -> list[str]:
    columns = rows()
    order = np.argsort(columns["label"], kind="stable")
    columns = {"number": np.arange(400), **{name: column[order] for name, column in columns.items()}}
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "a column that is the target in other words", r"'verdict' alone")
def _(room: Room) -> list[str]:
    columns = rows()
    columns["verdict"] = np.array(["red", "green", "blue"])[np.searchsorted(NAMES, columns["label"])]
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "a column that is the target in another currency", r"'euros' alone")
def _(room: Room) -> list[str]:
    columns = amounts()
    columns["euros"] = (columns["label"] * 0.93).round()
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "a column that is nearly empty", r"'rare' is missing in")
def _(room: Room) -> list[str]:
    rare = np.where(np.arange(400) % 50 == 0, np.arange(400) / 7, np.nan)
    return ["supervised", "--data", room.table("table.csv", {**rows(), "rare": rare}), *STUDENT]


@fault("table", "a class that is missing in training", r"No training example is of: 'cat'")
def _(room: Room) -> list[str]:
    columns = rows()
    held_out = (columns["label"] == "cat") | (np.arange(400) % 5 == 0)
    columns["split"] = np.where(held_out, np.where(np.arange(400) % 2 == 0, "test", "validation"), "train")
    return ["supervised", "--data", room.table("table.csv", columns), "--split-column", "split", *STUDENT]


@fault("table", "a missing value in the target, spelled as a number", r"of the spread of the target")
def _(room: Room) -> list[str]:
    columns = amounts()
    columns["label"][::80] = -999999
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "a target that never changes", r"in every row, so that there is nothing")
def _(room: Room) -> list[str]:
    columns = {**rows(), "label": np.full(400, "ant")}
    return ["supervised", "--data", room.table("table.csv", columns), *STUDENT]


@fault("table", "an absurd learning rate", r"lr, is 100")
def _(room: Room) -> list[str]:
    return ["supervised", "--data", room.table("table.csv", rows()), "--lr", "100", *STUDENT]
