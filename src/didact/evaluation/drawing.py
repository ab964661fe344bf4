"""Charts as SVG: axes, and marks at coordinates of the data.

Colours are CSS variables of the page, `var(--arm-1)`, so that a chart can be dark and be printed. What is said where
the pointer rests is in `title` elements. Text from users is escaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 420.0
"""The width of every chart in its own units; the page scales it."""

_CHARACTER = 6.8
"""The width that a character of a label is given."""

_LINE = 15.0
_TOP, _RIGHT = 10.0, 16.0
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart, and its legend of names and colours, which is empty where one colour is used."""

    svg: str
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dot:
    """A mark at a point of the data, and what it says where the pointer rests."""

    x: float
    y: float
    words: str
    radius: float = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis: its ends, its labelled ticks, and its title."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str = ""
    log: bool = False
    grid: bool = True

    def share(self, value: float) -> float:
        """The position of a value: 0 at the low end, 1 at the high one."""
        low, high, at = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (at - low) / (high - low)


def linear_axis(values: Iterable[float], title: str, *, floor: float = -math.inf, grid: bool = True) -> Axis:
    """An axis that holds some values, with some room on both sides, and ticks at round numbers.

    Args:
        values: at least one finite number.
        title: of the axis.
        floor: the axis does not begin below it.
        grid: draw a line at each tick.
    """
    held = list(values)
    low, high = min(held), max(held)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = max(low - room, floor), high + room
    step = _round_up((high - low) / _TICKS)
    # The quotients of 0.3 and 0.1 are no whole numbers.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((n * step, _number(n * step)) for n in range(first, last + 1))
    return Axis(low=low, high=high, ticks=ticks, title=title, grid=grid)


def log_axis(values: Iterable[float], title: str) -> Axis | None:
    """A logarithmic axis, with ticks at 1, 2 and 5 while these are few; None unless the values span a power of ten."""
    held = list(values)
    low, high = min(held), max(held)
    if low <= 0 or high < 10 * low:
        return None
    low, high = low / 1.15, high * 1.15
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in steps]
    ticks = tuple((tick, _number(tick)) for tick in found if low <= tick <= high)
    return Axis(low=low, high=high, ticks=ticks, title=title, log=True)


def _round_up(step: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _number(value: float) -> str:
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.3g}"


class Plot:
    """A chart that is being drawn.

    Args:
        x: the horizontal axis.
        y: the vertical axis; a line feed in the label of a tick breaks it.
        height: of the whole chart, where its width is `WIDTH`; by default, that which makes the area a square.
    """

    def __init__(self, x: Axis, y: Axis, *, height: float | None = None) -> None:
        widest = max((len(line) for _, text in y.ticks for line in text.split("\n")), default=0)
        self._x, self._y, self._marks = x, y, list[str]()
        self._left = _CHARACTER * widest + 8 + (20 if y.title else 0)
        self._right, bottom = WIDTH - _RIGHT, 20 + (22 if x.title else 0)
        self._bottom = _TOP + (self._right - self._left) if height is None else height - bottom
        self._height = self._bottom + bottom

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = self._left + self._x.share(x) * (self._right - self._left)
        return across, self._bottom - self._y.share(y) * (self._bottom - _TOP)

    def line(
        self,
        points: Iterable[tuple[float, float]],
        colour: str,
        *,
        width: float = 2,
        opacity: float = 1,
        dotted: bool = False,
    ) -> None:
        """Draw a line through points of the data."""
        places = " ".join(f"{across:.1f},{down:.1f}" for across, down in (self._at(x, y) for x, y in points))
        style = f"stroke:{colour};stroke-width:{width}" + (f";opacity:{opacity}" if opacity < 1 else "")
        dash = ' stroke-dasharray="2 4"' if dotted else ""
        self._marks.append(f'<polyline points="{places}" style="{style}"{dash}/>')

    def dots(self, dots: Iterable[Dot], colour: str, *, opacity: float = 1, kind: str = "dots") -> None:
        """Draw dots; those of the kind `hits` are seen only under the pointer."""
        circles = [self._circle(dot) for dot in dots]
        style = f"color:{colour}" + (f";opacity:{opacity}" if opacity < 1 else "")
        self._marks.append(f'<g class="{kind}" style="{style}">{"".join(circles)}</g>')

    def _circle(self, dot: Dot) -> str:
        across, down = self._at(dot.x, dot.y)
        words = f"<title>{escape(dot.words)}</title>"
        return f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{dot.radius:.1f}">{words}</circle>'

    def svg(self, label: str) -> str:
        """The chart as an element of HTML.

        Args:
            label: what it shows, for those who cannot see it.
        """
        head = f'<svg class="chart" viewBox="0 0 {WIDTH:g} {self._height:.0f}" role="img" aria-label="{escape(label)}">'
        return "".join([head, *self._across(), *self._upwards(), *self._marks, "</svg>"])

    def _across(self) -> Iterable[str]:
        """The horizontal axis."""
        for value, text in self._x.ticks:
            at, _ = self._at(value, self._y.low)
            if self._x.grid:
                yield f'<path class="grid" d="M{at:.1f} {_TOP:g}V{self._bottom:.1f}"/>'
            yield f'<text class="x" x="{at:.1f}" y="{self._bottom + 17:.1f}">{escape(text)}</text>'
        yield f'<path class="grid" d="M{self._left:.1f} {self._bottom:.1f}H{self._right:.1f}"/>'
        middle = (self._left + self._right) / 2
        if self._x.title:
            yield f'<text class="x title" x="{middle:.1f}" y="{self._height - 5:.1f}">{escape(self._x.title)}</text>'

    def _upwards(self) -> Iterable[str]:
        """The vertical axis."""
        for value, text in self._y.ticks:
            _, at = self._at(self._x.low, value)
            if self._y.grid:
                yield f'<path class="grid" d="M{self._left:.1f} {at:.1f}H{self._right:.1f}"/>'
            yield from self._label(text.split("\n"), at)
        middle = (_TOP + self._bottom) / 2
        if self._y.title:
            turned, room = f'transform="rotate(-90 12 {middle:.1f})"', self._bottom - _TOP
            if len(self._y.title) * _CHARACTER > room:
                turned += f' textLength="{room:.1f}" lengthAdjust="spacingAndGlyphs"'
            yield f'<text class="x title" x="12" y="{middle:.1f}" {turned}>{escape(self._y.title)}</text>'

    def _label(self, lines: Sequence[str], at: float) -> Iterable[str]:
        """The label of a tick of the vertical axis, its lines around the tick."""
        top = at + 4 - _LINE * (len(lines) - 1) / 2
        for number, text in enumerate(lines):
            yield f'<text class="y" x="{self._left - 7:.1f}" y="{top + number * _LINE:.1f}">{escape(text)}</text>'
