"""The report's charts: seeds and differences of arms, learning curves, calibration, predicted and actual values."""

import dataclasses
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from didact.evaluation import wording
from didact.evaluation.comparison import Comparison
from didact.evaluation.drawing import Axis, Chart, Dot, Plot, linear_axis, log_axis
from didact.evaluation.intervals import Estimate
from didact.evaluation.pareto import pareto_set
from didact.evaluation.phrases import heading

History = Sequence[Mapping[str, Any]]

Line = Sequence[tuple[float, float]]

_POINTS = 300
"""The approximate number of points of a thinned curve."""

_ALL_POINTS = 20_000
"""The approximate number of points of all curves of seeds in a chart: each is about 12 bytes of the report."""

_HITS = 40
"""The largest number of points of a curve that say their value where the pointer rests."""

_NAME_WIDTH = 18
"""Names of arms longer than this are broken beside a chart."""

_PAIRS = 400
"""The largest number of dots per arm in the chart of predicted and actual values."""

ARM_COLOURS = 8
"""The number of colours for arms; further arms reuse them."""


def colour(index: int) -> str:
    """The colour of an arm by its number; the reference has number 0."""
    return f"var(--arm-{index % ARM_COLOURS if index < ARM_COLOURS else 1 + (index - 1) % (ARM_COLOURS - 1)})"


def arm_colours(comparison: Comparison) -> dict[str, str]:
    """A colour for each arm, the same in every chart; the reference's is grey."""
    others = [arm for arm in comparison.arms if arm != comparison.reference]
    return {comparison.reference: colour(0), **{arm: colour(i + 1) for i, arm in enumerate(others)}}


def _scale(metric: str) -> float:
    return 100.0 if wording.is_percent(metric) else 1.0


def seeds_chart(comparison: Comparison) -> Chart:
    """A dot for every seed of every arm, and the means with their intervals."""
    found = {arm: comparison.summary(arm) for arm in comparison.arms}
    return _forest(found, comparison, heading(comparison.metric))


def differences_chart(comparison: Comparison) -> Chart:
    """The paired difference of every seed to the reference, and the means with their intervals, with a line at zero.

    The reference keeps its row, which is empty, so that the rows are those of `seeds_chart`.
    """
    found = {arm: comparison.difference(arm) if arm != comparison.reference else None for arm in comparison.arms}
    unit = "points" if wording.is_percent(comparison.metric) else wording.unit_of(comparison.metric)
    return _forest(found, comparison, f"difference to {comparison.reference}" + (f" ({unit})" if unit else ""))


def _forest(found: Mapping[str, Estimate | None], comparison: Comparison, title: str) -> Chart:
    scale, colours = _scale(comparison.metric), arm_colours(comparison)
    of_differences = None in found.values()
    names = {arm: _broken(arm) for arm in found}
    rows = {arm: len(found) - 1.0 - i for i, arm in enumerate(found)}
    ends = [end * scale for one in found.values() if one for end in (*one.values, one.low, one.high) if end is not None]
    x = linear_axis([*ends, *([0.0] if of_differences else [])], title)
    labels = tuple((rows[arm], name) for arm, name in names.items())
    height = max(46, 16 * max(name.count("\n") + 1 for name in names.values()) + 8)
    plot = Plot(x, Axis(low=-0.6, high=len(found) - 0.4, ticks=labels, grid=False), height=52 + height * len(found))
    if of_differences:
        plot.line([(0, -0.6), (0, len(found) - 0.4)], colour(0), width=1.5)
    for arm, one in found.items():
        if one is not None:
            _draw_row(plot, rows[arm], one, colours[arm], comparison, sign=of_differences)
    return Chart(plot.svg(title))


def _broken(name: str) -> str:
    """A long name in several lines, broken after the characters that join its words."""
    lines = [""]
    for piece in re.findall(rf"[^_,=-]{{1,{_NAME_WIDTH - 1}}}[_,=-]?|[_,=-]", name):
        if len(lines[-1]) + len(piece) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _draw_row(plot: Plot, y: float, found: Estimate, shade: str, comparison: Comparison, *, sign: bool) -> None:
    metric, half, scale = comparison.metric, found.half or 0.0, _scale(comparison.metric)
    shown = [wording.figure(metric, value, like=found.half, sign=sign) for value in found.values]
    pairs = zip(comparison.seeds, found.values, shown, strict=True)
    seeds = [Dot(value * scale, y - 0.26, f"seed {seed}: {words}") for seed, value, words in pairs]
    plot.dots(seeds, shade, opacity=0.45)
    plot.line([((found.mean - half) * scale, y), ((found.mean + half) * scale, y)], shade, width=2.5)
    plot.dots([Dot(found.mean * scale, y, _mean_words(metric, found, sign=sign), radius=5.5)], shade)


