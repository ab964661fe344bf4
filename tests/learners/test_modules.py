"""Any module as a learner; built-in nets; projectors."""

import copy

import pytest
import torch
from torch import nn

from conftest import net, planted
from didact.errors import ConfigError, DataError
from didact.learners import ModuleLearner, nets, projector
from didact.parts.models import build
from didact.types import Batch, Examples


def images(size=12):
    x = torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    tensors = {"x": x, "label": torch.arange(size) % 3, "id": torch.arange(size)}
    return Examples(tensors=tensors, task="classification", modality="image", classes=("a", "b", "c"))


def texts(size=12, length=6):
    ids = torch.randint(4, 20, (size, length), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(length) < (torch.arange(size) % length + 1)[:, None]).long()
    tensors = {"input_ids": ids, "attention_mask": mask, "label": torch.arange(size) % 3, "id": torch.arange(size)}
    return Examples(tensors=tensors, task="classification", modality="text", classes=("a", "b", "c"), vocabulary=20)


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        ("mlp:", planted()),
        ("mlp:8", planted()),
        ("mlp:8,5", images()),
        ("mlp:8,5", texts()),
        ("cnn:4,6", images()),
        ("transformer:2x8", planted()),
        ("transformer:1x16", images()),
        ("transformer:2x8", texts()),
    ],
)
def test_built_in_nets_answer_and_learn(spec, data):
    learner, batch = build(spec, data, seed=3), data.batch()
    output = learner(batch)
    assert output.logits.shape == (data.size, 3)
    assert output.hidden is not None
    assert learner.head is not None
    torch.testing.assert_close(learner.head(output.hidden), output.logits)
    output.logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in learner.parameters())
    again, other = build(spec, data, seed=3), build(spec, data, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(learner.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("spec", ["mlp:8", "cnn:4,6", "transformer:1x16"])
def test_an_example_is_answered_the_same_alone(spec):
    learner, data = build(spec, images()), images()
    together = learner(data.batch()).logits
    alone = torch.cat([learner(part).logits for part in data.batch().split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["mlp:8", "transformer:2x8"])
def test_padding_of_text_changes_nothing(spec):
    data = texts()
    learner = build(spec, data)
    batch = data.batch()
    other = torch.where(batch["attention_mask"] == 1, batch["input_ids"], 7)
    changed = Batch({**batch, "input_ids": other})
    torch.testing.assert_close(learner(batch).logits, learner(changed).logits)


def test_a_table_is_standardised():
    data = planted()
    far = data.with_tensors(x=data.tensors["x"] * 1000 + 5000)
    near = build("mlp:8", data)(data.batch()).logits
    torch.testing.assert_close(build("mlp:8", far)(far.batch()).logits, near, rtol=1e-3, atol=1e-3)


def test_a_constant_column_does_no_harm():
    data = planted()
    x = data.tensors["x"].clone()
    x[:, 0] = 5.0
    flat = data.with_tensors(x=x)
    assert torch.isfinite(build("mlp:4", flat)(flat.batch()).logits).all()


def test_making_a_learner_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    build("mlp:8", planted())
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("mlp:a", "mlp is written mlp:WIDTH,WIDTH, such as mlp:64,64"),
        ("mlp:0", "mlp is written mlp:WIDTH,WIDTH, such as mlp:64,64"),
        ("transformer:64", "transformer is written transformer:LAYERSxWIDTH, such as transformer:2x64"),
        ("cnn:8", "data are of the kind table"),
        ("mpl:64", "Did you mean mlp"),
        ("nowhere.at_all:net", "cannot be imported"),
        ("collections:Counter", "must return an nn.Module"),
    ],
)
def test_specs_that_cannot_work(spec, match):
    with pytest.raises(ConfigError, match=match):
        build(spec, planted())


def test_text_needs_a_width():
    with pytest.raises(ConfigError, match="width of its embedding"):
        build("mlp:", texts())


def test_a_factory_gets_what_it_asks_for():
    learner = build("torch.nn:Identity", planted())
    assert isinstance(learner.module, nn.Identity)
    assert learner.head is None
    data = planted().batch()
    assert torch.equal(learner(data).logits, data["x"])


def test_taps_keep_what_came_out():
    module = net()
    learner = ModuleLearner(module, taps=["1"])
    learner.tap("hidden", "0")
    batch = planted().batch()
    output = learner(batch)
    assert torch.equal(output.features["1"], module[1](module[0](batch["x"])))
    assert torch.equal(output.features["0"], module[0](batch["x"]))
    assert torch.equal(output.features["hidden"], output.features["1"])


def test_a_copy_has_taps_of_its_own():
    learner = ModuleLearner(net(), taps=["1"])
    twin = copy.deepcopy(learner)
    with torch.no_grad():
        twin.module[0].weight.zero_()
        twin.module[0].bias.fill_(1.0)
    batch = planted().batch()
    assert twin(batch).features["1"].unique().tolist() == [1.0]
    assert len(learner(batch).features["1"].unique()) > 1


def test_a_wrong_tap_or_head_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"tap is 'conv'.*has: hidden, 3, 2, 1, 0\."):
        ModuleLearner(net(), taps=["conv"]).tap()
    with pytest.raises(ConfigError, match=r"head is '1'.*0, 3"):
        ModuleLearner(net(), head="1")


