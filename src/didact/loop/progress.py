"""The progress line of a run in a terminal."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from didact import terminal
from didact.documents import Document

REFRESH_SECONDS = 0.2
LINE_SECONDS = 10.0
"""The least time between two lines where the output is not a terminal."""
_LABEL: ContextVar[str] = ContextVar("_LABEL", default="")


@contextlib.contextmanager
def label(words: str) -> Iterator[None]:
    """A context in which progress lines begin with these words, such as an arm and its seed."""
    token = _LABEL.set(words)
    try:
        yield
    finally:
        _LABEL.reset(token)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:,.0f} ex/s", style="dim")


class ProgressLine:
    """A progress bar with rate, time left, losses and verdicts; a plain line now and then without a terminal.

    Args:
        enabled: False shows nothing.
        description: the text before the bar.
    """

    def __init__(self, enabled: bool, description: str) -> None:
        self._out = terminal.console(stderr=True) if enabled else None
        self._name = _LABEL.get() or description
        self._bar = _bar(self._out, self._name) if self._out is not None and self._out.is_terminal else None
        self._next = time.monotonic() + LINE_SECONDS if self._bar is None else 0.0
        self._figures: Mapping[str, float] = {}
        self._started: tuple[float, int] | None = None

    def __enter__(self) -> "ProgressLine":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, fraction: float, examples: int, figures: Mapping[str, float] | None = None) -> None:
        """Move to a fraction of the budget, with the number of examples so far and the latest figures."""
        if self._out is None:
            return
        self._figures, now = self._figures if figures is None else figures, time.monotonic()
        if now < self._next and (figures is None or self._bar is None):
            return
        self._next = now + (LINE_SECONDS if self._bar is None else REFRESH_SECONDS)
        shown = " ".join(f"{name} {value:.3g}" for name, value in self._figures.items())
        if self._bar is None:
            line = f"{self._name}: {min(fraction, 1.0):.0%}, {examples:,} examples"
            self._out.print(f"{line}, {shown}" if shown else line, markup=False, soft_wrap=True)
            return
        self._started = self._started or (now, examples)
        since, before = self._started
        fields: Document = {"rate": (examples - before) / max(now - since, 1e-9)}
        fields["figures"] = shown
        self._bar.update(_TASK, completed=min(fraction, 1.0), refresh=True, **fields)

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        if self._bar is not None:
            self._bar.console.print(sentence, style="yellow", markup=False)


_TASK = TaskID(0)
"""The only task of a bar."""


def _bar(console: Console, description: str) -> Progress:
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=18),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        _Rate(),
        TextColumn("{task.fields[figures]}", style="cyan"),
        console=console,
        auto_refresh=False,
        transient=True,
    )
    bar.add_task(description, total=1.0, rate=0.0, figures="")
    return bar
