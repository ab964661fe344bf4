"""The learned ratio against a transcription, and its gradient against finite differences."""

import copy

import pytest
import torch
from torch.nn import functional as F

from conftest import net, planted
from didact import hashing
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.trilateral import Config, Trilateral
from didact.teachers import FrozenTeacher

BATCH = planted(40).batch()


def make(**options):
    teacher = FrozenTeacher(ModuleLearner(net(16, seed=9)))
    return Trilateral(Config(width=6, held_out=0.3, **options), ModuleLearner(net()), teacher, BATCH, seed=2)


def shares(method, logits, said, label):
    """The ratio, from the edges of the two triangles."""
    student, eye = logits.softmax(-1), torch.eye(3)
    mean = torch.stack([said[label == c].mean(0) for c in range(3)])[label]
    edges = [said - student, eye[label] - student, eye[label] - said, mean - student, eye[label] - mean]
    return method.ratio(torch.cat(edges, -1))


def parts(method):
    """The student's loss as a function of the ratio, and the held-out loss after a step."""
    label = BATCH["label"]
    held = hashing.uniform(BATCH["id"], 2, "held out") < 0.3
    assert 0 < held.sum() < 40
    theirs = method.teacher.learner(BATCH).logits

    def fused(learner, share):
        logits = learner(BATCH).logits
        p, q = (theirs / 4).log_softmax(-1), (logits / 4).log_softmax(-1)
        kl = 16 * (p.exp() * (p - q)).sum(-1)
        each = share * kl + (1 - share) * F.cross_entropy(logits, label, reduction="none")
        return each[~held].mean()

    def judged(share):
        stepped = copy.deepcopy(method.learner)
        with torch.enable_grad():
            fused(stepped, share.detach()).backward()
        with torch.no_grad():
            for p in stepped.parameters():
                p -= 0.2 * p.grad
            return F.cross_entropy(stepped(BATCH).logits[held], label[held])

    def ratio():
        with torch.no_grad():
            return shares(method, method.learner(BATCH).logits, theirs.softmax(-1), label)

    return fused, judged, ratio


def test_the_loss_is_that_of_the_paper():
    method = make(rate=0.2)
    fused, judged, ratio = parts(method)
    terms = method.loss(BATCH)
    assert terms["fused"].mean().item() == pytest.approx(fused(method.learner, ratio()).item(), rel=1e-5)
    assert terms["ratio"].mean().item() == pytest.approx(judged(ratio()).item(), rel=1e-4)


def test_the_ratio_learns_from_what_the_step_led_to():
    method = make(rate=0.2)
    _, judged, ratio = parts(method)
    method.loss(BATCH)["ratio"].mean().backward()
    assert all(p.grad is None for p in method.learner.parameters())
    bias, nudge = method.ratio[2].bias, 0.2
    found = bias.grad.item()
    with torch.no_grad():
        bias += nudge
        above = judged(ratio()).item()
        bias -= 2 * nudge
        below = judged(ratio()).item()
    assert found == pytest.approx((above - below) / (2 * nudge), rel=0.05)


def test_the_student_learns_with_the_ratio_held_fixed():
    method = make()
    method.loss(BATCH)["fused"].sum.backward()
    assert all(p.grad is None for p in method.ratio.parameters())
    assert all(p.grad is not None for p in method.learner.parameters())


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"width": 0}, {"held_out": 1.0}, {"rate": 0.0}, {"memory": 0.0}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)
