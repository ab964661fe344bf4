"""Records which of didact's functions a claim's arms run."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from didact.options import PACKAGE

Ran = dict[str, list[str]]
"""By path within didact, the functions that were called, as `name`, or `Class.name`, sorted."""


@contextmanager
def recorded(ran: Ran) -> Iterator[None]:
    """Note the functions that are called in this context, also in threads that begin in it.

    Args:
        ran: what is noted is added to it at the end.
    """
    # Kept by identity: a code object's own hash takes longer than most functions.
    seen: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            seen[id(frame.f_code)] = frame.f_code

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]
        for path, names in _names(seen.values()).items():
            ran[path] = sorted({*ran.get(path, ()), *names})


def _names(codes: Iterable[CodeType]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for code in codes:
        if code.co_filename.startswith(f"{PACKAGE}/"):
            # What a function defines within itself counts as its own.
            name = code.co_qualname.partition(".<locals>")[0]
            found.setdefault(Path(code.co_filename).relative_to(PACKAGE).as_posix(), set()).add(name)
    return found
