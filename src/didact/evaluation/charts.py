"""The report's charts as plotly figures.

Colours are CSS variables, `var(--arm-1)`; the page replaces them by its light or dark ones. Text from users is escaped,
since plotly interprets tags.
"""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from didact.documents import Document
from didact.evaluation import wording
from didact.evaluation.comparison import Comparison
from didact.evaluation.intervals import Estimate
from didact.evaluation.phrases import heading

Figure = dict[str, Any]
History = Sequence[Mapping[str, Any]]

_POINTS = 300
"""The approximate number of points of a thinned curve."""

_NAME_WIDTH = 18
"""Names of arms longer than this are wrapped beside a chart."""

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


def _figure(traces: list[Document], *, height: int, x: Document, y: Document, **more: object) -> Figure:
    axis = {"gridcolor": "var(--line)", "linecolor": "var(--line)", "zeroline": False, "automargin": True}
    titles = [{"title": {**one.get("title", {}), "font": {"size": 12}, "standoff": 10}} for one in (x, y)]
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--font)", "size": 12.5, "color": "var(--soft)"},
        "hoverlabel": {"font": {"family": "var(--font)"}, "bgcolor": "var(--paper)", "bordercolor": "var(--line)"},
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": "var(--ink)"}},
        "xaxis": {**axis, **x, **titles[0]},
        "yaxis": {**axis, **y, **titles[1]},
        "dragmode": False,
        **more,
    }
    return {"data": traces, "layout": layout}


def _scale(metric: str) -> float:
    return 100.0 if wording.is_percent(metric) else 1.0


def seeds_chart(comparison: Comparison) -> Figure:
    """A dot for every seed of every arm, and the means with their intervals."""
    found = {arm: comparison.summary(arm) for arm in comparison.arms}
    return _forest(found, comparison, heading(comparison.metric))


def differences_chart(comparison: Comparison) -> Figure:
    """The paired difference of every seed to the reference, and the means with their intervals, with a line at zero.

    The reference keeps its row, which is empty, so that the rows are those of `seeds_chart`.
    """
    found = {arm: comparison.difference(arm) if arm != comparison.reference else None for arm in comparison.arms}
    unit = "points" if wording.is_percent(comparison.metric) else wording.unit_of(comparison.metric)
    figure = _forest(found, comparison, f"difference to {comparison.reference}" + (f" ({unit})" if unit else ""))
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    figure["layout"]["shapes"] = [{**zero, "line": {"color": "var(--arm-0)", "width": 1.5}}]
    return figure


def _forest(found: Mapping[str, Estimate | None], comparison: Comparison, title: str) -> Figure:
    colours = arm_colours(comparison)
    sign = comparison.reference in found and found[comparison.reference] is None
    rows = [(len(found) - 1 - i, arm, one) for i, (arm, one) in enumerate(found.items())]
    traces = [
        trace for y, arm, one in rows if one for trace in _forest_row(y, one, colours[arm], comparison, sign=sign)
    ]
    ticks = {"tickvals": [y for y, _, _ in rows], "ticktext": [_lines(arm) for _, arm, _ in rows]}
    return _figure(
        traces,
        height=72 + 46 * len(found),
        x={"title": {"text": escape(title)}},
        y={**ticks, "tickfont": {"color": "var(--ink)"}, "range": [-0.6, len(found) - 0.4], "showgrid": False},
    )


def _lines(name: str) -> str:
    """Wrap a long name after the characters that join its words."""
    lines = [""]
    for piece in re.findall(r"[^_,=-]+[_,=-]*|[_,=-]+", name):
        if lines[-1] and len(lines[-1]) + len(piece) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(map(escape, lines))


