"""Knowledge concentration against a transcription, example by example."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import net
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.knowledge_concentration import Config, KnowledgeConcentration
from didact.teachers import Committee, FrozenTeacher
from didact.types import IGNORE, Batch
from transcribed import same_loss

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, 2, 3, 4, IGNORE, 4, 0, 2])
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(9)})
GROUPS = [[0, 3], [4, 1, 2]]


def softmax(rows):
    e = np.exp(rows - rows.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def make(teacher=None, **options):
    seeds = iter(range(10, 20))
    return KnowledgeConcentration(
        Config(groups="0,3/4,1,2", **options),
        ModuleLearner(net(classes=5)),
        BATCH,
        lambda _spec: ModuleLearner(net(16, classes=5, seed=next(seeds))),
        teacher,
    )


def answers(learner):
    with torch.no_grad():
        return learner(BATCH).logits.double().numpy()


def by_group(method, models, temperature):
    """The summed divergence and the number of examples of each group."""
    mine, sums, counts = answers(method.learner), [], []
    for model, group in zip(models, GROUPS, strict=True):
        rows = [i for i, y in enumerate(LABEL.tolist()) if y in group]
        p = softmax(answers(model)[rows][:, group] / temperature)
        q = softmax(mine[rows][:, group] / temperature)
        sums.append(temperature**2 * (p * np.log(p / q)).sum())
        counts.append(len(rows))
    return np.array(sums), np.array(counts)


def label_mean(method):
    rows = np.flatnonzero(LABEL.numpy() >= 0)
    return -np.log(softmax(answers(method.learner))[rows, LABEL.numpy()[rows]]).mean()


def test_specialists_first_learn_the_labels_of_their_group():
    method = make(prepare=0.5)
    terms = method.loss(BATCH)
    for k, group in enumerate(GROUPS):
        logits = answers(method.specialists[k])
        losses = [
            -np.log(softmax(logits[i, group])[group.index(y)]) for i, y in enumerate(LABEL.tolist()) if y in group
        ]
        assert terms[f"specialist_{k}"].mean().item() == pytest.approx(np.mean(losses), rel=1e-5)
    terms.backward()
    assert all(p.grad is None for p in method.learner.parameters())


def test_the_student_matches_each_specialist_within_its_group():
    method = make(prepare=0.2, pacing=0.0, temperature=3.0, weight=0.7)
    method.fraction = 0.2
    sums, counts = by_group(method, method.specialists, 3.0)
    expected = 0.7 * sums.sum() / counts.sum() + label_mean(method)
    assert method.loss(BATCH).total().item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_and_its_gradient_in_torch():
    method = make(prepare=0.2, pacing=0.0, temperature=3.0, weight=0.7)
    method.fraction = 0.2
    mine = method.learner.module(X)
    total, count = torch.zeros(()), 0
    for specialist, group in zip(method.specialists, GROUPS, strict=True):
        rows = torch.isin(LABEL, torch.tensor(group))
        log_probs = (mine[rows][:, group] / 3.0).log_softmax(1)
        target = (specialist.module(X)[rows][:, group] / 3.0).softmax(1).detach()
        total, count = total + 9.0 * F.kl_div(log_probs, target, reduction="sum"), count + int(rows.sum())
    expected = 0.7 * total / count + F.cross_entropy(mine, LABEL, ignore_index=IGNORE)
    same_loss(method.loss(BATCH).total(), expected, [*method.learner.parameters(), *method.specialists.parameters()])


def test_hard_specialists_come_later():
    method = make(prepare=0.2, pacing=0.5, temperature=2.0)
    label = label_mean(method)
    method.fraction = 0.3
    sums, counts = by_group(method, method.specialists, 2.0)
    # Nothing is known of the specialists yet: all weigh alike, which the mean over examples takes out.
    assert method.loss(BATCH).total().item() == pytest.approx(sums.sum() / counts.sum() + label, rel=1e-4)
    method.after_step()
    losses = sums / counts
    left = 1 - (0.3 - 0.2) / 0.8 / 0.5
    weights = np.maximum(0, 1 - left * losses / (2 * losses.mean()))
    assert method.weights.numpy() == pytest.approx(weights, rel=1e-4)
    expected = (weights * sums).sum() / (weights * counts).sum() + label
    assert method.loss(BATCH).total().item() == pytest.approx(expected, rel=1e-4)
    assert float(method.counts(BATCH)["teacher"]) == pytest.approx((weights * counts).sum(), rel=1e-5)
    method.fraction = 0.9
    assert method.weights.tolist() == [1.0, 1.0]


def test_a_committee_of_specialists_can_be_given():
    models = [ModuleLearner(net(16, classes=5, seed=s)) for s in (3, 4)]
    method = make(Committee([FrozenTeacher(m) for m in models]))
    sums, counts = by_group(method, models, 1.0)
    assert not len(method.specialists)
    expected = sums.sum() / counts.sum() + label_mean(method)
    assert method.loss(BATCH).total().item() == pytest.approx(expected, rel=1e-4)


def test_another_number_of_specialists_than_groups_is_refused():
    with pytest.raises(ConfigError, match=r"3 members, but groups is 0,3/4,1,2"):
        make(Committee([FrozenTeacher(ModuleLearner(net(classes=5))) for _ in range(3)]))


@pytest.mark.parametrize(
    "options", [{"specialists": 0}, {"prepare": 0.0}, {"pacing": 1.1}, {"temperature": 0.0}, {"weight": -1.0}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)
