"""What worlds say of themselves, and what holds for each of them."""

import re
from pathlib import Path

import pytest
import torch

from didact import sources, worlds
from didact.errors import ConfigError, MissingExtraError
from didact.worlds.gaussian import MIXTURES, bayes_accuracy, distribution

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "data.md"


@pytest.fixture(params=[name for name in worlds.names("examples") if not name.startswith("ucr:")])
def name(request):
    """Every world but those of a package that is no dependency."""
    return request.param


def test_a_world_is_what_its_docstring_promises(name):
    """Every tensor that the docstring names is there, of that type, for that many examples."""
    examples = worlds.load(name)
    examples.batch().check()
    promised = re.sub(r"\s+", " ", (worlds.describe(name).make.__doc__ or "").split("Returns:")[1])
    for key, tensor in examples.tensors.items():
        assert f"`{key}`" in promised
        if not name.startswith("stdlib:"):
            assert str(examples.size) in promised
        assert str(tensor.dtype).removeprefix("torch.") in promised
    assert examples.name == name
    assert worlds.load(name) is examples


def test_ids_are_unique_and_inputs_finite(name):
    examples = worlds.load(name)
    assert examples.tensors["id"].unique().numel() == examples.size
    if "x" in examples.tensors:
        assert examples.tensors["x"].isfinite().all()
    if examples.modality == "image":
        assert examples.tensors["x"].min() >= 0
        assert examples.tensors["x"].max() <= 1


def test_a_world_is_the_same_when_it_is_made_again(name):
    again = worlds.describe(name).make.__wrapped__()
    for key, tensor in worlds.load(name).tensors.items():
        assert torch.equal(again.tensors[key], tensor)


def test_no_input_is_in_two_splits(name):
    for seed in range(3):
        assert sources.find_duplicates(sources.split(worlds.load(name), seed=seed)) == []


@pytest.mark.parametrize("name", worlds.names())
def test_a_world_is_described_without_being_loaded(name, monkeypatch):
    monkeypatch.setattr("didact.types.Examples.__init__", None)
    monkeypatch.setattr("didact.types.Questions.__init__", None)
    world = worlds.describe(name)
    assert world.name == name
    for text in (world.summary, world.real, world.simulated, world.known):
        assert text[0].isalnum()
        assert text.endswith(".")
        assert "\n" not in text
    if name in worlds.names("examples"):
        assert world.real == "nothing." or name not in MIXTURES


def test_the_guide_lists_every_world_with_its_summary():
    rows = dict(re.findall(r"^\| `([\w:]+)` \| (.+) \|$", GUIDE.read_text().split("## Worlds")[1], re.MULTILINE))
    assert rows == {name: worlds.describe(name).summary for name in worlds.names()}


def test_an_unknown_world_cannot_be_described():
    with pytest.raises(ConfigError, match=r"no world 'dgits'\. Did you mean digits.* `didact list worlds` prints them"):
        worlds.describe("dgits")


def test_what_nobody_knows_is_refused_with_what_is_known():
    with pytest.raises(ConfigError, match=r"'wine', whose distribution is not known\. Known: gaussian:families, "):
        bayes_accuracy("wine")
    with pytest.raises(ConfigError, match="Did you mean gaussian:zipf"):
        distribution("gaussian:zip")


def test_a_missing_package_is_named_for_tables_too(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"'wine' needs .* pip install 'didact\[data\]'"):
        worlds.describe("wine").make.__wrapped__()
