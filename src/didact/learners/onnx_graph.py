"""ONNX graphs from rows as they came to answers: what the preprocessing does, then a net, then what its outputs mean.

Each kind of column has a function that writes what its `encode` does as nodes of opset 20. What can't be nodes, such as
a tokenizer, is for `onnx_beside`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from didact.preprocessing import (
    Category,
    Date,
    Dropped,
    ImagePreprocessing,
    Number,
    SeriesPreprocessing,
    TablePreprocessing,
    cells,
)
from didact.preprocessing.cells import FLOAT32
from didact.preprocessing.columns import YEAR
from didact.preprocessing.series import RESIDUE
from didact.types import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET, ML_OPSET, IR = 20, 3, 9
"""The versions of the operators, of those of `ai.onnx.ml`, and of the format; all from 2023."""
IMAGES = "images"
"""The input of a graph that reads images."""
SERIES = "series"
"""The input of a graph that reads series."""
_BATCH = "batch"
_CALENDAR = (
    # Any year: months of 31 and of 30 days, and February; then the 29th of February of leap years.
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|"
    r"02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_DATE = rf"\s*{_CALENDAR}(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\s*"
_NO_DATE = "1970-01-01"
"""The date that stands in for a missing one."""
_EPOCH = 719_468 + 146_097
"""The days from the 1st of March of the year -400 to 1970-01-01; counted from there, no date is negative."""


class Graph:
    """Nodes and constants under construction.

    Args:
        taken: names of inputs and outputs, which no other value gets.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self.prefix = "/"
        while any(name.startswith(self.prefix) for name in taken):
            self.prefix += "/"
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    def constant(self, value: object, kind: type) -> str:
        """The name of a constant of any shape; `kind` is a numpy type, or `np.object_` for words."""
        from onnx import numpy_helper

        name = f"{self.prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
        return name

    def add(self, operator: str, *inputs: str, to: type | None = None, **attributes: object) -> str:
        """The name of a node's only, or first, output; `to` is the type that a `Cast` gives."""
        from onnx import helper

        if to is not None:
            attributes["to"] = helper.np_dtype_to_tensor_dtype(np.dtype(to))
        name = f"{self.prefix}{operator}{len(self.nodes)}"
        outputs = [name, f"{name}/count"] if operator == "StringSplit" else [name]
        domain = "ai.onnx.ml" if operator == "LabelEncoder" else ""
        node = helper.make_node(operator, inputs, outputs, name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def input(self, name: str, kind: type, shape: Sequence[int | str]) -> str:
        """Declare an input."""
        self.inputs.append(_declare(name, kind, shape))
        return name

    def output(self, value: str, name: str, kind: type, shape: Sequence[int | str]) -> None:
        """Declare a value as an output, under a name."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(_declare(name, kind, shape))

    def model(self) -> "ModelProto":
        """All of it as a model."""
        from onnx import helper

        graph = helper.make_graph(self.nodes, "didact", self.inputs, self.outputs, self.constants)
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=versions, ir_version=IR, producer_name="didact")


def _declare(name: str, kind: type, shape: Sequence[int | str]) -> "ValueInfoProto":
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)


def encode_table(graph: Graph, known: TablePreprocessing) -> str:
    """Write the preprocessing of a table.

    Args:
        graph: gets an input [B, 1] for each column that is used, under its name: float64 with NaN for what is missing,
            or words, empty where they are missing.
        known: the preprocessing.

    Returns:
        The name of `x`, float32 [B, F].
    """
    blocks: list[str] = []
    for column in known.columns:
        if isinstance(column, Number):
            blocks += _number(graph, column, known.missing)
        elif isinstance(column, Category):
            blocks += _category(graph, column, known.missing)
        elif isinstance(column, Date):
            blocks += _date(graph, column, known.missing)
    return graph.add("Concat", *blocks, axis=1)


def _number(graph: Graph, column: Number, missing: Sequence[str]) -> list[str]:
    cell = graph.input(column.name, np.float64, (_BATCH, 1))
    value = graph.add("Cast", graph.add("Sub", cell, graph.constant(column.offset, np.float64)), to=np.float32)
    # NaN is not less than anything.
    there = graph.add("LessOrEqual", graph.add("Abs", value), graph.constant(FLOAT32, np.float32))
    gap = graph.add("Not", there)
    for mark in sorted({mark for word in missing if (mark := cells.number_of(word)) is not None}):
        gap = graph.add("Or", gap, graph.add("Equal", cell, graph.constant(mark, np.float64)))
    filled = graph.add("Where", gap, graph.constant(column.fill - column.offset, np.float32), value)
    return [filled, graph.add("Cast", gap, to=np.float32)] if column.marked else [filled]


def _category(graph: Graph, column: Category, missing: Sequence[str]) -> list[str]:
    cell = graph.input(column.name, np.object_, (_BATCH, 1))
    places = dict(zip(column.values, column.places, strict=True)) | dict.fromkeys(("", *missing), column.missing)
    # A place beyond the last is 0 in all columns; -1 would be the last one.
    unknown = column.width if column.unknown < 0 else column.unknown
    place = _look_up(graph, cell, places, unknown)
    flat = graph.add("Reshape", place, graph.constant([-1], np.int64))
    width, values = graph.constant([column.width], np.int64), graph.constant([0, 1], np.float32)
    return [graph.add("OneHot", flat, width, values, axis=-1)]


def _look_up(graph: Graph, cell: str, places: Mapping[str, int], other: int) -> str:
    return graph.add(
        "LabelEncoder", cell, keys_strings=list(places), values_int64s=list(places.values()), default_int64=other
    )


def _date(graph: Graph, column: Date, missing: Sequence[str]) -> list[str]:
    cell = graph.input(column.name, np.object_, (_BATCH, 1))
    gap = graph.add("Not", graph.add("RegexFullMatch", cell, pattern=_DATE))
    if missing:
        named = _look_up(graph, cell, dict.fromkeys(missing, 1), 0)
        gap = graph.add("Or", gap, graph.add("Cast", named, to=np.bool_))
    day, month, second = _calendar(graph, graph.add("Where", gap, graph.constant(_NO_DATE, np.object_), cell))
    blocks = [_years(graph, day, second, column.offset)]
    # Sines and cosines of months and weekdays are looked up in tables, so that they are the same to the bit.
    weekday = graph.add("Mod", graph.add("Add", day, graph.constant(3, np.int64)), graph.constant(7, np.int64))
    for place, size in ((month, 12), (weekday, 7)):
        angles = 2 * np.pi * (np.arange(size) / size)
        blocks += [graph.add("Gather", graph.constant(axis(angles), np.float64), place) for axis in (np.sin, np.cos)]
    if column.clock:
        share = graph.add("Div", graph.add("Cast", second, to=np.float64), graph.constant(cells.DAY, np.float64))
        angle = graph.add("Mul", share, graph.constant(2 * np.pi, np.float64))
        blocks += [graph.add("Sin", angle), graph.add("Cos", angle)]
    parts = graph.add("Where", gap, graph.constant(0, np.float64), graph.add("Concat", *blocks, axis=1))
    found = graph.add("Cast", parts, to=np.float32)
    return [found, graph.add("Cast", gap, to=np.float32)] if column.marked else [found]


def _years(graph: Graph, day: str, second: str, offset: float) -> str:
    """Years since `offset`, float64 [B, 1]."""
    whole = graph.add("Add", graph.add("Mul", day, graph.constant(cells.DAY, np.int64)), second)
    days = graph.add("Div", graph.add("Cast", whole, to=np.float64), graph.constant(cells.DAY, np.float64))
    return graph.add(
        "Div", graph.add("Sub", days, graph.constant(offset, np.float64)), graph.constant(YEAR, np.float64)
    )


def _calendar(graph: Graph, cell: str) -> tuple[str, str, str]:
    """The day from 1970-01-01, the month from 0 and the second of the day of dates in words, int64 [B, 1] each."""
    # The midnight that is added is read where no time of day comes before it.
    halves = _pieces(graph, _joined(graph, cell, " 0:0"), "", 2)
    joined = graph.add("StringConcat", _joined(graph, halves[0], "T"), halves[1])
    date, clock = _pieces(graph, joined, "T", 2)
    for mark in ("Z", "+", "-", "."):
        (clock,) = _pieces(graph, clock, mark, 1)
    for mark in ("Z", "+"):
        (date,) = _pieces(graph, date, mark, 1)
    year, month, day = (graph.add("Cast", part, to=np.int64) for part in _pieces(graph, date, "-", 3))
    hour, minute, rest = (
        graph.add("Cast", part, to=np.int64) for part in _pieces(graph, _joined(graph, clock, ":0"), ":", 3)
    )
    sixty = graph.constant(60, np.int64)
    minutes = graph.add("Add", graph.add("Mul", hour, sixty), minute)
    seconds = graph.add("Add", graph.add("Mul", minutes, sixty), rest)
    return (
        _days(graph, year, month, day),
        graph.add("Sub", month, graph.constant(1, np.int64)),
        seconds,
    )


def _joined(graph: Graph, text: str, end: str) -> str:
    return graph.add("StringConcat", text, graph.constant(end, np.object_))


def _pieces(graph: Graph, text: str, separator: str, count: int) -> list[str]:
    """The first pieces of texts [B, 1] that have as many, [B, 1] each; an empty separator is white space."""
    split = graph.add("StringSplit", text, delimiter=separator)
    return [graph.add("Gather", split, graph.constant(place, np.int64), axis=2) for place in range(count)]


def _days(graph: Graph, year: str, month: str, day: str) -> str:
    """Days from 1970-01-01 of dates of the Gregorian calendar, after Hinnant's `days_from_civil`, all int64 [B, 1]."""

    def whole(operator: str, left: str, right: int) -> str:
        return graph.add(operator, left, graph.constant(right, np.int64))

    # A year begins in March, so that a leap day is its last.
    early = graph.add("Cast", whole("LessOrEqual", month, 2), to=np.int64)
    years = whole("Add", graph.add("Sub", year, early), 400)
    months = whole("Mod", whole("Add", month, 9), 12)
    leaps = graph.add("Sub", whole("Div", years, 4), whole("Div", years, 100))
    leaps = graph.add("Add", leaps, whole("Div", years, 400))
    before = whole("Div", whole("Add", whole("Mul", months, 153), 2), 5)
    total = graph.add("Add", graph.add("Add", whole("Mul", years, 365), leaps), graph.add("Add", before, day))
    return whole("Sub", total, _EPOCH + 1)


def encode_images(graph: Graph, known: ImagePreprocessing) -> str:
    """Write the preprocessing of images.

    Args:
        graph: gets the input `images`, uint8 [B, H, W, 1 or 3] of any height and width.
        known: the preprocessing.

    Returns:
        The name of `x`, float32 [B, channels, height, width] in [0, 1]. Other sizes are resized as Pillow does that,
        bicubic with antialiasing, first to the width and then to the height.
    """
    given = graph.input(IMAGES, np.uint8, (_BATCH, "height", "width", "channels"))
    pixels = graph.add("Transpose", given, perm=[0, 3, 1, 2])
    pixels = graph.add("Expand", pixels, graph.constant([1, 3, 1, 1], np.int64))
    if known.channels == 1:
        # Pillow's luma, in whole numbers; three equal colours give themselves.
        luma = graph.constant(np.array([19595, 38470, 7471]).reshape(1, 3, 1, 1), np.int32)
        weighed = graph.add("Mul", graph.add("Cast", pixels, to=np.int32), luma)
        total = graph.add("ReduceSum", weighed, graph.constant([1], np.int64), keepdims=1)
        rounded = graph.add("Add", total, graph.constant(32768, np.int32))
        pixels = graph.add("Cast", graph.add("Div", rounded, graph.constant(65536, np.int32)), to=np.uint8)
    size = graph.constant([known.height, known.width], np.int64)
    resized = graph.add(
        "Resize", pixels, "", "", size, mode="cubic", cubic_coeff_a=-0.5, antialias=1, exclude_outside=1, axes=[2, 3]
    )
    return graph.add("Div", graph.add("Cast", resized, to=np.float32), graph.constant(255, np.float32))


def encode_series(graph: Graph, known: SeriesPreprocessing) -> str:
    """Write the preprocessing of series.

    Args:
        graph: gets the input `series`, float64 [B, channels, length], with NaN for what is missing, as behind the end
            of shorter ones.
        known: the preprocessing.

    Returns:
        The name of `x`, float32 [B, channels, length].
    """
    given = graph.input(SERIES, np.float64, (_BATCH, *known.shape))
    # NaN and infinities are not less than anything.
    there = graph.add("Less", graph.add("Abs", given), graph.constant(np.inf, np.float64))
    values = graph.add("Where", there, given, graph.constant(0, np.float64))
    filled = _filled(graph, values, there, known.length)
    if known.standardise == "series":
        mean, std = _unit(graph, values, there)
    else:
        mean, std = (graph.constant(np.array(part)[:, None], np.float64) for part in (known.means, known.stds))
    scaled = graph.add("Div", graph.add("Sub", filled, mean), std)
    # A channel without any value is its mean.
    count = graph.add("ReduceMax", graph.add("Cast", there, to=np.float64), graph.constant([2], np.int64))
    some = graph.add("Cast", count, to=np.bool_)
    return graph.add("Cast", graph.add("Where", some, scaled, graph.constant(0, np.float64)), to=np.float32)


def _filled(graph: Graph, values: str, there: str, length: int) -> str:
    """Values float64 [B, C, T] with lines through what is not there."""

    def reached(at: str, *, back: bool) -> str:
        """The running maximum of places [B, C, T], from the first step on, or from the last back."""
        for width in (2**power for power in range(max(length - 1, 0).bit_length())):
            ends = [0, 0, -width, 0, 0, width] if back else [0, 0, width, 0, 0, -width]
            moved = graph.add("Pad", at, graph.constant(ends, np.int64), graph.constant(-length, np.float64))
            at = graph.add("Max", at, moved)
        return at

    step, last = graph.constant(np.arange(length), np.float64), graph.constant(length - 1, np.float64)
    none, zero, one = (graph.constant(number, np.float64) for number in (-length, 0, 1))
    before = reached(graph.add("Where", there, step, none), back=False)
    after = graph.add("Neg", reached(graph.add("Where", there, graph.add("Neg", step), none), back=True))
    left = graph.add("Where", graph.add("Less", before, zero), after, before)
    right = graph.add("Where", graph.add("Greater", after, last), before, after)
    left, right = (graph.add("Min", graph.add("Max", place, zero), last) for place in (left, right))
    start, end = (
        graph.add("GatherElements", values, graph.add("Cast", place, to=np.int64), axis=2) for place in (left, right)
    )
    share = graph.add("Div", graph.add("Sub", step, left), graph.add("Max", graph.add("Sub", right, left), one))
    return graph.add("Add", start, graph.add("Mul", graph.add("Sub", end, start), share))


def _unit(graph: Graph, values: str, there: str) -> tuple[str, str]:
    """Mean and standard deviation of each channel of each series, float64 [B, C, 1]; see `SeriesPreprocessing.unit`."""
    axis, zero, one = graph.constant([2], np.int64), graph.constant(0, np.float64), graph.constant(1, np.float64)
    count = graph.add("Max", graph.add("ReduceSum", graph.add("Cast", there, to=np.float64), axis), one)
    mean = graph.add("Div", graph.add("ReduceSum", values, axis), count)
    apart = graph.add("Where", there, graph.add("Sub", values, mean), zero)
    square = graph.add("ReduceSum", graph.add("Mul", apart, apart), axis)
    std = graph.add("Sqrt", graph.add("Div", square, count))
    largest = graph.add("ReduceMax", graph.add("Abs", values), axis)
    differs = graph.add("Greater", std, graph.add("Mul", largest, graph.constant(RESIDUE, np.float64)))
    return mean, graph.add("Where", differs, std, one)


def encoder(known: TablePreprocessing | SeriesPreprocessing) -> "ModelProto":
    """A model from the columns of a table, or from series, to `x`; see `encode_table` and `encode_series`."""
    graph = Graph([*_names(known), "x"])
    encoded = encode_series(graph, known) if isinstance(known, SeriesPreprocessing) else encode_table(graph, known)
    graph.output(encoded, "x", np.float32, (_BATCH, *known.shape))
    return graph.model()


def sample_series(known: SeriesPreprocessing) -> np.ndarray:
    """Series of every sort: whole, with gaps, short, constant, without any value; float64 [64, channels, length]."""
    generator = np.random.default_rng(0)
    mean, std = np.array(known.means)[:, None], np.array(known.stds)[:, None]
    series = mean + std * generator.standard_normal((64, *known.shape)).cumsum(2)
    series[8:32][generator.random((24, *known.shape)) < 0.3] = np.nan
    for row in range(32, 48):
        series[row, :, generator.integers(1, known.length + 1) :] = np.nan
    series[48:52] = mean + 0.1
    series[52:56, 0] = np.nan
    return series


def _names(known: Preprocessing | None) -> list[str]:
    return [column.name for column in known.columns] if isinstance(known, TablePreprocessing) else []


def answering(
    net: "ModelProto",
    known: Preprocessing | None,
    *,
    classes: Sequence[str] = (),
    scale: tuple[float, float] | None = None,
    logits: bool = False,
    embedding: bool = False,
    side: Sequence[int] = (),
) -> "ModelProto":
    """A model from rows as they came to answers.

    Args:
        net: from `x`, or from token ids, to logits [B, C], [B, C, H, W] for masks, or [B, 1] for a regression: its only
            output.
        known: what makes `x` of rows; None, and that of text, leave the net's inputs as they are.
        classes: their names, C of them; none for a regression.
        scale: the mean and standard deviation of a regression's targets; None where it answers in the user's unit.
        logits: whether the logits are an output too.
        embedding: whether the net's output is an embedding, which is the only output then, float32 [B, D].
        side: the height and width of masks; empty for other answers.

    Returns:
        The model, of opset 20, with the outputs `probabilities` float32 [B, C] and `label` (the name of the likeliest
        class) [B], or of masks `probabilities` float32 [B, C, H, W] and `mask` (the number of the likeliest class)
        int64 [B, H, W], or `prediction` float64 [B, 1] in the user's unit. Where a column has an output's name, the
        output's ends in an underscore.
    """
    from onnx import compose, helper

    names = _names(known)
    graph = Graph([*names, IMAGES, SERIES, "probabilities", "label", "mask", "logits", "prediction", "embedding"])
    inner = compose.add_prefix(net, f"{graph.prefix}net{graph.prefix}")
    _connect(graph, net, inner, known)
    graph.nodes += inner.graph.node
    graph.constants += inner.graph.initializer
    output = inner.graph.output[0].name
    if embedding:
        graph.output(output, "embedding", np.float32, (_BATCH, len(classes)))
    else:
        _answer(graph, output, names, classes, scale, side, logits=logits)
    model = graph.model()
    model.ir_version = max(model.ir_version, net.ir_version)
    model.graph.value_info.extend(inner.graph.value_info)
    model.functions.extend(inner.functions)
    have = {one.domain for one in model.opset_import}
    model.opset_import.extend(
        helper.make_opsetid(one.domain, one.version) for one in inner.opset_import if one.domain not in have
    )
    return model


def _connect(graph: Graph, net: "ModelProto", inner: "ModelProto", known: Preprocessing | None) -> None:
    """Feed the inputs of the net, which has been given other names inside."""
    from onnx import helper

    if isinstance(known, TablePreprocessing):
        values = [encode_table(graph, known)]
    elif isinstance(known, ImagePreprocessing):
        values = [encode_images(graph, known)]
    elif isinstance(known, SeriesPreprocessing):
        values = [encode_series(graph, known)]
    else:
        values = [one.name for one in net.graph.input]
        graph.inputs += net.graph.input
    for value, one in zip(values, inner.graph.input, strict=True):
        graph.nodes.append(helper.make_node("Identity", [value], [one.name], name=one.name))


def _answer(
    graph: Graph,
    output: str,
    names: Sequence[str],
    classes: Sequence[str],
    scale: tuple[float, float] | None,
    side: Sequence[int],
    *,
    logits: bool,
) -> None:
    """Write what the outputs of a net mean."""

    def free(name: str) -> str:
        return free(f"{name}_") if name in names else name

    if not classes:
        mean, std = scale or (0.0, 1.0)
        value = graph.add("Mul", graph.add("Cast", output, to=np.float64), graph.constant(std, np.float64))
        value = graph.add("Add", value, graph.constant(mean, np.float64))
        graph.output(value, free("prediction"), np.float64, (_BATCH, 1))
        return
    shape = (_BATCH, len(classes), *side)
    graph.output(graph.add("Softmax", output, axis=1), free("probabilities"), np.float32, shape)
    likeliest = graph.add("ArgMax", output, axis=1, keepdims=0)
    if side:
        graph.output(likeliest, free("mask"), np.int64, (_BATCH, *side))
    else:
        label = graph.add("Gather", graph.constant(list(classes), np.object_), likeliest)
        graph.output(label, free("label"), np.object_, (_BATCH,))
    if logits:
        graph.output(output, free("logits"), np.float32, shape)


def sample_rows(known: TablePreprocessing, *, wild: bool) -> dict[str, np.ndarray]:
    """Rows with every sort of cell: usual, unknown, missing.

    Args:
        known: the preprocessing of a table.
        wild: whether numbers and dates are far from those of training too.

    Returns:
        The columns by name, as `TablePreprocessing.encode` and, as [N, 1], a graph take them: float64 or words.
    """
    generator, size, found = np.random.default_rng(0), 64, dict[str, np.ndarray]()
    for column in known.columns:
        if isinstance(column, Dropped):
            continue
        choices = _cells(column, known.missing, wild=wild)
        order = generator.permutation(max(size, len(choices))) % len(choices)
        found[column.name] = np.array(choices, dtype=np.float64 if isinstance(column, Number) else object)[order[:size]]
    return found


def _cells(column: Number | Category | Date, missing: Sequence[str], *, wild: bool) -> Sequence[float | str]:
    if isinstance(column, Number):
        marks = [mark for word in missing if (mark := cells.number_of(word)) is not None]
        far = [0.0, -1.0, 1e9, 1e300, np.inf, column.fill + 1, column.offset + 0.125]
        return [column.fill, np.nan, *marks, *(far if wild else [])]
    if isinstance(column, Category):
        return [*column.values[:8], column.values[-1], "such a category was never seen", "", *missing]
    days = np.datetime64(int(column.offset), "D") + np.array([0, 1, 100, 365])
    usual = [str(day) for day in days]
    clock = [f"{usual[0]}T05:06:07", f"{usual[1]} 23:59"] if column.clock else []
    far = ["1969-12-31", "2000-02-29", "1900-03-01", "2100-12-31T12:34:56.789Z", "0001-01-01"]
    return [*usual, *clock, "", *missing, *(far if wild else [])]
