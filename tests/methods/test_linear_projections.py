"""The loss over classes and their subclasses, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.distillation.linear_projections import Config, LinearProjections
from didact.teachers import FrozenTeacher, RandomTeacher
from transcribed import same_loss


def made(batch, **options):
    student, teacher = net(), net(16, seed=8)
    config = Config(**{"subclasses": 2, "gather": 0.5, **options})
    return LinearProjections(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), batch, seed=1)


def softmax(rows):
    exponentials = np.exp(rows - rows.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_subclasses_are_learned_once_their_directions_are_known():
    batch = planted(60).batch()
    method = made(batch, sharpness=0.7, weight=0.5, alpha=0.8)
    assert set(method.loss(batch)) == {"teacher", "label"}
    method.after_step()
    assert not method.directions.directions.any(), "nothing is settled before its time"
    method.fraction = 0.5
    method.after_step()
    with torch.no_grad():
        signal, output = method.teacher.signal(batch), method.learner(batch)
        theirs = signal.features["hidden"].double().numpy()
        probs = softmax(signal.logits.double().numpy())
        mine = softmax(method.within(output.hidden).double().numpy().reshape(60, 3, 2))
        head = method.teacher.learner.head.weight.double().numpy()
    kept, total = np.eye(16) - np.linalg.pinv(head) @ head, np.zeros(60)
    for c in range(3):
        own = theirs[probs.argmax(-1) == c] @ kept
        _, sizes, axes = np.linalg.svd(own - own.mean(0))
        signs = np.sign((method.directions.directions[c].double().numpy() * axes[:2].T).sum(0))
        far = (theirs @ kept - own.mean(0)) @ axes[:2].T / (sizes[:2] / np.sqrt(len(own))) * signs
        said = softmax(far / 0.7)
        total += probs[:, c] * (said * np.log(said / mine[:, c])).sum(-1)
    term = method.loss(batch)["subclass"]
    assert term.weight == pytest.approx(0.4)
    assert term.mean().item() == pytest.approx(total.mean(), rel=2e-2)


def test_the_loss_and_its_gradient_in_torch():
    batch = planted(60).batch()
    method = made(batch, sharpness=0.7, weight=0.5, alpha=0.8, temperature=3.0)
    method.loss(batch)
    method.fraction = 0.5
    method.after_step()
    student, signal = method.learner.module, method.teacher.signal(batch)
    body, logits = student[:3](batch["x"]), student(batch["x"])
    far, classes = method.directions(signal.features["hidden"]), signal.logits.softmax(1)
    said = (far / 0.7).softmax(2)
    mine = method.within(body).view(60, 3, 2).log_softmax(2)
    subclass = (classes[..., None] * said * (said.log() - mine)).sum((1, 2)).mean()
    soft, own = (signal.logits / 3.0).softmax(1), (logits / 3.0).log_softmax(1)
    teacher = 9.0 * (soft * (soft.log() - own)).sum(1).mean()
    expected = 0.8 * teacher + 0.8 * 0.5 * subclass + 0.2 * F.cross_entropy(logits, batch["label"])
    same_loss(method.loss(batch).total(), expected, [*student.parameters(), *method.within.parameters()])


def test_the_directions_are_found_again_by_a_run_that_goes_on():
    batch = planted(60).batch()
    first, second = made(batch), made(batch)
    first.loss(batch)
    second.load_state_dict(first.state_dict())
    for method in (first, second):
        method.fraction = 0.6
        method.after_step()
    torch.testing.assert_close(first.loss(batch).total(), second.loss(batch).total())


def test_what_cannot_be_split_is_refused():
    batch = planted(8).batch()
    with pytest.raises(ConfigError, match=r"subclasses is 14.*13 directions"):
        made(batch, subclasses=14)
    with pytest.raises(TeacherError, match=r"requested from .*, which has none"):
        LinearProjections(Config(), ModuleLearner(net()), RandomTeacher(3), batch)
    with pytest.raises(ConfigError, match="no linear head"):
        LinearProjections(Config(), ModuleLearner(nn.Identity()), FrozenTeacher(ModuleLearner(net())), batch)


@pytest.mark.parametrize(
    "options", [{"subclasses": 1}, {"sharpness": 0}, {"gather": 0}, {"weight": -1}, {"temperature": 0}, {"alpha": 2}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
