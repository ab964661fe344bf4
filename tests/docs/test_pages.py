"""The pages that are made from code, results and notebooks, and the tables that name options, say what is true."""

import ast
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from didact import catalogue
from didact.claims import entries
from didact.claims.store import SHIPPED, ResultStore
from didact.cli import flags, parser
from didact.parts.kinds import ROLES, kinds

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = _file(ROOT / "docs" / "pages.py")
run_notebooks = _file(ROOT / "scripts" / "run_notebooks.py")


def test_a_notebook_is_stored_with_what_its_cells_print():
    """`make docs` runs the notebooks themselves."""
    document = {"cells": [{"cell_type": "code", "id": "a", "source": ["x = 2\n", "print(x + 1)\nprint(x)"]}]}
    (cell,) = run_notebooks.run(document)["cells"]
    assert cell["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["3\n", "2\n"]}]
    for path in run_notebooks.NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            prints = cell["cell_type"] == "code" and "print(" in "".join(cell["source"])
            assert bool(cell.get("outputs")) == prints, (path, cell["id"])


def test_a_notebook_becomes_a_page_with_its_output():
    page = pages.notebook(run_notebooks.NOTEBOOKS / "digits.ipynb")
    assert page.startswith("# Does the teacher help?\n\n*This page is a notebook")
    assert "```python\nimport didact\n" in page
    assert re.search(r"```text\nsupervised +\d\d\.\d", page)


def test_the_page_of_specs_has_every_kind():
    page = pages.specs((GUIDES / "specs.md").read_text())
    for role in ROLES:
        for kind in kinds(role).values():
            forms = [f"`{form}`" for form in kind.form.split(" | ")]
            assert f"| {'<br>'.join(forms)} | `{kind.example}` | {kind.help}" in page
            assert kind.description.partition("\n\n")[2] in page


def test_stored_results_are_filled_in():
    store = ResultStore(SHIPPED)
    claim = entries.catalogue_entry(catalogue.find("distill"), store)["claim"]
    filled = pages.with_evidence("| {{ evidence distill }} |", store)
    assert filled.startswith(f"| **{claim['verdict']}** ({claim['world']}, {len(claim['seeds'])} seeds")
    assert filled.endswith(f": {claim['sentence']} |") and ("stale" in filled) != claim["fresh"]
    named = [name for page in PAGES for name in re.findall(r"\{\{ evidence (\w+) \}\}", page.read_text())]
    assert len(named) > 10
    assert all(catalogue.find(name).claim for name in named)


def _options(method):
    """The flags of a method's own options."""
    switches = {f"--no-{option.name}" for option in catalogue.find(method).options if option.type == "bool"}
    return switches | {"--" + option.name.replace("_", "-") for option in catalogue.find(method).options}


def test_every_option_that_a_trl_user_is_told_of_exists():
    """The option of `METHOD --OPTION` is the method's own; any other is one of every run."""
    every = {"--" + name.replace("_", "-") for name in (*flags.run_options(), "steps", "epochs", "seconds", "budget")}
    rows = [line.split(" | ") for line in (GUIDES / "trl.md").read_text().splitlines() if line.startswith("| ")]
    spans = [span for row in rows if len(row) == 3 for span in re.findall(r"`([^`]+)`", row[1])]
    checked = 0
    for span in spans:
        words = span.removeprefix("didact ").removeprefix("run ").split()
        named = {word for word in words if word.startswith("--")}
        if words[0] == "distill" or words[0] in parser.COMMANDS:
            assert words[0] in parser.COMMANDS and named <= _options("gkd"), span
        elif not words[0].startswith("--") and words[0] != "torchrun":
            assert named <= _options(words[0]), span
        else:
            assert named <= every, span
        checked += len(named)
    assert checked > 40
    assert "--nowhere" not in every and "--kl" not in every and "--kl" in _options("grpo")


def _checks():
    """The names of the doctor's checks, as they are made in the code."""
    made = (
        node
        for path in (ROOT / "src" / "didact").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Check" and len(node.args) > 1
    )
    return {node.args[1].value for node in made if isinstance(node.args[1], ast.Constant)}


def test_every_check_of_the_doctor_is_described():
    lines = (GUIDES / "doctor.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    described = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(described) == len(set(described)) > 30
    assert set(described) == _checks()


def test_what_a_run_leaves_is_described_whole():
    import torch

    from didact.evaluation import Predictions, metrics
    from didact.experiment.running import RunResult

    text = (GUIDES / "results.md").read_text()
    tree = ast.parse(Path(importlib.import_module(RunResult.__module__).__file__).read_text())
    made = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "as_dict")
    keys = [key.value for key in made.body[-1].value.keys]
    assert len(keys) > 10
    logits, labels = torch.randn(6, 2), torch.arange(6) % 2
    found = {
        **metrics(Predictions(logits=logits, labels=labels, task="classification", classes=("a", "b"))),
        **metrics(Predictions(logits=logits[:, :1], labels=logits[:, 1], task="regression")),
    }
    for name in (*keys, *found):
        assert f"`{name}`" in text, name


def _imports(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_on_every_page_imports_what_there_is(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for module, name in _imports(block):
            if module.split(".")[0] == "didact" and "annealing_kd" not in module:
                found = importlib.import_module(module)
                is_module = (
                    name and importlib.util.find_spec(f"{module}.{name}") if hasattr(found, "__path__") else None
                )
                assert name is None or is_module or hasattr(found, name), (module, name)