def _mean_words(metric: str, found: Estimate, *, sign: bool) -> str:
    shown = wording.figure(metric, found.mean, like=found.half, sign=sign)
    if found.low is None or found.high is None:
        return f"mean {shown}"
    low, high = (wording.figure(metric, end, like=found.half, sign=sign) for end in (found.low, found.high))
    return f"mean {shown}, 95% interval {low} to {high}"


def arms_curve(
    metric: str, curves: Mapping[str, Sequence[History]], colours: Mapping[str, str], title: str, *, log: bool = False
) -> Chart | None:
    """A metric of `metrics.jsonl` over the steps: thin lines for seeds, a thick one for an arm's mean.

    Returns:
        None if no arm has it.
    """
    points = min(_POINTS, _ALL_POINTS // (sum(map(len, curves.values())) or 1))
    found = {arm: _lines(histories, metric, points) for arm, histories in curves.items()}
    means = {arm: _mean_line(lines) for arm, lines in found.items() if lines}
    seeds = {arm: lines for arm, lines in found.items() if len(lines) > 1}
    return _curves(means, seeds, {arm: colours.get(arm, "var(--ink)") for arm in means}, title, log=log)


def _lines(histories: Sequence[History], metric: str, points: int = _POINTS) -> list[Line]:
    """A metric over the steps of each of the histories that have it, in the unit of a chart."""
    found = [line for history in histories if (line := series(history, metric, points))]
    return [[(step, value * _scale(metric)) for step, value in line] for line in found]


def run_curve(metrics: Sequence[str], history: History, title: str, *, log: bool = False) -> Chart | None:
    """Some metrics of one run over its steps, in one chart; None if the run has none of them."""
    lines = {wording.name_of(metric): line for metric in metrics for line in _lines([history], metric)}
    return _curves(lines, {}, {name: colour(i + 1) for i, name in enumerate(lines)}, title, log=log)


def _curves(
    lines: Mapping[str, Line],
    seeds: Mapping[str, Sequence[Line]],
    colours: Mapping[str, str],
    title: str,
    *,
    log: bool,
) -> Chart | None:
    drawn = [*lines.values(), *(line for of_arm in seeds.values() for line in of_arm)]
    if not drawn:
        return None
    steps, values = ([pair[i] for line in drawn for pair in line] for i in range(2))
    # A constant line at 0 would be in the middle of an axis from -1 to 1.
    floor = 0.0 if min(values) >= 0 else -math.inf
    y = (log_axis(values, title) if log else None) or linear_axis(values, title, floor=floor)
    plot = Plot(linear_axis([0, *steps], "steps", floor=0, grid=False), y, height=270)
    for name, of_arm in seeds.items():
        for line in of_arm:
            plot.line(line, colours[name], width=1, opacity=0.3)
    for name, line in lines.items():
        _draw_curve(plot, f"{name}, " if len(lines) > 1 else "", line, colours[name])
    return Chart(plot.svg(f"{title} over steps"), tuple(colours.items()) if len(lines) > 1 else ())


def _draw_curve(plot: Plot, name: str, line: Line, shade: str) -> None:
    """A thick line that says its values where the pointer rests; a single point is a dot."""
    stride = -(-len(line) // _HITS)
    dots = [Dot(x, y, f"{name}step {x:,.0f}: {y:.4g}") for x, y in line[::stride]]
    if len(line) > 1:
        plot.line(line, shade, width=2.2)
    plot.dots(dots, shade, kind="hits" if len(line) > 1 else "dots")


def series(history: History, key: str, points: int = _POINTS) -> list[tuple[int, float]]:
    """The finite (step, value) pairs of a metric in the records of `metrics.jsonl`, thinned to about `points`."""
    pairs = [(record["step"], record[key]) for record in history if record.get(key) is not None]
    pairs = [(step, float(value)) for step, value in pairs if math.isfinite(value)]
    stride = -(-len(pairs) // points)
    return pairs[:: stride or 1] + (pairs[-1:] if stride > 1 and (len(pairs) - 1) % stride else [])


def _mean_line(lines: Sequence[Line]) -> Line:
    """The mean at the steps that every line has; the first line if they have no common step."""
    tables = [dict(line) for line in lines]
    common = [step for step in tables[0] if all(step in table for table in tables)]
    mean = [(step, math.fsum(table[step] for table in tables) / len(tables)) for step in common]
    return mean or list(lines[0])


def calibration_chart(bins: Mapping[str, Sequence[Mapping[str, float]]], colours: Mapping[str, str]) -> Chart:
    """A reliability diagram: accuracy by confidence, with the diagonal of perfect calibration.

    Args:
        bins: by arm, the result of `evaluation.reliability`. The size of a dot shows its number of predictions.
        colours: by arm.
    """
    ticks = tuple((float(n), str(n)) for n in range(0, 101, 25))
    x = Axis(low=-3, high=103, ticks=ticks, title="confidence (%)")
    plot = Plot(x, Axis(low=-3, high=103, ticks=ticks, title="accuracy (%)"))
    plot.line([(0, 0), (100, 100)], "var(--soft)", width=1, dotted=True)
    shades = {arm: colours.get(arm, "var(--arm-1)") for arm in bins}
    for arm, rows in bins.items():
        dots = _calibration_dots(rows)
        plot.line([(dot.x, dot.y) for dot in dots], shades[arm], width=1.5)
        plot.dots(dots, shades[arm])
    return Chart(plot.svg("accuracy by confidence"), tuple(shades.items()) if len(bins) > 1 else ())


def _calibration_dots(rows: Sequence[Mapping[str, float]]) -> list[Dot]:
    total = sum(row["count"] for row in rows)
    dots = []
    for row in rows:
        sure, right = 100 * row["confidence"], 100 * row["accuracy"]
        words = f"{sure:.1f}% sure, {right:.1f}% right: {row['count']:,.0f} predictions"
        dots.append(Dot(sure, right, words, radius=2.5 + 7.5 * math.sqrt(row["count"] / total)))
    return dots


def scatter_chart(pairs: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]) -> Chart:
    """Predicted against actual values of a regression, with the diagonal.

    Args:
        pairs: by arm, `actual` and `predicted`.
        colours: by arm.
    """
    shades = {arm: colours.get(arm, "var(--arm-1)") for arm in pairs}
    dots = {arm: _scatter_dots(one["actual"], one["predicted"]) for arm, one in pairs.items()}
    every = [dot for of_arm in dots.values() for dot in of_arm]
    actual = [value for one in pairs.values() for value in one["actual"]]
    x, y = linear_axis(actual, "actual"), linear_axis([*actual, *(dot.y for dot in every)], "predicted")
    plot = Plot(x, y, height=360)
    plot.line([(min(actual), min(actual)), (max(actual), max(actual))], "var(--soft)", width=1, dotted=True)
    for arm, of_arm in dots.items():
        plot.dots(of_arm, shades[arm], opacity=0.5)
    return Chart(plot.svg("predicted against actual values"), tuple(shades.items()) if len(pairs) > 1 else ())


def _scatter_dots(actual: Sequence[float], predicted: Sequence[float]) -> list[Dot]:
    stride = -(-len(actual) // _PAIRS)
    shown = zip(actual[::stride], predicted[::stride], strict=True)
    return [Dot(x, y, f"actual {x:.4g}, predicted {y:.4g}", radius=2.5) for x, y in shown]


def tradeoff_chart(
    points: Sequence[Mapping[str, Any]], axis: str, title: str, metric: str, *, chosen: str, bound: float
) -> Chart:
    """A metric against what a student takes, with the Pareto front of these two as a line.

    Args:
        points: each with `name`, `metric`, and a positive number by the name of the axis.
        axis: the name of the horizontal axis in the points.
        title: of that axis.
        metric: its name.
        chosen: the name of the point that stands out.
        bound: a value of the metric at which a line is drawn.
    """
    scale = _scale(metric)
    places = {point["name"]: (float(point[axis]), point["metric"] * scale) for point in points}
    across, up = ([place[i] for place in places.values()] for i in range(2))
    # A few that learned nothing would press all others together.
    shown = [value for value in up if value >= bound * scale - 3 * (max(up) - statistics.median(up))] or up
    y = linear_axis([*shown, bound * scale], heading(metric))
    plot = Plot(log_axis(across, title) or linear_axis(across, title, floor=0), y, height=300)
    plot.line([(min(across), bound * scale), (max(across), bound * scale)], "var(--soft)", width=1, dotted=True)
    kept = {name: place for name, place in places.items() if place[1] >= y.low}
    names, pairs = list(kept), [(x, -value) for x, value in kept.values()]
    front = sorted(kept[names[at]] for at in pareto_set(pairs))
    plot.line(front, colour(1), width=1.5, opacity=0.6)
    dots = {name: Dot(*place, f"{name}: {place[0]:.3g}, {place[1]:.4g}", 4) for name, place in kept.items()}
    plot.dots([dot for name, dot in dots.items() if name != chosen], colour(1))
    plot.dots([dataclasses.replace(dots[name], radius=7.0) for name in dots if name == chosen], colour(2))
    return Chart(plot.svg(f"{heading(metric)} against {title}"))
