"""The worked example of CONTRIBUTING.md, taken from there and run."""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHOD, TEST = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


@pytest.fixture
def method_file(tmp_path):
    path = tmp_path / "annealing_kd.py"
    path.write_text(METHOD)
    return path


def test_the_method_is_found_by_its_path(method_file):
    from didact import catalogue

    info = catalogue.find(str(method_file))
    assert info.title.startswith("Annealing Knowledge Distillation")
    assert [(option.name, option.default) for option in info.options] == [
        ("max_temperature", "10"),
        ("annealing", "0.7"),
    ]
    assert info.method_type.__name__ == "AnnealingKD"


def test_its_test_passes(monkeypatch):
    name = "didact.methods.distillation.annealing_kd"
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(METHOD, "annealing_kd.py", "exec"), vars(module))
    found = {"__name__": "test_annealing_kd"}
    exec(compile(TEST, "test_annealing_kd.py", "exec"), found)
    parametrize = found["test_the_student_follows_the_scaled_logits"].pytestmark[0]
    for fraction, temperature in parametrize.args[1]:
        found["test_the_student_follows_the_scaled_logits"](fraction, temperature)
    found["test_the_labels_come_last"]()


def test_it_keeps_to_the_style(method_file):
    import subprocess

    command = [sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", method_file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert len(METHOD.splitlines()) <= 150


def test_it_trains(method_file):
    """The example goes through the one loop, and its student comes to agree with its teacher."""
    import torch
    from torch import nn

    from didact import Budget, LoopConfig, OptimizerConfig, catalogue, fit
    from didact.learners import ModuleLearner
    from didact.sources import BatchSource
    from didact.teachers import FrozenTeacher
    from didact.types import IGNORE, Examples

    torch.manual_seed(0)
    x = torch.randn(256, 4)
    teacher = nn.Linear(4, 3)
    labels = teacher(x).argmax(1)
    examples = Examples(
        tensors={"x": x, "label": torch.where(torch.arange(256) < 32, labels, IGNORE), "id": torch.arange(256)},
        task="classification",
        modality="table",
        classes=("a", "b", "c"),
    )
    info = catalogue.find(str(method_file))
    learner = ModuleLearner(nn.Linear(4, 3))
    before = (learner(examples.batch()).logits.argmax(1) == labels).float().mean()
    method = info.method_type(info.config_type(), learner, FrozenTeacher(ModuleLearner(teacher)))
    result = fit(
        method,
        BatchSource(examples, batch_size=32),
        budget=Budget(steps=120),
        optimizer=OptimizerConfig(lr=0.05),
        loop=LoopConfig(progress=False),
    )
    after = (learner(examples.batch()).logits.argmax(1) == labels).float().mean()
    assert result.status == "done"
    assert before < 0.75 and after > 0.95
    assert result.cost.teacher_calls == 84 * 32


def test_the_words_of_the_glossary_are_where_it_says():
    part = (ROOT / "CONTRIBUTING.md").read_text().split("## Glossary")[1].split("\n## ")[0]
    named = re.findall(r"\| `(didact[\w.]+)` \|$", part, re.MULTILINE)
    assert len(named) == len([line for line in part.splitlines() if line.startswith("| ")]) - 1
    for name in named:
        room, _, last = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(room), last), name
