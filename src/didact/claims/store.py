"""Storage of the results of claims: one JSON file per method, and a second one while its seeds run."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact.catalogue import CatalogueEntry
from didact.claiming import Claim
from didact.claims import code
from didact.documents import Document, Values, read_json
from didact.errors import ConfigError, DataError

FORMAT = "didact claim 2"
FIRST = "didact claim 1"
"""The format of the first design, which named no smallest effect beforehand."""
DESIGN = (
    *("arms", "method", "baseline", "cheap", "settings", "equal", "world", "metric", "seeds", "tuned_on"),
    *("smallest_effect", "ablation", "untaught", "search", "stages"),
)
"""The fields of a claim that its figures and verdicts depend on; the others are prose."""
_UNNAMED = {"smallest_effect": None, "ablation": "", "untaught": "", "search": {}, "stages": {}}
"""The fields that claims of the first design did not have."""
_WORDS = {
    "replicated": "better",
    "opposite": "worse",
    "not replicated": "undecided",
    "no difference shown": "undecided",
}
"""The verdicts of the first design in the words of today."""
_DEPTH = 3
"""Levels of a file that are broken into lines; the figures of an arm with a seed share one line."""


SHIPPED = Path(__file__).with_name("results")
"""The results that are part of the package."""


def directory() -> Path:
    """Where results are written: within didact's own repository those of the package, and elsewhere `claims/results`.

    That folder is in the repository of the working directory, or else in the working directory.
    """
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    return SHIPPED if root / "src" / "didact" / "claims" / "results" == SHIPPED else root / "claims" / "results"


class ResultStore:
    """Stores the results of claims.

    Args:
        path: the directory, created on the first write; by default that of `directory`, and the results that are part
            of the package are read where it has none.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = directory() if path is None else Path(path)
        self._shipped = SHIPPED if path is None else self.path

    def file(self, name: str) -> Path:
        """The path of a method's finished result."""
        return self.path / f"{name}.json"

    def partial(self, name: str) -> Path:
        """The path of the seeds that an unfinished replication has completed."""
        return self.path / f".{name}.partial.json"

    def read(self, name: str) -> Document | None:
        """A method's finished result; None if there is none.

        Raises:
            DataError: The file is not a stored result.
        """
        own = self.file(name)
        return _read(own if own.exists() else self._shipped / own.name)

    def pilot(self, name: str, claim: Claim) -> Document | None:
        """What the tuning seeds of a claim said, if they were run with the same design; see `tuning.choose`."""
        for path, inner in ((self._pilot(name), False), (self.file(name), True)):
            with contextlib.suppress(DataError):
                found = _read(path) or {}
                kept = found.get("pilot") if inner else found
                if kept and kept["design"] == tuned_design(claim):
                    return dict(kept)
        return None

    def keep_pilot(self, name: str, claim: Claim, found: Values) -> Document:
        """Store what the tuning seeds of a claim said; returns it with the design that it is for."""
        kept = {"design": tuned_design(claim), **_plain(found)}
        _write(self._pilot(name), {"format": FORMAT, **kept})
        self.partial(f"{name}.pilot").unlink(missing_ok=True)
        return kept

    def _pilot(self, name: str) -> Path:
        return self.path / f".{name}.pilot.json"

    def history(self, name: str) -> list[Document]:
        """The designs that were reported for a method, the latest last, each with its verdicts and commit."""
        found = self.read(name)
        if found is None:
            return []
        latest = {"design": design(found["claim"]), **{k: found.get(k) for k in ("verdict", "verdicts", "commit")}}
        latest["verdict"] = found.get("first_verdict", latest["verdict"])
        return [*found.get("history", []), latest]

    def check_seeds(self, name: str, claim: Claim) -> None:
        """Refuse seeds that were reported before for another design of the claim.

        Raises:
            ConfigError: The design changed after results on some of its seeds were seen.
        """
        now = design(_plain(dataclasses.asdict(claim)))
        for past in self.history(name):
            changed = [field for field in DESIGN if past["design"][field] != now[field]]
            used = sorted({*past["design"]["seeds"]} & {*now["seeds"]})
            if changed and used and claim.smallest_effect is not None:
                raise ConfigError(
                    f"The claim of {name} has other {', '.join(changed)} than when seeds {', '.join(map(str, used))} "
                    "were reported, so that it was changed after they were seen; give it seeds that no report has used."
                )

    def finished(self, name: str, basis: Values) -> Document:
        """The seeds that an interrupted replication of the same claim with the same code has finished.

        Args:
            name: the method.
            basis: claim and digests of the code, see `basis`.

        Returns:
            By seed, as a string, its results; empty if there is nothing to continue.
        """
        with contextlib.suppress(DataError):
            found = _read(self.partial(name))
            if found is not None and all(found.get(key) == value for key, value in _plain(basis).items()):
                return dict(found["seeds"])
        return {}

    def keep(self, name: str, basis: Values, seeds: Values) -> None:
        """Store the finished seeds of an unfinished replication."""
        _write(self.partial(name), {"format": FORMAT, **basis, "seeds": seeds})

    def finish(self, name: str, document: Values) -> Path:
        """Write a complete result, replacing the previous one; returns its path."""
        _write(self.file(name), {"format": FORMAT, **document, "history": self.history(name)})
        for path in (self.partial(name), self._pilot(name)):
            path.unlink(missing_ok=True)
        return self.file(name)

    def stale(self, info: CatalogueEntry) -> list[str] | None:
        """The changes since a method's result was stored.

        Args:
            info: a method with a claim.

        Returns:
            The changed files and fields of the claim, empty if the result is fresh; None if there is no result.

        Raises:
            DataError: The file is not a stored result.
        """
        found = self.read(info.name)
        if found is None or info.claim is None:
            return None
        now = basis(info.claim, found.get("ran"))
        before, after = design(found["claim"]), design(_plain(now["claim"]))
        fields = [f"claim.{field}" for field in DESIGN if before[field] != after[field]]
        return [*fields, *code.changed_paths(found["code"], now["code"])]


