"""Trust in files: a file may request data, but no code, download or server, unless the user trusts it by name.

Arguments of the command line or of Python may name code (`package.module:factory`, a method's file), downloads
(`hf:NAME`) and servers (`server:URL`), which read the prompts. Requests of a file are processed inside `untrusted`, and
every function that imports, downloads or connects by name calls `check` first. Specs therefore need not be parsed
twice.
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
    """A context in which code and downloads are refused, since a file requests them.

    Args:
        file: the file or directory, for messages.
        trusted: the names that the user trusts, as in `check`, or whole specs that contain them, such as
            `noisy:0.3:package.module:factory`. Names that an outer context trusts stay trusted.
    """
    outer = _ASKING.get()
    token = _ASKING.set(_Asking(str(file), (*trusted, *(outer.trusted if outer else ()))))
    try:
        yield
    finally:
        _ASKING.reset(token)


def check(name: str, what: str) -> None:
    """Refuse code or a download that a file requests; every import or download by name calls this first.

    Args:
        name: exactly as in the file: `package.module:factory`, `method.py`, `hf:NAME`, `server:URL`.
        what: `code`, `download` or `server`.

    Raises:
        TrustError: a file requests it, and the user did not name it.
    """
    asking = _ASKING.get()
    if asking is None or any(_holds(given, name) for given in asking.trusted):
        return
    words = {"code": "run the code", "server": "send prompts to"}.get(what, "download")
    raise TrustError(
        f"{asking.file} asks to {words} {name!r}, which a file may not do by itself. If you trust it, name it "
        f"yourself: --trust {name} (from Python: trust=({name!r},))."
    )


def _holds(given: str, name: str) -> bool:
    """Whether a trusted string is a name, or a spec with that name as one of its parts."""
    return re.search(rf"(?:^|[:+*,=(\s]){re.escape(name)}(?:$|[+,)\s])", given) is not None
