"""The one way to the terminal: text of names, data and models cannot control it, or fail in its encoding."""

import codecs
import re
import sys
import warnings
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.console import ConsoleOptions as _Options
from rich.segment import Segment

from didact import stopping

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""All control characters but tab and line feed (C0, DEL and C1 of ECMA-48), and surrogates, which have no encoding."""
_PLAIN = {"\u2713": "+", "\u2717": "x", "\u2212": "-", "\u2013": "-", "\u00b1": "+/-", "\u00b2": "2", "\u2026": "..."}
"""What stands for a character where the encoding of the output lacks it; a question mark stands for any other."""


def plain(text: str) -> str:
    """Text with a question mark for each control character, as `ls -q` prints names."""
    return _CONTROLS.sub("?", text.replace("\r\n", "\n"))


class _Console(Console):
    """A console whose own styles and cursor movements are the only control sequences that it writes."""

    def render(self, renderable: RenderableType, options: _Options | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text), style, control)


def console(*, stderr: bool = False) -> Console:
    """A console for the current standard output, or standard error."""
    file = stopping.quiet_after_hangup(sys.stderr) if stderr else None
    return _Console(file=file, highlight=False)


def write(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def prepare(*streams: TextIO) -> None:
    """Let streams write any text in their encoding, and warnings print plain text."""
    codecs.register_error("didact", _replaced)
    for stream in streams:
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="didact")
    warnings.formatwarning = _format_warning


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in found), error.end


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return plain(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"
