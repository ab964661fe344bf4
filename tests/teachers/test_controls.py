"""The bad teachers are bad in exactly the way they say."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from didact import hashing
from didact.errors import ConfigError, TeacherError
from didact.teachers import AdversarialTeacher, BaseTeacher, EmaTeacher, NoisyTeacher, RandomTeacher
from didact.teachers.controls import normal_draws
from didact.types import IGNORE, Batch, Cost, Features, Labels, Ledger, Logits


class Says(BaseTeacher):
    def __init__(self, signal):
        super().__init__()
        self.given = signal

    def signal(self, batch):
        self.count(batch)
        return self.given


def batch(size, start=0):
    return Batch({"id": torch.arange(start, start + size)})


def test_normal_draws_are_box_and_mullers():
    ids = torch.tensor([0, 5, -7, 2**62])
    for row, draws in zip(ids, normal_draws(ids, 3, 5), strict=True):
        key = int(hashing.keyed_hash(row[None], 3, "random teacher")[0])
        counters = [(key + k + 2**63) % 2**64 - 2**63 for k in range(6)]
        u = [float(hashing.uniform(torch.tensor([c]), 3, "normal")[0]) for c in counters]
        radius = [math.sqrt(-2 * math.log(1 - v)) for v in u[:3]]
        expected = [r * math.cos(2 * math.pi * v) for r, v in zip(radius, u[3:], strict=True)]
        expected += [r * math.sin(2 * math.pi * v) for r, v in zip(radius, u[3:], strict=True)]
        np.testing.assert_allclose(draws, expected[:5], rtol=1e-5, atol=1e-6)


def test_random_answers_are_normal_and_unrelated():
    draws = RandomTeacher(7, scale=2.0, seed=1).signal(batch(4000)).logits.double().numpy()
    assert stats.kstest(draws.ravel() / 2.0, "norm").pvalue > 1e-3
    off_diagonal = np.corrcoef(draws.T)[~np.eye(7, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.06
    other = RandomTeacher(7, scale=2.0, seed=2).signal(batch(4000)).logits.numpy()
    assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 0.03


def test_random_answers_depend_on_the_id_alone():
    teacher = RandomTeacher(3, seed=4)
    whole = teacher.signal(batch(10)).logits
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RandomTeacher(3, seed=4).signal(Batch({"id": order})).logits, whole[order])
    assert torch.equal(teacher.signal(batch(2, start=8)).logits, whole[8:])
    assert teacher.cost == Cost(teacher_calls=12)
    assert not hasattr(teacher, "state_dict")
    assert torch.equal(RandomTeacher(3, scale=0.0).signal(batch(2)).logits, torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="classes is 1"):
        RandomTeacher(1)


def test_noise_swaps_the_best_class_with_a_random_other():
    logits = torch.randn(6000, 4, generator=torch.Generator().manual_seed(0))
    noisy = NoisyTeacher(Says(Logits(logits=logits)), rate=0.3, seed=1).signal(batch(6000))
    assert isinstance(noisy, Logits)
    best, now = logits.argmax(1), noisy.logits.argmax(1)
    spoiled = best != now
    assert spoiled.float().mean() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(noisy.logits[~spoiled], logits[~spoiled])
    for row in spoiled.nonzero()[:50, 0].tolist():
        expected = logits[row].clone()
        expected[best[row]], expected[now[row]] = logits[row, now[row]], logits[row, best[row]]
        assert torch.equal(noisy.logits[row], expected)
    steps = ((now - best)[spoiled] % 4).bincount(minlength=4)
    assert steps[0] == 0
    assert stats.chisquare(steps[1:].numpy()).pvalue > 1e-3
    again = NoisyTeacher(Says(Logits(logits=logits)), rate=0.3, seed=1).signal(batch(6000))
    assert torch.equal(again.logits, noisy.logits)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_noise_at_its_ends(rate):
    labels = torch.tensor([0, 1, 2, IGNORE])
    teacher = NoisyTeacher(Says(Labels(labels=labels)), rate=rate, classes=3)
    signal = teacher.signal(batch(4))
    said = signal.logits[:3].argmax(-1)
    assert torch.equal(said != labels[:3], torch.tensor([rate == 1.0] * 3))
    assert signal.log_softmax().exp()[range(3), said].tolist() == [1.0] * 3
    assert signal.trust.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_noise_keeps_features_and_soft_labels_what_they_are():
    soft = torch.tensor([[0.7, 0.2, 0.1]])
    said = NoisyTeacher(Says(Labels(labels=soft, trust=torch.tensor([0.5]))), rate=1.0).signal(batch(1))
    assert sorted(said.logits.exp()[0].tolist()) == pytest.approx(sorted(soft[0].tolist()))
    assert said.logits.argmax() != 0
    assert said.trust.tolist() == [0.5]
    features = {"conv": torch.ones(1, 2)}
    said = NoisyTeacher(Says(Features(features=features, logits=soft)), rate=1.0).signal(batch(1))
    assert said.features is features
    assert said.logits.argmax() != 0


def test_the_adversary_moves_the_best_to_the_second():
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]).log()
    said = AdversarialTeacher(Says(Logits(logits=logits))).signal(batch(2))
    torch.testing.assert_close(said.log_softmax().exp(), torch.tensor([[0.0, 0.9, 0.1], [0.1, 0.9, 0.0]]))
    said = AdversarialTeacher(Says(Logits(logits=logits)), strength=0.5).signal(batch(2))
    torch.testing.assert_close(said.log_softmax().exp(), torch.tensor([[0.3, 0.6, 0.1], [0.1, 0.55, 0.35]]))
    hard = Says(Labels(labels=torch.tensor([2, 0, IGNORE])))
    said = AdversarialTeacher(hard, classes=3).signal(batch(3))
    torch.testing.assert_close(said.log_softmax().exp()[:2], torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert said.trust.tolist() == [1.0, 1.0, 0.0]
    featured = AdversarialTeacher(Says(Features(features={"a": torch.ones(2, 1)}, logits=logits))).signal(batch(2))
    assert isinstance(featured, Features)
    torch.testing.assert_close(featured.logits.softmax(-1)[0], torch.tensor([0.0, 0.9, 0.1]))


def test_spoilers_pass_on_cost_state_and_taps():
    learner = torch.nn.Linear(1, 2)
    inner = EmaTeacher(learner, decay=0.9)
    for spoiler in (NoisyTeacher(inner, rate=0.5), AdversarialTeacher(inner)):
        inner.updates = 3
        state = spoiler.state_dict()
        inner.updates = 0
        spoiler.load_state_dict(state)
        assert inner.updates == 3
        assert not spoiler.frozen
        inner.ledger = Ledger()
        inner.ledger.charge("teacher_calls", 4, inner.by)
        assert inner.cost == spoiler.cost == Cost(teacher_calls=4)
        assert spoiler.spenders == {"": inner}
        assert spoiler.to("cpu") is spoiler
    with pytest.raises(TeacherError, match="a random teacher, which has none"):
        NoisyTeacher(RandomTeacher(2), rate=0.1).tap("conv")
    assert NoisyTeacher(RandomTeacher(2), rate=0.1).state_dict() == {}


def test_what_spoilers_refuse():
    targets = Says(Labels(labels=torch.tensor([1.0])))
    for spoiler in (NoisyTeacher(targets, rate=0.5), AdversarialTeacher(targets)):
        with pytest.raises(TeacherError, match="regression targets, which hold no"):
            spoiler.signal(batch(1))
    with pytest.raises(TeacherError, match="do not determine the number of classes"):
        NoisyTeacher(Says(Labels(labels=torch.tensor([1]))), rate=0.5).signal(batch(1)).log_softmax()
    with pytest.raises(ConfigError, match=r"rate is 1\.5"):
        NoisyTeacher(targets, rate=1.5)
    with pytest.raises(ConfigError, match=r"strength is 0\.0"):
        AdversarialTeacher(targets, strength=0.0)