class Answers(nn.Module):
    """Answers in the shape asked for."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "mapping":
            return {"logits": x}
        if self.kind == "object":
            return type("Out", (), {"logits": x})()
        return [x]


def test_logits_are_found():
    batch = planted().batch()
    for kind in ("mapping", "object"):
        assert torch.equal(ModuleLearner(Answers(kind))(batch).logits, batch["x"])
    with pytest.raises(DataError, match="returned list, which holds no logits"):
        ModuleLearner(Answers("list"))(batch)


def test_several_inputs_go_by_keyword():
    class Sum(nn.Module):
        def forward(self, x, extra):
            return x + 10 * extra

    batch = Batch({**planted().batch(), "extra": torch.ones(96, 4)})
    output = ModuleLearner(Sum(), inputs=("extra", "x"))(batch)
    assert torch.equal(output.logits, batch["x"] + 10)


@pytest.mark.parametrize(
    ("student", "teacher"), [((5,), (7,)), ((4, 5), (4, 7)), ((3, 8, 8), (6, 4, 4)), ((3, 4, 6), (2, 4, 5))]
)
def test_projectors_join_shapes(student, teacher):
    assert projector(student, teacher)(torch.zeros(2, *student)).shape == (2, *teacher)


@pytest.mark.parametrize(("student", "teacher"), [((5,), (7, 2)), ((4, 5), (3, 5)), ((3, 4, 4), (6, 8, 8))])
def test_projectors_name_both_shapes(student, teacher):
    with pytest.raises(ConfigError) as error:
        projector(student, teacher)
    assert str(list(student)) in str(error.value)
    assert str(list(teacher)) in str(error.value)


def test_a_transformer_needs_rows():
    tensors = {"x": torch.rand(4, 3, 1, 2, 2), "label": torch.arange(4) % 2, "id": torch.arange(4)}
    bags = Examples(tensors=tensors, task="classification", modality="table", classes=("a", "b"))
    with pytest.raises(ConfigError, match=r"shape \[3, 1, 2, 2\]"):
        build("transformer:1x8", bags)
    assert build("mlp:4", bags)(bags.batch()).logits.shape == (4, 2)


def test_a_module_without_parts_has_nothing_to_tap():
    with pytest.raises(ConfigError, match="It has: no submodules"):
        ModuleLearner(nn.Identity(), taps=["1"])


def test_large_tables_are_standardised_by_the_same_figures(monkeypatch):
    x = torch.randn(3000, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(7) + 100
    examples = Examples(tensors={"x": x, "id": torch.arange(3000)}, task="regression", modality="table")
    monkeypatch.setattr(nets, "_LARGE", 4096)
    found = nets.Standardise.fit(examples)
    torch.testing.assert_close(found.mean, x.double().mean(0).float())
    expected = x.double().std(0, correction=0).float()
    torch.testing.assert_close(found.std, torch.where(expected > 0, expected, 1.0))
