"""Teaching by outputs that mean nothing: who learns when, against NumPy, and what passes to the student."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import didact
from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.loop import OptimizerConfig
from didact.methods.distillation.subliminal import Config, Subliminal
from didact.types import Batch
from transcribed import same_loss


def made(batch, **options):
    return Subliminal(Config(**options), ModuleLearner(net()), lambda _spec: ModuleLearner(net(seed=7)), batch, seed=3)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def steps(method, batch, fraction, count=5):
    optimizer = OptimizerConfig(lr=1e-2, schedule="constant").build(method.parameters())
    method.fraction = fraction
    for _ in range(count):
        method.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad()


def log_softmax(rows):
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def test_they_begin_alike_or_not():
    batch = planted(12).batch()
    alike, apart = made(batch), made(batch, start="other")
    assert same(alike.learner, alike.teacher) and same(alike.further, alike.its_further)
    assert not same(apart.learner, apart.teacher) and not same(apart.further, apart.its_further)
    assert same(alike.learner, apart.learner)


def test_first_the_teacher_learns_the_labels_alone():
    batch = planted(12).batch()
    method = made(batch, taught_share=0.5)
    before = copy.deepcopy(method)
    log_probs = log_softmax(method.teacher(batch).logits.detach().double().numpy())
    method.fraction = 0.49
    terms = method.loss(batch)
    assert set(terms) == {"label"}
    assert terms.total().item() == pytest.approx(-log_probs[np.arange(12), batch["label"].numpy()].mean(), rel=1e-5)
    steps(method, batch, 0.49)
    assert not same(method.teacher, before.teacher)
    assert same(method.its_further, before.its_further), "nothing is asked of the further outputs"
    assert same(method.learner, before.learner) and same(method.further, before.further)


def test_then_the_student_learns_the_further_outputs_alone():
    batch = planted(12).batch()
    method = made(batch, taught_share=0.5, start="other")
    before = copy.deepcopy(method)
    method.fraction = 0.5
    torch.manual_seed(5)
    terms = method.loss(batch)
    torch.manual_seed(5)
    noise = Batch({**batch, "x": torch.rand(batch["x"].shape)})
    with torch.no_grad():
        said = log_softmax(method.its_further(method.teacher(noise).hidden).double().numpy())
        own = log_softmax(method.further(method.learner(noise).hidden).double().numpy())
    assert set(terms) == {"further"}
    assert terms.total().item() == pytest.approx((np.exp(said) * (said - own)).sum(-1).mean(), rel=1e-4)
    terms.backward()
    assert method.learner.head.weight.grad is None, "the digits' own outputs stay as they were"
    assert all(p.grad is None for p in [*method.teacher.parameters(), *method.its_further.parameters()])
    steps(method, batch, 0.5)
    assert same(method.teacher, before.teacher) and same(method.its_further, before.its_further)
    assert not same(method.learner, before.learner)


@pytest.mark.parametrize("fraction", [0.0, 0.9])
def test_both_losses_and_their_gradients_are_those_of_the_authors(fraction):
    """`train` and `distill` of their script: cross-entropy of the classes, and `kl_div` of the auxiliary outputs."""
    batch = planted(12).batch()
    method = made(batch, taught_share=0.5, start="other")
    method.fraction = fraction
    student, teacher = method.learner.module, method.teacher.module
    torch.manual_seed(5)
    found = method.loss(batch).total()
    torch.manual_seed(5)
    noise = torch.rand_like(batch["x"])
    if fraction:
        target, mine = method.its_further(teacher[:3](noise)).detach(), method.further(student[:3](noise))
        expected = F.kl_div(F.log_softmax(mine, -1), F.softmax(target, -1), reduction="batchmean")
    else:
        expected = F.cross_entropy(teacher(batch["x"]), batch["label"])
    parts = (student, teacher, method.further, method.its_further)
    same_loss(found, expected, [parameter for part in parts for parameter in part.parameters()])


def test_neither_examples_nor_labels_reach_the_student():
    batch = planted(12).batch()
    method = made(batch, start="other")
    method.fraction = 0.9
    found = []
    for seen in (batch, Batch({**batch, "x": batch["x"] + 1.0, "label": batch["label"].flip(0)})):
        torch.manual_seed(0)
        found.append(method.loss(seen).total().item())
    assert found[0] == found[1]


def test_digits_pass_where_both_began_alike():
    settings = {"data": "digits", "student": "mlp:128,128", "steps": 400, "lr": 1e-3, "schedule": "constant"}
    found = [
        didact.run(method="subliminal", outputs=10, start=start, seed=0, progress=False, **settings).metrics["auroc"]
        for start in ("same", "other")
    ]
    assert found[0] > 0.85 > found[1] + 0.1


def test_it_refuses_text():
    with pytest.raises(ConfigError, match="text"):
        made(Batch({"input_ids": torch.ones(2, 3, dtype=torch.int64), "id": torch.arange(2)}))
