"""The progress line of a run in a terminal."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from didact import stopping
from didact.documents import Document

REFRESH_SECONDS = 0.2


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:,.0f} ex/s", style="dim")


class ProgressLine:
    """A progress bar with rate, time left, losses and verdicts; silent if the output is not a terminal.

    Args:
        enabled: False shows nothing.
        description: the text before the bar.
    """

    def __init__(self, enabled: bool, description: str) -> None:
        console = Console(file=stopping.quiet_after_hangup(sys.stderr)) if enabled else None
        self._bar = None if console is None or not console.is_terminal else _bar(console, description)
        self._next = 0.0
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
        if self._bar is None:
            return
        now = time.monotonic()
        if now < self._next and figures is None:
            return
        self._next = now + REFRESH_SECONDS
        self._started = self._started or (now, examples)
        since, before = self._started
        fields: Document = {"rate": (examples - before) / max(now - since, 1e-9)}
        if figures is not None:
            fields["figures"] = " ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._bar.update(_TASK, completed=min(fraction, 1.0), refresh=True, **fields)

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        if self._bar is not None:
            self._bar.console.print(sentence, style="yellow", highlight=False)


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
