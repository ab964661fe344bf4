"""Methods are found by their path, and described without importing them."""

import ast

import pytest

from didact import catalogue
from didact.errors import ConfigError
from didact.experiment import config as configs
from didact.learners import HIDDEN
from didact.types import Method

METHOD = '''"""A method of one's own.

It does little.
"""

from dataclasses import dataclass

from didact.errors import check_range
from didact.losses.labels.supervised import label_loss
from didact.types import Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    scale: float = 1.0  # what the loss is multiplied by
    often: int  # needed

    def __post_init__(self) -> None:
        check_range("scale", self.scale, above=0)


class Mine(Method):
    def __init__(self, config, learner):
        self.config, self.learner = config, learner

    def loss(self, batch):
        return Terms(label=label_loss(self.learner(batch).logits, batch["label"]).times(self.config.scale))
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return path


def test_the_listing_is_what_lies_in_the_folders():
    files = {path.stem: path.parent.name for path in catalogue.METHODS.glob("*/*.py") if path.stem != "__init__"}
    assert {info.name: info.family for info in catalogue.listing()} == files
    assert {"supervised", "distill", "fitnet", "mutual_learning", "mean_teacher"} <= set(catalogue.names())


def test_every_method_describes_itself_and_its_options():
    runs = {*configs.flags(), *configs.SHORTHANDS}
    for info in catalogue.listing():
        assert len(info.title) > 10
        assert info.title.endswith(".")
        assert "Departures" in info.description
        for option in info.options:
            assert option.help, f"{info.name}.{option.name} has no comment at the end of its line"
            assert option.name not in runs


def test_the_source_and_the_class_agree():
    for info in catalogue.listing():
        config = catalogue.build_config(info, {})
        for option in info.options:
            written = {"HIDDEN": HIDDEN}.get(option.default)
            assert getattr(config, option.name) == (ast.literal_eval(option.default) if written is None else written)
        assert issubclass(info.method_type, Method)


def test_hyphens_are_as_good_as_underscores():
    assert catalogue.find("mean-teacher").name == "mean_teacher"


def test_a_file_of_ones_own(mine):
    info = catalogue.find(str(mine))
    assert (info.name, info.family, info.title) == ("mine", "yours", "A method of one's own.")
    assert info.method_type.__name__ == "Mine"
    assert catalogue.build_config(info, {"often": "3"}).often == 3


def test_a_module_of_ones_own(mine, monkeypatch):
    package = mine.parent / "my_package_of_methods"
    package.mkdir()
    (package / "__init__.py").write_text("")
    mine.rename(package / "mine.py")
    monkeypatch.syspath_prepend(str(mine.parent))
    info = catalogue.find("my_package_of_methods.mine")
    assert info.name == "mine"
    assert info.config_type.__module__ == "my_package_of_methods.mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("distil", "There is no method 'distil'. Did you mean distill"),
        ("zzzz", "There is no method 'zzzz'. Known: "),
        ("nowhere/method.py", "The method's file 'nowhere/method.py' does not exist."),
        ("no_such_package.method", "There is no method 'no_such_package.method': no such module"),
    ],
)
def test_unknown_methods(name, said):
    with pytest.raises(ConfigError) as caught:
        catalogue.find(name)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scal": 1, "often": 1}, "The method 'mine' has no option 'scal'. Did you mean scale?"),
        ({"scale": "big", "often": 1}, "scale is 'big', but must be a number."),
        ({"scale": "-1", "often": 1}, "scale is -1.0, but must be above 0."),
        ({}, "The method 'mine' needs a value for its option 'often'."),
    ],
)
def test_options_that_cannot_be(mine, options, said):
    with pytest.raises(ConfigError) as caught:
        catalogue.build_config(catalogue.find(str(mine)), options)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:", "cannot be read as Python"),
        ('"""Nothing."""\n', "has no dataclass named Config"),
        ('"""No method."""\nimport dataclasses\n@dataclasses.dataclass\nclass Config: pass\n', "holds none"),
        (
            '"""Two."""\nimport dataclasses\nfrom didact.types import Method\n@dataclasses.dataclass\n'
            "class Config: pass\nclass A(Method): pass\nclass B(Method): pass\n",
            "holds A, B",
        ),
    ],
)
def test_files_that_are_no_method(tmp_path, source, said):
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(ConfigError, match=said):
        info = catalogue.find(str(path))
        catalogue.build_config(info, {})
        _ = info.method_type


def test_two_methods_of_one_name_are_refused(tmp_path, monkeypatch):
    for family in ("a", "b"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "same.py").write_text('"""Same."""')
    monkeypatch.setattr(catalogue, "METHODS", tmp_path)
    catalogue._paths.cache_clear()
    try:
        with pytest.raises(ConfigError, match="Two methods are named 'same'"):
            catalogue.names()
    finally:
        catalogue._paths.cache_clear()


EXTENDED = '''"""Group rewards, with more of something."""

from dataclasses import dataclass

from didact.methods.language import grpo
from didact.methods.language.grpo import GRPO as Base


@dataclass(frozen=True, kw_only=True)
class Config(grpo.Config):
    more: float = 1.0  # of something
    clip_low: float = 0.1  # lower than there


class Mine(Base):
    pass
'''


@pytest.mark.parametrize("name", catalogue.names())
def test_a_method_is_read_on_one_screen_or_two(name):
    lines = catalogue.find(name).path.read_text().splitlines()
    assert len(lines) <= 150, f"{len(lines)} lines: move a formula to losses/, or what a second method has down a room"


def test_what_a_method_extends_is_part_of_it(tmp_path):
    (tmp_path / "mine.py").write_text(EXTENDED)
    info, base = catalogue.find(str(tmp_path / "mine.py")), catalogue.find("grpo")
    assert [option.name for option in info.options] == [*(option.name for option in base.options), "more"]
    lower = next(option for option in info.options if option.name == "clip_low")
    assert (lower.default, lower.help) == ("0.1", "lower than there")
    assert (info.material, info.needs, info.feed) == (base.material, base.needs, base.feed)
    config = catalogue.build_config(info, {"clip_low": "0.05", "more": "2"})
    assert (config.clip_low, config.more) == (0.05, 2.0)
    assert info.method_type.__name__ == "Mine"
