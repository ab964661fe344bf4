"""Catalogue entries of methods and claims, from their files and stored results. Nothing here imports torch."""

from collections import Counter
from collections.abc import Sequence

from didact import catalogue
from didact.catalogue import CatalogueEntry, MethodInfo
from didact.claims import code
from didact.claims.store import ResultStore
from didact.claims.systems import evidence
from didact.documents import Document
from didact.errors import ConfigError, nearest

_KEPT = (
    *("effect", "interval", "effect_on_cheap", "interval_on_cheap", "verdict", "works", "verdicts", "sentence"),
    *("floor", "tables", "budget", "cost", "teachers", "pilot", "history", "commit", "versions"),
)


def catalogue_entry(info: MethodInfo, store: ResultStore) -> Document:
    """A method's entry in the catalogue, ready for JSON.

    Args:
        info: the method.
        store: where results are stored.

    Returns:
        `name`, `family`, `title`, `module`, `material`, `systems`, `needs` and `options`; what shows the `formula` and
        the `mechanism`, or None; and `claim`, which is None for a method without one. Without a result, its `verdict`
        is None.

    Raises:
        ConfigError: The claim in the method's file cannot be read.
        DataError: The stored result cannot be read.
    """
    options = [{"name": o.name, "type": o.type, "default": o.default, "help": o.help} for o in info.options]
    return {
        **claim_entry(info, store),
        "material": info.material,
        "use": info.use,
        "needs": list(info.needs),
        "options": options,
    }


def claim_entry(info: CatalogueEntry, store: ResultStore) -> Document:
    """The part of `catalogue_entry` that recipes have too, with their `kind`."""
    return {
        "name": info.name,
        "kind": info.kind,
        "family": info.family,
        "title": info.title,
        "module": info.module,
        "systems": list(info.claim.systems) if info.claim else [],
        **{"formula": None, "mechanism": None, **evidence(info)},
        "claim": _claim(info, store),
    }


def _claim(info: CatalogueEntry, store: ResultStore) -> Document | None:
    claim = info.claim
    if claim is None:
        return None
    found, changed = store.read(info.name) or {}, store.stale(info)
    roles = {arm: "cheap alternative" if role == "cheap" else role for role, arm in reversed([*claim.roles()])}
    roles[claim.method] = "method"
    summary = found.get("summary", {})
    arms = {
        name: {"settings": arm, "role": roles.get(name, "control"), **summary.get(name, {})}
        for name, arm in claim.arms.items()
    }
    return {
        "statement": claim.statement,
        "shows": claim.shows,
        "omits": claim.omits,
        "world": claim.world,
        "metric": claim.metric,
        "settings": dict(claim.settings),
        "arms": arms,
        "seeds": [int(seed) for seed in found.get("seeds", {})],
        **{key: found.get(key) for key in _KEPT},
        "smallest_effect": claim.smallest_effect,
        "first_design": "first_verdict" in found,
        "fresh": changed == [],
        "changed": changed or [],
    }


def verdict_words(infos: Sequence[CatalogueEntry], store: ResultStore) -> list[str]:
    """The verdict on each method in a word or two, for a list; whether it is stale is told by `didact show`."""
    counts = baselines()
    return [_word(info, store, counts[info.name]) for info in infos]


def _word(info: CatalogueEntry, store: ResultStore, claims: int) -> str:
    if info.claim is None:
        return f"baseline of {claims}" if claims else "no claim"
    found = store.read(info.name)
    if found is None:
        return "not run yet"
    caveats = found.get("verdicts", {}).get("baseline", {}).get("caveats")
    word = f"{found['verdict']}{'*' if caveats else ''}{', works' if found.get('works') else ''}"
    return "first design" if "first_verdict" in found else word


def baselines() -> Counter[str]:
    """The number of claims with each method as the baseline."""
    claims = [info.claim for info in catalogue.listing() if info.claim is not None]
    return Counter(code.method_of(claim.arms[claim.baseline]) for claim in claims)


def select_methods(
    names: Sequence[str], *, family: str | None, stale: bool, every: bool, store: ResultStore
) -> list[str]:
    """Select the methods whose claims are replicated.

    Args:
        names: methods by name, module or file.
        family: all methods of a family that have a claim.
        stale: only those with a missing or stale result; of all methods if neither names nor a family are given.
        every: all methods that have a claim.
        store: where results are stored.

    Raises:
        ConfigError: None or several of the options are given, or the family is unknown.
    """
    ways = [bool(names), family is not None, every]
    if sum(ways) > 1 or not (any(ways) or stale):
        raise ConfigError("Give the claims to replicate by one of: names of methods, --family F, --stale, --all.")
    infos = [catalogue.find_claim(name) for name in names] if names else [*catalogue.listing(), *catalogue.recipes()]
    if family is not None:
        plain, known = family.replace("-", "_"), sorted({info.family for info in infos})
        if plain not in known:
            raise ConfigError(f"There is no family {family!r}. {nearest(plain, known)}")
        infos = [info for info in infos if info.family == plain]
    if not names:
        infos = [info for info in infos if info.claim is not None]
    if stale:
        infos = [info for info in infos if store.stale(info) != []]
    return [str(info.path) if info.family == "yours" else info.name for info in infos]