def design(claim: Values) -> Document:
    """The design of a stored claim, with the fields that the first design did not have."""
    return {field: claim.get(field, _UNNAMED.get(field)) for field in DESIGN}


def tuned_design(claim: Claim) -> Document:
    """The design that the tuning seeds are for: the seeds to report may be chosen after them."""
    return {field: value for field, value in design(_plain(dataclasses.asdict(claim))).items() if field != "seeds"}


def basis(claim: Claim, ran: Mapping[str, Sequence[str]] | None = None) -> Document:
    """The basis of a claim's figures: the claim itself, and the digests of the code that its arms run.

    Args:
        claim: the claim.
        ran: the functions that they called; by default the code that they might run.
    """
    return {"claim": dataclasses.asdict(claim), "code": code.digests(claim, ran)}


def _plain(value: object) -> Any:
    """A value after a round trip through JSON."""
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
    if not isinstance(found, dict) or found.get("format") not in (FORMAT, FIRST):
        raise DataError(f"{path} is not the result of a claim ({FORMAT!r}). Delete it, and run the claim again.")
    found = found if found["format"] == FORMAT else _converted(found)
    if "verdict" in found and found["claim"].get("smallest_effect") is None:
        # By today's rules it decides nothing; what was said then is kept.
        found = {**found, "verdict": "undecided", "works": None, "first_verdict": found["verdict"]}
    return found


def _converted(found: Any) -> Any:
    """A result of the first format in the words of today."""
    if isinstance(found, dict):
        return {key: _WORDS.get(str(value), _converted(value)) for key, value in found.items()}
    return [_converted(one) for one in found] if isinstance(found, list) else found


def _write(path: Path, document: Values) -> None:
    """Write a document atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(_render(document, _DEPTH) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _render(value: object, depth: int) -> str:
    """JSON whose upper levels have one line per entry, for small diffs."""
    if not depth or not isinstance(value, Mapping) or not value:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    indent = "\n" + " " * (_DEPTH - depth + 1)
    entries = (f"{indent}{json.dumps(str(key))}: {_render(item, depth - 1)}" for key, item in value.items())
    return "{" + ",".join(entries) + indent[:-1] + "}"
