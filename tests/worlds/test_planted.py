"""The planted teacher against what it promises, on fresh examples and within binomial bounds."""

import math

import numpy as np
import pytest
import torch

import didact
from didact import worlds
from didact.errors import ConfigError, TeacherError
from didact.types import Batch, Logits
from didact.worlds.gaussian import distribution
from didact.worlds.planted.teacher import PlantedTeacher

FRESH = 20_000


def bound(share, of=FRESH):
    """Four standard errors of a share, and as much of the sample that the noise was scaled on."""
    return 4 * math.sqrt(share * (1 - share)) * (of**-0.5 + 2**-8)


@pytest.fixture(scope="module", params=["gaussian:mixture", "gaussian:zipf"])
def fresh(request):
    mixture = distribution(request.param)
    x, label = mixture.sample(FRESH, seed=99)
    return mixture, Batch({"x": x, "label": label, "id": torch.arange(FRESH) + 10**9})


@pytest.mark.parametrize("accuracy", [0.3, 0.55, 0.8])
def test_it_is_right_as_often_as_promised(fresh, accuracy):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture, accuracy=accuracy)
    right = (teacher.signal(batch).logits.argmax(1) == batch["label"]).double().mean()
    assert teacher.accuracy == pytest.approx(accuracy, abs=1e-4)
    assert float(right) == pytest.approx(accuracy, abs=bound(accuracy))


@pytest.mark.parametrize("preference", [-1.5, 1.0, 3.0])
def test_it_answers_its_favourite_as_often_as_promised(fresh, preference):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture, accuracy=0.4, preference=preference, favourite=2)
    answers = teacher.signal(batch).logits.argmax(1)
    neutral = PlantedTeacher(mixture, accuracy=0.4, favourite=2).favourite_share
    assert float((answers == 2).double().mean()) == pytest.approx(
        teacher.favourite_share, abs=bound(teacher.favourite_share)
    )
    assert float((answers == batch["label"]).double().mean()) == pytest.approx(0.4, abs=bound(0.4))
    assert (teacher.favourite_share > neutral) == (preference > 0)


def test_without_noise_it_is_the_best_possible_classifier(fresh):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture)
    assert teacher.noise == 0
    assert teacher.accuracy == pytest.approx(mixture.bayes_accuracy(), abs=0.005)
    signal = teacher.signal(batch)
    assert isinstance(signal, Logits)
    assert torch.equal(signal.logits, mixture.log_posterior(batch["x"]))
    assert signal.trust is None


def test_the_preference_is_a_constant_on_one_logit(fresh):
    mixture, batch = fresh
    plain, biased = PlantedTeacher(mixture), PlantedTeacher(mixture, preference=1.5, favourite=1)
    shift = (biased.signal(batch).logits - plain.signal(batch).logits).numpy()
    assert shift[:, 1] == pytest.approx(np.full(FRESH, 1.5), abs=1e-5)
    assert not np.delete(shift, 1, axis=1).any()


def test_the_noise_is_normal_and_of_the_stated_size(fresh):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture, accuracy=0.5)
    errors = (teacher.signal(batch).logits - mixture.log_posterior(batch["x"])).double() / teacher.noise
    assert float(errors.mean()) == pytest.approx(0, abs=4 / math.sqrt(errors.numel()))
    assert float(errors.square().mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / errors.numel()))
    correlation = np.corrcoef(errors.T.numpy())
    assert np.abs(correlation - np.eye(mixture.classes)).max() < 5 / math.sqrt(FRESH)


@pytest.mark.parametrize("coverage", [0.0, 0.25, 0.9])
def test_it_abstains_as_often_as_promised_and_is_no_worse_where_it_answers(fresh, coverage):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture, accuracy=0.6, coverage=coverage)
    signal = teacher.signal(batch)
    answered = signal.trust == 1
    assert set(signal.trust.unique().tolist()) <= {0.0, 1.0}
    assert float(signal.trust.double().mean()) == pytest.approx(coverage, abs=bound(coverage))
    if coverage:
        right = (signal.logits.argmax(1) == batch["label"])[answered].double().mean()
        assert float(right) == pytest.approx(0.6, abs=bound(0.6, int(answered.sum())))


def test_an_answer_depends_on_the_example_and_the_seed_alone(fresh):
    mixture, batch = fresh
    first = PlantedTeacher(mixture, accuracy=0.5, coverage=0.5, seed=1)
    second = PlantedTeacher(mixture, accuracy=0.5, coverage=0.5, seed=2)
    some = torch.tensor([5, 3, 17])
    alone, among = first.signal(batch.select(some)), first.signal(batch)
    assert alone.logits.numpy() == pytest.approx(among.logits[some].numpy(), abs=1e-5)
    assert torch.equal(alone.trust, among.trust[some])
    errors = [teacher.signal(batch).logits - mixture.log_posterior(batch["x"]) for teacher in (first, second)]
    assert abs(np.corrcoef(errors[0].flatten(), errors[1].flatten())[0, 1]) < 0.01


def test_it_counts_its_answers(fresh):
    mixture, batch = fresh
    teacher = PlantedTeacher(mixture)
    teacher.signal(batch.select(torch.arange(10)))
    teacher.signal(batch.select(torch.arange(3)))
    assert teacher.ledger.cost.teacher_calls == 13


def test_what_cannot_be_had_is_refused():
    mixture = distribution("gaussian:mixture")
    with pytest.raises(
        ConfigError, match=r"accuracy is 0\.95, .* preference of 0 for class 0 it can be from 0\.260 to 0\.8"
    ):
        PlantedTeacher(mixture, accuracy=0.95)
    with pytest.raises(ConfigError, match=r"accuracy is 0\.8, but with a preference of 6 for class 1"):
        PlantedTeacher(mixture, accuracy=0.8, preference=6.0, favourite=1)
    with pytest.raises(ConfigError, match=r"coverage is 1\.5, but must be at least 0 and at most 1"):
        PlantedTeacher(mixture, coverage=1.5)
    with pytest.raises(ConfigError, match="favourite is 4, but must be at least 0 and below 4"):
        PlantedTeacher(mixture, favourite=4)
    with pytest.raises(ConfigError, match="preference is nan"):
        PlantedTeacher(mixture, preference=math.nan)
    with pytest.raises(TeacherError, match="'conv' were requested from a planted teacher"):
        PlantedTeacher(mixture).tap("conv")


def test_a_student_can_be_taught_by_it():
    """Noise averages out: a student of a teacher that is right in 60% of cases is right more often than that."""
    result = didact.run(
        method="distill",
        data=worlds.load("gaussian:mixture"),
        student="mlp:64",
        teacher=PlantedTeacher(distribution("gaussian:mixture"), accuracy=0.6),
        options={"alpha": 1.0},
        steps=300,
    )
    assert result.metrics["accuracy"] > 0.66
