"""The systems that didact is to hold, and the recipes that cover some of them."""

import ast
import json
import re
from pathlib import Path

import pytest

from didact import catalogue
from didact.claims import entries, systems
from didact.claims.store import SHIPPED, ResultStore
from didact.cli import main
from didact.errors import ConfigError

ROOT = Path(__file__).parents[2]
STORE = ResultStore(SHIPPED)
RECIPE = """
title = "A recipe."
kind = "variant"
description = "It composes."
formula = "here"
mechanism = "there"

[claim]
statement = "One is better than the other."
method = "one"
baseline = "other"
cheap = "other"
equal = "steps"
shows = "Something."
omits = "The rest."
seeds = [100, 101, 102, 103, 104]
systems = ["bd-kd"]

[claim.arms]
one = "distill"
other = "supervised"

[claim.settings]
steps = 10
"""


def by_id():
    return {one["id"]: one for one in systems.listing(STORE)}


@pytest.fixture(scope="module")
def covered():
    """All systems; each file of a method or a recipe is read for it."""
    return by_id()


def test_there_is_one_fact_for_each_system():
    facts = systems.facts()
    names = [fact["id"] for fact in facts]
    assert len(set(names)) == len(names) == 448
    assert names == sorted(names)
    assert {fact["kind"] for fact in facts} == {"method", "variant", "recipe", "study", "world", "outside"}
    assert all(fact["title"].strip() and (("reason" in fact) == (fact["kind"] == "outside")) for fact in facts)


def test_a_system_is_covered_by_what_claims_it(covered):
    found = covered
    stated = {}
    for info in catalogue.listing():
        for system in re.findall(r'systems=\("([\w-]+)",\)', info.path.read_text()):
            stated.setdefault(system, []).append(info.name)
    for name, covering in stated.items():
        assert [one for one in found[name]["covered_by"] if one in covering] == covering
        assert found[name]["kind"] == "method"
        stored = [(STORE.read(one) or {}).get("verdict") for one in covering]
        assert [found[name]["outcome"][one] for one in covering] == stored
    assert found["can-a-student-large-language-model"]["covered_by"] == ["distill_sweep"]
    assert found["can-a-student-large-language-model"]["kind"] == "study"
    assert found["planerectr"]["covered_by"] == []
    assert "one task" in found["planerectr"]["reason"]


@pytest.mark.parametrize("recipe", catalogue.recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_names_tests_that_are_there_and_says_what_it_leaves_out(recipe, covered):
    """Its evidence can be run, and its arms are arms."""
    shown = systems.evidence(recipe)
    for system in recipe.claim.systems:
        assert all(covered[system][part][recipe.name] == named for part, named in shown.items())
    for part in ("formula", "mechanism"):
        path, _, test = shown[part].partition("::")
        defined = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert test in defined
    assert "Departures" in recipe.description
    assert recipe.title.endswith(".")
    assert entries.claim_entry(recipe, STORE)["claim"]["statement"] == recipe.claim.statement


@pytest.mark.parametrize("method", catalogue.listing(), ids=lambda method: method.name)
def test_a_method_names_the_test_of_its_formula(method):
    """Its values, at least, are compared there with a transcription that is not its own."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", " ".join(method.description.split()))
    assert named and systems.evidence(method)["formula"]
    for path, test in named:
        defined = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert test in defined, f"{path} has no {test}"


def test_the_evidence_of_a_method_is_what_its_file_says(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine.\n\nFormula: `tests/a.py::test_b`.\n\nMechanism: `tests/a.py::test_c`.\n"""\n\n'
        '@mechanism(world="digits", control="random teacher")\ndef check(): ...\n'
    )
    found = dict(systems._evidence(catalogue.find(str(path))))
    assert found["formula"] == "tests/a.py::test_b"
    assert found["mechanism"] == [{"name": "check", "world": "digits", "control": "random teacher"}]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "RECIPES", tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_found_and_read(recipe):
    found = catalogue.find_claim("mine")
    assert (found.name, found.kind, found.title) == ("mine", "variant", "A recipe.")
    assert found.claim.seeds == (100, 101, 102, 103, 104)
    assert by_id()["bd-kd"]["covered_by"] == ["bd_kd", "mine"]
    shown = by_id()["bd-kd"]["formula"]
    assert set(shown) == {"bd_kd", "mine"}
    assert shown["mine"] == "here"
    assert entries.select_methods(["mine"], family=None, stale=False, every=False, store=STORE) == ["mine"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "variant"', 'kind = "vairant"', r"The kind of the recipe .* is 'vairant'.* Did you mean variant"),
        ('formula = "here"', 'formulas = "here"', r"A field of the recipe .* is 'formulas'.* Did you mean formula"),
        ('mechanism = "there"', "", r"has no mechanism; give one"),
        ('equal = "steps"', 'equals = "steps"', r"The claim in .* cannot be made: .*'equals'"),
        ('method = "one"', 'method = "two"', r"The claim's method is 'two'"),
        ('title = "A recipe."', "title = ", r"cannot be read"),
        ('systems = ["bd-kd"]', 'systems = ["bd-dk"]', r"'mine' names the system 'bd-dk'\. Did you mean bd-kd"),
    ],
)
def test_what_a_recipe_refuses(recipe, old, new, said):
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        by_id()


def test_neither_a_method_nor_a_recipe():
    with pytest.raises(ConfigError, match=r"no method or recipe 'distill-swep'\. Did you mean distill_sweep"):
        catalogue.find_claim("distill-swep")


def test_the_command_line(capsys):
    assert main(["list", "systems"]) == 0
    assert f"of {len(systems.facts())} are covered" in " ".join(capsys.readouterr().out.split())
    assert main(["list", "recipes"]) == 0
    assert "distill_sweep" in capsys.readouterr().out
    assert main(["show", "distill-sweep"]) == 0
    assert "Its claim: " in capsys.readouterr().out


def test_a_list_for_programs(capsys):
    assert main(["list", "systems", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found[0]) == {"id", "title", "covered_by", "kind", "formula", "mechanism", "outcome"}
    assert len(found) == 448
