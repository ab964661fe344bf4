"""Generates the pages of methods, parts, notebooks and the reference, and refuses undocumented public names."""

import ast
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "docs")]

import pages as made  # noqa: E402
from check_docstrings import public_modules, undocumented  # noqa: E402
from didact import catalogue  # noqa: E402
from didact.claims import entries, multiplicity  # noqa: E402
from didact.claims.store import SHIPPED, ResultStore  # noqa: E402

PACKAGE = ROOT / "src" / "didact"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Check that everything public is documented, and add the generated pages to the navigation."""
    missing = undocumented(PACKAGE)
    if missing:
        raise PluginError("These public names have no docstring:\n" + "\n".join(missing))
    families: dict[str, list[Any]] = {}
    for info in catalogue.listing():
        families.setdefault(info.family.replace("_", "-"), []).append({info.name: _method_page(info)})
    methods: list[Any] = ["methods/index.md", *({family: pages} for family, pages in families.items())]
    config.nav = [*(config.nav or []), {"Methods": methods}, {"Reference": _reference_nav()}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages."""
    pages = {page: _reference(name) for name, page in _modules().items()}
    pages["methods/index.md"] = _methods_index()
    pages |= {_method_page(info): _method(info) for info in catalogue.listing()}
    pages |= {f"notebooks/{path.stem}.md": made.notebook(path) for path in (ROOT / "docs/notebooks").glob("*.ipynb")}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Fill in stored results, and the kinds of parts."""
    text = made.with_evidence(markdown, _store())
    return made.specs(text) if page.file.src_uri == "guides/specs.md" else text


def _modules() -> dict[str, str]:
    """The page of each public module; the methods' are not here, as they have pages of another kind."""
    pages = {}
    for name, path in public_modules(PACKAGE):
        if not name.startswith("didact.methods"):
            folder = path.relative_to(PACKAGE).parent / ("index" if path.stem == "__init__" else path.stem)
            pages[name] = f"reference/{folder.as_posix()}.md"
    return pages


def _reference_nav() -> list[Any]:
    """One section a package, its own page first."""
    nav: list[Any] = []
    sections: dict[str, list[Any]] = {"didact": nav}
    for name, page in sorted(_modules().items()):
        parent, _, last = name.rpartition(".")
        if page.endswith("/index.md") and parent:
            sections[name] = []
            sections[parent].append({last: sections[name]})
        if page.endswith("/index.md"):
            sections[name].append(page)
        else:
            sections[parent].append({last: page})
    return nav


def _reference(name: str) -> str:
    """A module's page: a package's says what it exports, and where that is described."""
    if not _modules()[name].endswith("/index.md"):
        return f"::: {name}\n"
    elsewhere, here = _exports(name)
    lines = [f"::: {name}", "    options:", f"      members: {here or 'false'}", ""]
    if elsewhere:
        lines += ["| name | |", "|---|---|"]
        lines += [f"| [`{word}`][{full}] | {made.cell(summary)} |" for word, full, summary in elsewhere]
    return "\n".join([*lines, ""])


