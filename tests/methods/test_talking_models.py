"""A conversation between two nets: its terms against the nets' own weights, what it counts, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from conftest import net, planted
from didact import worlds
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.talking_models import Config, TalkingModels
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE
from transcribed import same_loss


def deep():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 7))


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def numpy_of(module):
    """A small net as a function of arrays."""

    def run(rows):
        for layer in module:
            if isinstance(layer, nn.Linear):
                weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
                rows = rows @ weight.T + bias
            elif isinstance(layer, nn.ReLU):
                rows = np.maximum(rows, 0)
        return rows

    return run


def relative(mine, theirs):
    return (((mine - theirs) ** 2).sum(1) / ((theirs**2).sum(1) + 1e-6)).mean()


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_the_terms_of_a_conversation(rounds):
    batch, student, teacher = half(), net(), deep()
    config = Config(rounds=rounds, message=3, listening=0.5, consistency=2.0, teacher_tap="1")
    method = TalkingModels(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), batch, seed=4)
    says, hears = numpy_of(method.student_encoder), numpy_of(method.student_decoder)
    speaks, reads = numpy_of(method.teacher_encoder), numpy_of(method.teacher_decoder)
    x, there = batch["x"].double().numpy(), batch["label"].numpy() != IGNORE
    body, head, early, late = (numpy_of(part) for part in (student[:3], student[3:], teacher[:2], teacher[2:4]))

    def cross_entropy(state):
        logits = head(state)[there]
        return (np.log(np.exp(logits).sum(1)) - logits[np.arange(there.sum()), batch["label"].numpy()[there]]).mean()

    hidden, state = body(x), early(x)
    message = speaks(late(state))
    told, read, mine = [hears(message)], [reads(message)], hidden
    for _ in range(rounds):
        read.append(reads(says(mine)))
        mine = hears(speaks(late(read[-1])))
        told.append(mine)
    expected = {
        "label": cross_entropy(hidden),
        "heard": 0.5 * np.mean([cross_entropy(one) for one in told]),
        "student": 2.0 * relative(hidden, told[0]),
        "teacher": 2.0 * np.mean([relative(one, state) for one in read]),
    }
    terms, counts = method.loss(batch), method.counts(batch)
    for name, value in expected.items():
        found = terms[name]
        assert (found.sum / found.count * found.weight).item() == pytest.approx(value, rel=1e-4)
        assert float(found.count) == float(counts[name])
    assert terms.keys() == counts.keys()


@pytest.mark.parametrize("rounds", [0, 2])
def test_the_loss_and_its_gradient_in_torch(rounds):
    batch, student, teacher = half(), net(), deep()
    config = Config(rounds=rounds, message=3, listening=0.5, consistency=2.0, teacher_tap="1")
    method = TalkingModels(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), batch, seed=4)
    says, hears, speaks, reads = (
        getattr(method, name) for name in ("student_encoder", "student_decoder", "teacher_encoder", "teacher_decoder")
    )
    x, label = batch["x"], batch["label"]
    hidden, state = student[:3](x), teacher[:2](x).detach()
    message = speaks(teacher[2:4](state))
    told, read, mine = [hears(message)], [reads(message)], hidden
    for _ in range(rounds):
        read.append(reads(says(mine)))
        mine = hears(speaks(teacher[2:4](read[-1])))
        told.append(mine)

    def apart(one, target):
        target = target.detach()
        return (((one - target) ** 2).sum(1) / ((target**2).sum(1) + 1e-6)).mean()

    expected = F.cross_entropy(student[3:](hidden), label, ignore_index=IGNORE) + 2.0 * apart(hidden, told[0])
    heard = [F.cross_entropy(student[3:](one), label, ignore_index=IGNORE) for one in told]
    expected = expected + 0.5 * sum(heard) / len(told) + 2.0 * sum(apart(one, state) for one in read) / len(read)
    same_loss(method.loss(batch).total(), expected, method.parameters())


def test_only_the_teacher_stays_as_it_is():
    batch, student, teacher = half(), net(), deep()
    config = Config(teacher_tap="1")
    method = TalkingModels(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), batch)
    method.loss(batch).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in method.parameters())
    # The student asks once about each example, besides hearing what the teacher says of itself.
    assert method.teacher.cost.teacher_calls == 2 * batch.size


def test_the_reply_comes_through_the_teacher():
    batch = half()
    method = TalkingModels(Config(), ModuleLearner(net()), FrozenTeacher(ModuleLearner(deep())), batch)
    assert method.tap == "2"
    state = torch.randn(12, 5, requires_grad=True)
    method.teacher_message(batch, state).sum().backward()
    assert (state.grad != 0).any()


def test_a_shifted_teacher_looks_at_what_the_student_sees():
    given = {"data": worlds.load("digits:privileged"), "student": "mlp:8", "teacher_epochs": 12, "steps": 5}
    found = {
        kind: didact.run(method="distill", teacher=f"{kind}:privileged:mlp:32", progress=False, **given).teacher
        for kind in ("view", "shifted")
    }
    assert found["view"]["accuracy"] > 0.85
    assert 0.2 < found["shifted"]["accuracy"] < found["view"]["accuracy"] - 0.1


@pytest.mark.parametrize("options", [{"rounds": -1}, {"message": 0}, {"listening": -1.0}, {"consistency": -1.0}])
def test_nonsense_is_refused(options):
    (field,) = options
    with pytest.raises(ConfigError, match=f"{field} is .*must be"):
        Config(**options)


def test_nets_without_what_is_needed_are_refused():
    batch, frozen = half(), FrozenTeacher(ModuleLearner(deep()))
    headless = ModuleLearner(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), head=None)
    with pytest.raises(ConfigError, match="no linear head"):
        TalkingModels(Config(), headless, frozen, batch)
    with pytest.raises(TeacherError, match="needs a net"):
        TalkingModels(Config(), ModuleLearner(net()), RandomTeacher(3), batch)
