"""Pages and passages of the documentation that are made from the code, from stored results and from notebooks."""

import json
import re
import statistics
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from didact import catalogue
from didact.catalogue import CatalogueEntry
from didact.claims import code, entries, multiplicity
from didact.claims.store import SHIPPED, ResultStore
from didact.documents import Values
from didact.parts.kinds import Kind, kinds

ROLES = {"student": "Students", "teacher": "Teachers", "verifier": "Verifiers", "environment": "Environments"}
_SUMMARY = re.compile(r"(<!-- verdicts: make verdicts -->)\n.*?\n(<!-- end of verdicts -->)", re.DOTALL)
_EVIDENCE = re.compile(r"\{\{ evidence (\w+) \}\}")


def specs(grammar: str) -> str:
    """The page of the grammar of specs, with every kind of part.

    Args:
        grammar: what is said before the kinds.
    """
    lines = [grammar]
    for role, title in ROLES.items():
        found = kinds(role)
        lines += ["", f"## {title}", "", "| written | for example | |", "|---|---|---|"]
        lines += [_kind(kind) for kind in found.values()]
        for kind in found.values():
            more = kind.description.partition("\n\n")[2].strip()
            lines += ["", f"**`{kind.name}`.** {more}"] if more else []
    return "\n".join([*lines, ""])


def _kind(kind: Kind) -> str:
    form = "<br>".join(f"`{cell(one)}`" for one in kind.form.split(" | "))
    limits = f" For {' and '.join(kind.materials)} only." if len(kind.materials) == 1 else ""
    return f"| {form} | `{cell(kind.example)}` | {cell(kind.help)}{limits} |"


def cell(text: str) -> str:
    """The text of a cell: a bar would end it."""
    return text.replace("|", "\\|")


def with_evidence(text: str, store: ResultStore) -> str:
    """Fill in what was measured: `{{ evidence METHOD }}` becomes the verdict on the claim of a method, with figures."""
    return _EVIDENCE.sub(lambda found: evidence(found[1], store), text)


def evidence(method: str, store: ResultStore) -> str:
    """The verdict on the claim of a method, with figures and where they were measured.

    Raises:
        ConfigError: There is no such method.
    """
    claim = entries.catalogue_entry(catalogue.find(method), store)["claim"]
    if claim is None:
        return "no claim"
    if claim["verdict"] is None:
        return "not run yet"
    stale = "" if claim["fresh"] else ", stale"
    place = f"{claim['world']}, {len(claim['seeds'])} seeds{stale}"
    return cell(f"**{claim['verdict']}** ({place}): {claim['sentence']}")


def summary(store: ResultStore) -> str:
    """The verdicts on the claims of all methods in a paragraph, for the README."""
    infos = [info for info in catalogue.listing() if info.claim is not None]
    found = {info.name: store.read(info.name) or {} for info in infos}
    decided = {name: one for name, one in found.items() if one and "first_verdict" not in one}
    count = Counter(one["verdict"] for one in decided.values())
    words = [
        f"Claims of methods: {len(found)}; decided by these rules: {len(decided)}.",
        f"Against the tuned baseline {count['better']} are better, {count['equivalent']} equivalent, "
        f"{count['worse']} worse and {count['undecided']} undecided (`didact list` shows which).",
    ]
    words += _gains_over_distill(infos, decided)
    words.append(_named("Better than baseline and ablation", [n for n, one in decided.items() if one.get("works")]))
    old = sum("first_verdict" in one for one in found.values())
    words += [f"Of the first design, and so undecided: {old}."] * bool(old)
    missing = sum(not one for one in found.values())
    words += [f"Not run yet: {missing}."] * bool(missing)
    words.append(multiplicity.sentence(multiplicity.corrected(infos, store)))
    return textwrap.fill(" ".join(words), 120, break_long_words=False, break_on_hyphens=False)


def _gains_over_distill(infos: Sequence[CatalogueEntry], decided: Mapping[str, Values]) -> Iterator[str]:
    """The median gain in accuracy over a tuned `distill`, and the range, as a sentence."""
    claims = {info.name: info.claim for info in infos if info.claim is not None and info.claim.metric == "accuracy"}
    gains = {
        name: one["effect"]
        for name, one in decided.items()
        if name in claims and code.method_of(claims[name].arms[claims[name].baseline]) == "distill"
    }
    if gains:
        lowest, median, highest = (100 * one(gains.values()) for one in (min, statistics.median, max))
        yield (
            f"The {len(gains)} methods compared with `distill` gain a median of {median:+.1f} points of accuracy "
            f"({lowest:+.1f} to {highest:+.1f})."
        )


def _named(about: str, names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names)
    return f"{about}: {len(names)} ({shown})." if names else f"{about}: none."


def with_summary(readme: str, store: ResultStore) -> str:
    """The README with the verdicts as they are stored now."""
    return _SUMMARY.sub(lambda found: f"{found[1]}\n{summary(store)}\n{found[2]}", readme)


def notebook(path: Path) -> str:
    """A page with the cells of a notebook and what they printed."""
    found = json.loads(path.read_text(encoding="utf-8"))
    note = f"*This page is a notebook of the repository, `docs/notebooks/{path.name}`, which `make docs` runs.*"
    first, *rest = [block for one in found["cells"] for block in _cell(one)]
    title, _, opening = first.partition("\n\n")
    return "\n\n".join([title, note, opening, *rest, ""])


def _cell(found: dict[str, Any]) -> Iterator[str]:
    source = "".join(found["source"])
    if found["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    printed = "".join(text for output in found["outputs"] for text in output.get("text", []))
    if printed:
        yield f"```text\n{printed.rstrip()}\n```"


if __name__ == "__main__":
    readme = Path(__file__).parent.parent / "README.md"
    readme.write_text(with_summary(readme.read_text(encoding="utf-8"), ResultStore(SHIPPED)), encoding="utf-8")
