"""The published systems that didact is to hold, and what covers each. Nothing here imports torch."""

import re
from collections.abc import Iterator
from functools import cache

from didact import catalogue, mechanisms
from didact.catalogue import CatalogueEntry
from didact.claims.store import ResultStore
from didact.documents import Document, parse_toml, read_json, read_text
from didact.errors import ConfigError, nearest
from didact.options import PACKAGE

_COMPARED = re.compile(r"Compared with (?!no ).*?\b([\w.-]+/[\w.-]+).*")
"""What a docstring says of the authors' code, from there to the end of the paragraph."""
FACTS = PACKAGE / "systems.json"
"""For each system its `id`, `title` and the `kind` it is planned as; for one that is left out, the `reason`."""


def listing(store: ResultStore) -> list[Document]:
    """All systems by id, ready for JSON.

    Args:
        store: where the results of claims are stored.

    Returns:
        For each `id` and `title`; `covered_by`, the names of the methods and recipes whose claims name it; `kind`, that
        of what covers it, or the planned one: `method`, `variant`, `recipe`, `study`, `world` or `outside`; and the
        evidence, by what covers it: `formula` and `mechanism`, where they are shown, and `outcome`, the verdict on the
        claim. What has not been shown is None. A system that is left out has a `reason`.

    Raises:
        ConfigError: a claim names an unknown system.
        DataError: a stored result cannot be read.
    """
    covering = _covering()
    return [_entry(fact, covering.get(fact["id"], []), store) for fact in facts()]


@cache
def facts() -> tuple[Document, ...]:
    """The facts about each system, by id."""
    return tuple(read_json(FACTS))


def _covering() -> dict[str, list[CatalogueEntry]]:
    """By system, what covers it."""
    known, found = {fact["id"] for fact in facts()}, dict[str, list[CatalogueEntry]]()
    for entry in (*catalogue.listing(), *catalogue.recipes()):
        for system in entry.claim.systems if entry.claim else ():
            if system not in known:
                raise ConfigError(f"The claim of {entry.name!r} names the system {system!r}. {nearest(system, known)}")
            found.setdefault(system, []).append(entry)
    return found


def _entry(fact: Document, covering: list[CatalogueEntry], store: ResultStore) -> Document:
    shown = {entry.name: evidence(entry) for entry in covering}
    return {
        "id": fact["id"],
        "title": fact["title"],
        "covered_by": list(shown),
        "kind": covering[0].kind if covering else fact["kind"],
        "formula": {name: found.get("formula") for name, found in shown.items()},
        "mechanism": {name: found.get("mechanism") for name, found in shown.items()},
        "outcome": {entry.name: (store.read(entry.name) or {}).get("verdict") for entry in covering},
        **({"reason": fact["reason"]} if "reason" in fact else {}),
    }


def evidence(entry: CatalogueEntry) -> dict[str, object]:
    """What shows the `formula` and the `mechanism` of an entry, where its file or its checks say so."""
    return dict(_evidence(entry))


def _evidence(entry: CatalogueEntry) -> Iterator[tuple[str, object]]:
    """The tests of the formula and of the mechanism, as the file names them, and the checks of the mechanism."""
    if entry.path.suffix == ".toml":
        found = parse_toml(read_text(entry.path))
        yield from ((part, found[part]) for part in ("formula", "mechanism"))
        return
    for part in re.split(r"\n\s*\n", entry.description):
        name, colon, words = " ".join(part.split()).partition(": ")
        if colon and name in ("Formula", "Mechanism"):
            yield name.lower(), words.strip("`.")
        elif found := _COMPARED.search(" ".join(part.split())):
            yield "formula", found[0]
    if checks := [*mechanisms.read(entry.path), *mechanisms.described(entry.name)]:
        yield "mechanism", checks