def _forest_row(y: int, found: Estimate, shade: str, comparison: Comparison, *, sign: bool) -> list[Document]:
    metric, half, scale = comparison.metric, found.half or 0.0, _scale(comparison.metric)
    shown = [wording.figure(metric, value, like=found.half, sign=sign) for value in found.values]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [value * scale for value in found.values],
        "y": [y - 0.26] * len(found.values),
        "marker": {"color": shade, "size": 7, "opacity": 0.45},
        "text": [f"seed {seed}: {value}" for seed, value in zip(comparison.seeds, shown, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }
    mean = {
        "type": "scatter",
        "mode": "markers",
        "x": [found.mean * scale],
        "y": [y],
        "marker": {"color": shade, "size": 11},
        "error_x": {"type": "data", "array": [half * scale], "color": shade, "thickness": 2.5, "width": 0},
        "text": [_mean_hover(metric, found, sign=sign)],
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [dots, mean]


def _mean_hover(metric: str, found: Estimate, *, sign: bool) -> str:
    shown = wording.figure(metric, found.mean, like=found.half, sign=sign)
    if found.low is None or found.high is None:
        return f"mean {shown}"
    low, high = (wording.figure(metric, end, like=found.half, sign=sign) for end in (found.low, found.high))
    return f"mean {shown}, 95% interval {low} to {high}"


def arms_curve(
    metric: str, curves: Mapping[str, Sequence[History]], colours: Mapping[str, str], title: str, *, log: bool = False
) -> Figure | None:
    """A metric of `metrics.jsonl` over the steps: thin lines for seeds, a thick one for an arm's mean.

    Returns:
        None if no arm has it.
    """
    traces: list[Document] = []
    scale = _scale(metric)
    for arm, histories in curves.items():
        lines = [line for history in histories if (line := series(history, metric))]
        shade = colours.get(arm, "var(--ink)")
        many = len(lines) > 1
        traces += [_line(line, shade, scale, width=1, opacity=0.3, hoverinfo="skip") for line in lines if many]
        if lines:
            mean = _mean_line(lines)
            traces.append(_line(mean, shade, scale, width=2.5, name=escape(arm), showlegend=True))
    if not traces:
        return None
    return _curve_figure(traces, title, legend=len(curves) > 1, log=log)


def run_curve(metrics: Sequence[str], history: History, title: str, *, log: bool = False) -> Figure | None:
    """Some metrics of one run over its steps, in one chart; None if the run has none of them."""
    found = [(metric, line) for metric in metrics if (line := series(history, metric))]
    if not found:
        return None
    traces = [
        _line(line, colour(i + 1), _scale(metric), width=2, name=escape(wording.name_of(metric)), showlegend=True)
        for i, (metric, line) in enumerate(found)
    ]
    return _curve_figure(traces, title, legend=len(found) > 1, log=log)


def _curve_figure(traces: list[Document], title: str, *, legend: bool, log: bool = False) -> Figure:
    values = [value for trace in traces for value in trace["y"]]
    # A constant line at 0 would be in the middle of an axis from -1 to 1.
    y = {"title": {"text": escape(title)}, "rangemode": "nonnegative" if min(values) >= 0 else "normal"}
    y |= _log_axis(min(values), max(values)) if log else {}
    x = {"title": {"text": "steps"}, "showgrid": False, "rangemode": "tozero"}
    return _figure(traces, height=300, x=x, y=y, showlegend=legend, hovermode="x unified" if legend else "closest")


def _log_axis(low: float, high: float) -> Document:
    """A logarithmic axis if the values span a power of ten, with ticks at 1, 2 and 5 while there are few."""
    if low <= 0 or high < 10 * low:
        return {}
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def series(history: History, key: str) -> list[tuple[int, float]]:
    """The finite (step, value) pairs of a metric in the records of `metrics.jsonl`, thinned."""
    pairs = [(record["step"], record[key]) for record in history if record.get(key) is not None]
    pairs = [(step, float(value)) for step, value in pairs if math.isfinite(value)]
    stride = -(-len(pairs) // _POINTS)
    return pairs[:: stride or 1] + (pairs[-1:] if stride > 1 and (len(pairs) - 1) % stride else [])


def _mean_line(lines: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean at the steps that every line has; the first line if they have no common step."""
    tables = [dict(line) for line in lines]
    common = [step for step in tables[0] if all(step in table for table in tables)]
    mean = [(step, math.fsum(table[step] for table in tables) / len(tables)) for step in common]
    return mean or list(lines[0])


def _line(pairs: Sequence[tuple[int, float]], shade: str, scale: float, *, width: float, **more: object) -> Document:
    return {
        "type": "scatter",
        "mode": "lines" if len(pairs) > 1 else "markers",
        "x": [step for step, _ in pairs],
        "y": [value * scale for _, value in pairs],
        "line": {"color": shade, "width": width},
        "marker": {"color": shade},
        "showlegend": False,
        "hovertemplate": "%{y:.4~g}" if "hoverinfo" not in more else None,
        **more,
    }


def calibration_chart(bins: Mapping[str, Sequence[Mapping[str, float]]], colours: Mapping[str, str]) -> Figure:
    """A reliability diagram: accuracy by confidence, with the diagonal of perfect calibration.

    Args:
        bins: by arm, the result of `evaluation.reliability`. The size of a dot shows its number of predictions.
        colours: by arm.
    """
    diagonal = {"x": [0, 100], "y": [0, 100], "line": {"color": "var(--soft)", "dash": "dot", "width": 1}}
    traces = [{"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False, **diagonal}]
    for arm, rows in bins.items():
        total = sum(row["count"] for row in rows)
        shade = colours.get(arm, "var(--arm-1)")
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(arm),
                "x": [100 * row["confidence"] for row in rows],
                "y": [100 * row["accuracy"] for row in rows],
                "line": {"color": shade, "width": 1.5},
                "marker": {"color": shade, "size": [5 + 15 * math.sqrt(row["count"] / total) for row in rows]},
                "text": [f"{row['count']:,.0f} predictions" for row in rows],
                "hovertemplate": "%{x:.1f}% sure, %{y:.1f}% right<br>%{text}",
            }
        )
    side = {"range": [-3, 103], "dtick": 25, "constrain": "domain"}
    x = {**side, "title": {"text": "confidence (%)"}}
    y = {**side, "title": {"text": "accuracy (%)"}, "scaleanchor": "x"}
    return _figure(traces, height=400, x=x, y=y, showlegend=len(bins) > 1)


def scatter_chart(pairs: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]) -> Figure:
    """Predicted against actual values of a regression, with the diagonal.

    Args:
        pairs: by arm, `actual` and `predicted`.
        colours: by arm.
    """
    values = [value for one in pairs.values() for value in one["actual"]]
    ends = [min(values), max(values)]
    diagonal = {"x": ends, "y": ends, "line": {"color": "var(--soft)", "dash": "dot", "width": 1}}
    traces = [{"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False, **diagonal}]
    for arm, one in pairs.items():
        marker = {"color": colours.get(arm, "var(--arm-1)"), "size": 5, "opacity": 0.5}
        stride = -(-len(one["actual"]) // _PAIRS)
        points = {"x": list(one["actual"][::stride]), "y": list(one["predicted"][::stride]), "marker": marker}
        hover = "actual %{x:.4~g}<br>predicted %{y:.4~g}"
        traces.append({"type": "scatter", "mode": "markers", "name": escape(arm), "hovertemplate": hover, **points})
    x, y = {"title": {"text": "actual"}}, {"title": {"text": "predicted"}}
    return _figure(traces, height=380, x=x, y=y, showlegend=len(pairs) > 1)
