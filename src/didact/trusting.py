"""What a file may ask for: data, but no code and no download, unless the user trusts it by name.

What is typed on the command line, or given from Python, may name code (`package.module:factory`, a method's file) and
downloads (`hf:NAME`). While something runs that a file has asked for, `untrusted` is in force, and whatever is about to
import or to download calls `check` first. So no grammar of specs has to be read twice.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from didact.errors import TrustError


@dataclass(frozen=True)
class _Asking:
    file: str
    trusted: tuple[str, ...]


_ASKING: ContextVar[_Asking | None] = ContextVar("_ASKING", default=None)


@contextlib.contextmanager
def untrusted(file: str | Path, trusted: Iterable[str] = ()) -> Iterator[None]:
    """Refuse code and downloads for as long as this lasts, since a file asks for what is done.

    Args:
        file: the file or directory, for messages.
        trusted: what the user named himself: names as in `check`, or whole specs that hold them, such as
            `noisy:0.3:package.module:factory`. What is trusted around this stays trusted.
    """
    outer = _ASKING.get()
    token = _ASKING.set(_Asking(str(file), (*trusted, *(outer.trusted if outer else ()))))
    try:
        yield
    finally:
        _ASKING.reset(token)


def check(name: str, what: str) -> None:
    """Refuse what a file asks for; whatever imports or downloads by a name calls this first.

    Args:
        name: exactly as the file has it: `package.module:factory`, `method.py`, `hf:NAME`.
        what: `code`, where it is about to be run, or `download`.

    Raises:
        TrustError: a file asks for it, and the user did not name it.
    """
    asking = _ASKING.get()
    if asking is None or any(_holds(given, name) for given in asking.trusted):
        return
    words = "run the code" if what == "code" else "download"
    raise TrustError(
        f"{asking.file} asks to {words} {name!r}, which a file may not do by itself. If you trust it, name it "
        f"yourself: --trust {name} (from Python: trust=({name!r},))."
    )


def _holds(given: str, name: str) -> bool:
    """Whether what the user gave is a name, or a spec with that name as one of its parts."""
    return re.search(rf"(?:^|[:+*,=(\s]){re.escape(name)}(?:$|[+,)\s])", given) is not None
