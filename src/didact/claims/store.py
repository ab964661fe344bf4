"""Where the figures of claims are kept: one JSON file a method, and a second one while its seeds are being run."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didact.catalogue import MethodInfo
from didact.claiming import Claim
from didact.claims import code
from didact.documents import Document, Values, read_json
from didact.errors import DataError

FORMAT = "didact claim 1"
DESIGN = ("arms", "method", "baseline", "cheap", "settings", "equal", "world", "metric", "seeds", "tuned_on")
"""The fields of a claim that its figures depend on; the others are words."""
_DEPTH = 3
"""So many levels of a file are broken into lines: the figures of an arm with a seed stand on one."""


def directory() -> Path:
    """`claims/results` in the repository that the working directory lies in, or else in the working directory."""
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    return root / "claims" / "results"


class ResultStore:
    """Keeps the results of claims.

    Args:
        path: the directory; it is made when something is written. By default see `directory`.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = directory() if path is None else Path(path)

    def file(self, name: str) -> Path:
        """Where a method's finished result is."""
        return self.path / f"{name}.json"

    def partial(self, name: str) -> Path:
        """Where the seeds are that a replication has finished so far."""
        return self.path / f".{name}.partial.json"

    def read(self, name: str) -> Document | None:
        """A method's finished result; None where there is none.

        Raises:
            DataError: The file is not what is written here.
        """
        return _read(self.file(name))

    def finished(self, name: str, basis: Values) -> Document:
        """The seeds that an interrupted replication of the same claim by the same code has finished.

        Args:
            name: the method.
            basis: what the figures rest on, see `basis`.

        Returns:
            By seed, as a word, what was kept of it; empty where there is nothing that can be gone on with.
        """
        with contextlib.suppress(DataError):
            found = _read(self.partial(name))
            if found is not None and all(found.get(key) == value for key, value in _plain(basis).items()):
                return dict(found["seeds"])
        return {}

    def keep(self, name: str, basis: Values, seeds: Values) -> None:
        """Write the seeds that are finished, before the others are."""
        _write(self.partial(name), {"format": FORMAT, **basis, "seeds": seeds})

    def finish(self, name: str, document: Values) -> Path:
        """Write a whole result in the place of the one before; its path."""
        _write(self.file(name), {"format": FORMAT, **document})
        self.partial(name).unlink(missing_ok=True)
        return self.file(name)

    def stale(self, info: MethodInfo) -> list[str] | None:
        """What has changed since a method's result was stored.

        Args:
            info: a method with a claim.

        Returns:
            The changed files and fields of the claim, none where the result is fresh; None where there is no result.

        Raises:
            DataError: The file is not what is written here.
        """
        found = self.read(info.name)
        if found is None or info.claim is None:
            return None
        now = basis(info.claim)
        before, after = found["claim"], _plain(now["claim"])
        fields = [f"claim.{field}" for field in DESIGN if before.get(field) != after[field]]
        return [*fields, *code.changed_paths(found["code"], now["code"])]


def basis(claim: Claim) -> Document:
    """What figures rest on: the claim as it stands, and the code that its arms run, by content."""
    return {"claim": dataclasses.asdict(claim), "code": code.digests(claim)}


def _plain(value: object) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _read(path: Path) -> Document | None:
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as the result of a claim: {error}. Delete it, and run it again."
        ) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{path} is not the result of a claim ({FORMAT!r}). Delete it, and run the claim again.")
    return found


def _write(path: Path, document: Values) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(_render(document, _DEPTH) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _render(value: object, depth: int) -> str:
    """JSON of which the upper levels have a line an entry, so that a change shows up small."""
    if not depth or not isinstance(value, Mapping) or not value:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    indent = "\n" + " " * (_DEPTH - depth + 1)
    entries = (f"{indent}{json.dumps(str(key))}: {_render(item, depth - 1)}" for key, item in value.items())
    return "{" + ",".join(entries) + indent[:-1] + "}"