def _exports(name: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """What a package exports that has a page elsewhere (name, full name, summary); and the names of everything else."""
    package = importlib.import_module(name)
    elsewhere, here = [], []
    public = [word for word, value in vars(package).items() if getattr(value, "__module__", None) == name]
    for word in getattr(package, "__all__", [word for word in public if not word.startswith("_")]):
        value = getattr(package, word)
        home = getattr(value, "__module__", name)
        if home != name and home in _modules():
            summary = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
            elsewhere.append((word, f"{home}.{value.__qualname__}", summary))
        elif not word.startswith("__"):
            here.append(word)
    return elsewhere, here


def _method_page(info: catalogue.MethodInfo) -> str:
    return f"methods/{info.family}/{info.name}.md"


def _methods_index() -> str:
    """List every method, what it needs, and the verdict on its claim."""
    head = "# Methods\n\nRun one with `didact run NAME`; `didact show NAME` prints its page."
    store = _store()
    infos = catalogue.listing()
    words = dict(zip(infos, entries.verdict_words(infos, store), strict=True))
    counts = Counter(word for info, word in words.items() if info.claim is not None)
    summary = ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "none"
    corrected = multiplicity.corrected(infos, store)
    lines = [head, "", f"Results of `didact replicate`: {summary}. {multiplicity.sentence(corrected)}", ""]
    columns = (
        "method",
        "family",
        "",
        "needs",
        "formula",
        "mechanism",
        "outcome",
        "effect",
        "seeds",
        "p",
        "Holm",
        "Benjamini-Hochberg",
    )
    lines += [_row(columns), _row(["---"] * len(columns))]
    for info, word in words.items():
        found = entries.catalogue_entry(info, store)
        link = f"[`{info.name}`]({info.family}/{info.name}.md)"
        needs = ", ".join(found["needs"])
        claim = found["claim"] or {}
        effect, seeds = claim.get("sentence") or "", len(claim.get("seeds", [])) or ""
        family = info.family.replace("_", "-")
        chances = [f"{q:.2g}" for q in corrected.get(info.name, {}).values()] or [""] * 3
        checks = len(found["mechanism"]) if isinstance(found["mechanism"], list) else bool(found["mechanism"])
        shown = f"{checks:d} checked" if checks else ""
        formula = "authors' code" if str(found["formula"]).startswith("Compared with") else "transcription"
        lines.append(_row([link, family, info.title, needs, formula, shown, word, effect, str(seeds), *chances]))
    return "\n".join([*lines, ""])


def _store() -> ResultStore:
    return ResultStore(SHIPPED)


def _claim(claim: dict[str, Any]) -> list[str]:
    """The section of a method's page about its claim."""
    lines = ["", "## Claim", "", claim["statement"], "", f"{claim['shows']} Not shown: {claim['omits']}", ""]
    if claim["verdict"] is None:
        return [*lines, "Not run yet.", ""]
    for rows in claim["tables"]:
        lines += [_row(rows[0]), _row(["---"] * len(rows[0])), *(_row(row.values()) for row in rows), ""]
    lines += [f"**{claim['verdict']}**: {claim['sentence']}", ""]
    lines += [claim["floor"]["sentence"], ""] if claim["floor"] else []
    if claim["first_design"]:
        lines += ["First design, undecided by today's rules: no smallest effect of interest was named.", ""]
    seeds, axis = ", ".join(map(str, claim["seeds"])), claim["budget"]["axis"].replace("_", " ")
    lines += [f"World {claim['world']}, seeds {seeds}, equal {axis}, at commit `{claim['commit']}`.", ""]
    return lines if claim["fresh"] else [*lines, f"Stale: {', '.join(claim['changed'])} changed since.", ""]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(made.cell, cells))} |"


def _method(info: catalogue.MethodInfo) -> str:
    """A method's page: its docstring, its claim, its options, its class."""
    lines = [f"# {info.name}", "", info.description, ""]
    claim = entries.catalogue_entry(info, _store())["claim"]
    lines += _claim(claim) if claim else []
    if info.options:
        lines += ["## Options", "", "| option | type | default | |", "|---|---|---|---|"]
        for option in info.options:
            default = "required" if option.default is None else f"`{made.cell(option.default)}`"
            flag = option.name.replace("_", "-")
            lines.append(f"| `--{flag}` | `{made.cell(option.type)}` | {default} | {made.cell(option.help)} |")
    classes = [node for node in ast.parse(info.path.read_text()).body if isinstance(node, ast.ClassDef)]
    for node in classes:
        if any(ast.unparse(base).endswith("Method") for base in node.bases):
            lines += ["", f"::: {info.module}.{node.name}", "    options:", "      heading_level: 2", ""]
    return "\n".join(lines)
