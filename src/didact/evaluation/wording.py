"""The formatting of metrics: names, units, percentages and digits."""

import math

from didact.types import LOWER_IS_BETTER

MINUS = "\u2212"

_SHARES = {
    "clipped": "clipped tokens",
    "controlled": "tokens held back",
    "dead": "completions in groups without a difference",
    "failed": "wrong completions",
    "guided": "completions of teachers",
    "kept": "tokens that are kept",
    "mended": "right completions of the teacher",
    "opened": "completions with an opening",
    "overlap": "likeliest tokens shared with the teacher",
    "overlap_mass": "probability of the shared likeliest tokens",
    "penalised": "completions paid by length",
    "repetition": "repetition within completions",
    "right": "pairs in the right order",
    "share": "share of the teacher in the target",
    "unique": "different ones among right completions",
}
"""Names of metrics of methods that are shares of a batch."""
_PERCENT = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "ece",
        "macro_f1",
        "auroc",
        "mean_iou",
        "pixel_auroc",
        "robust_accuracy",
        "teacher_agreement",
        "recall_at_10",
        "linear_probe",
        "knn_probe",
        "finished",
        "pair_accuracy",
        "step_accuracy",
        *_SHARES,
    }
)
_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "nll": "negative log-likelihood",
    "pair_accuracy": "pairs in the right order",
    "step_accuracy": "steps that are judged rightly",
    "ece": "calibration error",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "mean_iou": "mean IoU",
    "pixel_auroc": "pixel AUROC",
    "robust_accuracy": "accuracy under attack",
    "r2": "R\u00b2",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "teacher_agreement": "agreement with the teacher",
    "teacher_kl": "divergence from the teacher",
    "teacher_rmse": "RMSE to the teacher",
    "spearman": "rank correlation of similarities",
    "recall_at_10": "nearest 10 kept",
    "mrr": "reciprocal rank of the nearest",
    "mean_cosine": "cosine to the teacher",
    "env_steps": "environment steps",
    "flops": "FLOPs",
    "length": "length of completions",
    "finished": "finished completions",
    "peak_memory": "peak memory",
    "entropy": "entropy of the policy",
    "kl": "divergence from the reference",
    **_SHARES,
}
_UNITS = {"nll": "nats", "teacher_kl": "nats", "length": "tokens", "entropy": "nats", "kl": "nats"}


def _base(metric: str) -> str:
    return metric.rsplit("/", 1)[-1]


def name_of(metric: str) -> str:
    """The display name of a metric or cost, without any prefix before a slash."""
    return _NAMES.get(_base(metric), _base(metric).replace("_", " "))


def unit_of(metric: str) -> str:
    """The display unit of a metric: "%", "nats", or "" if it has none."""
    return "%" if is_percent(metric) else _UNITS.get(_base(metric), "")


def is_percent(metric: str) -> bool:
    """Whether a metric is a fraction that is displayed as a percentage."""
    return _base(metric) in _PERCENT


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better; true for unknown ones."""
    return _base(metric) not in LOWER_IS_BETTER


def figure(metric: str, value: float, *, like: float | None = None, sign: bool = False) -> str:
    """A value of a metric in its unit, without the unit.

    Args:
        metric: its name; a percentage is multiplied by 100.
        value: the value.
        like: a spread of the metric, whose first two digits determine the decimals of the value; without it, a
            percentage gets one decimal and another number three significant digits.
        sign: whether a positive number gets a plus sign.
    """
    scale = 100.0 if is_percent(metric) else 1.0
    decimals = 1 if is_percent(metric) else _decimals((like if like else value) * scale, 2 if like else 3)
    return number(value * scale, decimals, sign=sign)


def number(value: float, decimals: int, *, sign: bool = False) -> str:
    """A number with these decimals, thousands separators, and a true minus sign; zero has no sign."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{abs(value):,.{decimals}f}"
    if not text.strip("0.,"):
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def _decimals(value: float, significant: int) -> int:
    """The decimals that show a number to these significant digits; at most 6."""
    if not math.isfinite(value) or value == 0:
        return 3
    return min(6, max(0, significant - 1 - math.floor(math.log10(abs(value)))))


def cost_figure(axis: str, value: float) -> str:
    """Format a figure of `Cost`: seconds and bytes in a suitable unit, counts with separators.

    A zero of memory or operations was not measured, and is shown as a dash.

    Args:
        axis: a field of `Cost`.
        value: its value, possibly a mean over seeds.
    """
    if not value and axis in ("peak_memory", "flops"):
        return "\u2013"
    if axis == "seconds":
        return _duration(value)
    if axis == "peak_memory":
        return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))
    if axis == "flops":
        return _scaled(value, 1000.0, ("", "k", "M", "G", "T", "P", "E"))
    return number(value, 0 if value == round(value) or value >= 100 else 1)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _scaled(value: float, step: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= step and power < len(units) - 1:
        value, power = value / step, power + 1
    shown = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{shown} {units[power]}".strip()


def join_words(words: list[str]) -> str:
    """Join words as in a sentence: "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
