"""Active learning: its loss, its pool, what it pays, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

import didact
from didact.curricula.acquisition import neighbour_agreement
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.active.active import Active, Config
from didact.sources import LabelPool, from_tensors
from didact.teachers import FrozenTeacher
from didact.types import IGNORE, Batch, LabelsSpentError, Ledger

RUN = {"data": "planted:pool", "student": "mlp:8", "labels": 10, "lr": 0.01, "schedule": "constant", "progress": False}
N = 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(seed=0, outputs=3):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Linear(4, outputs))


def pool(known=3, **options):
    answers = torch.arange(N) % 3
    label = torch.where(torch.arange(N) < known, answers, IGNORE)
    examples = from_tensors(x=normal(N, 4), label=answers).with_tensors(label=label)
    return LabelPool(examples, answers, batch_size=4, **options)


def active(learner, config, **parts):
    return Active(config, learner, spawn=lambda: linear(seed=5), seed=0, **parts)


def test_the_loss_is_a_loop_over_rows():
    learner, teacher = linear(), linear(seed=1)
    method = active(learner, Config(members=2, alpha=0.3, temperature=2.0), teacher=FrozenTeacher(teacher))
    x, label = normal(6, 4, seed=2), torch.tensor([0, 2, IGNORE, IGNORE, 1, IGNORE])
    pseudo, trust = torch.tensor([IGNORE, IGNORE, 1, IGNORE, IGNORE, 0]), torch.tensor([1.0, 0.5, 1, 1, 0.25, 1])
    batch = Batch({"id": torch.arange(6), "x": x, "label": label, "pseudo": pseudo, "trust": trust})
    found, expected = method.loss(batch), 0.0
    for member in (learner, *method.others):
        log_probs = member(batch).logits.double().log_softmax(1).detach().numpy()
        soft = (member(batch).logits.double() / 2).log_softmax(1).detach().numpy()
        target = (teacher(batch).logits.double() / 2).softmax(1).detach().numpy()
        labels = sum(-trust[i] * log_probs[i, label[i]] for i in (0, 1, 4)) / 1.75
        taught = np.mean([4 * sum(target[i] * (np.log(target[i]) - soft[i])) for i in range(6)])
        guessed = -(log_probs[2, 1] + log_probs[5, 0]) / 2
        expected += 0.7 * labels + 0.3 * taught + 0.5 * guessed
    assert found.total().item() == pytest.approx(float(expected), rel=1e-5)


def test_neighbours_vote_as_in_a_loop_over_rows():
    hidden, predicted = normal(40, 5), torch.randint(4, (40,), generator=torch.Generator().manual_seed(1))
    common, share = neighbour_agreement(hidden, predicted, neighbours=6)
    unit = hidden.double().numpy() / np.linalg.norm(hidden.double().numpy(), axis=1, keepdims=True)
    for row in range(40):
        nearest = [one for one in np.argsort(-unit @ unit[row]) if one != row][:6]
        votes = np.bincount(predicted.numpy()[nearest], minlength=4)
        assert (int(common[row]), float(share[row])) == (int(votes.argmax()), pytest.approx(votes.max() / 6))
    alone = neighbour_agreement(hidden[:1], predicted[:1])
    assert alone[0].tolist() == predicted[:1].tolist() and alone[1].tolist() == [0.0]


# ---- the pool


def test_a_label_is_charged_once_at_its_price_and_never_beyond_the_budget():
    asked = pool(price=3)
    asked.ledger = Ledger(labels=10)
    asked.reveal(torch.arange(3))
    assert asked.ledger.cost.labels == 3
    assert asked.count(5) == 2
    batch = asked.reveal(torch.tensor([7, 8]))
    assert batch["label"].tolist() == [1, 2] and asked.ledger.cost.labels == 9
    asked.reveal(torch.tensor([0, 7, 8]))
    assert asked.ledger.cost.labels == 9 and asked.known.nonzero()[:, 0].tolist() == [0, 1, 2, 7, 8]
    assert asked.count(5) == 1
    with pytest.raises(LabelsSpentError, match="allows 10 labels; 9 were read, and 3 more come next"):
        asked.reveal(torch.tensor([9]))
    assert not asked.known[9]


def test_no_more_is_asked_than_there_is():
    asked = pool(known=11)
    assert asked.count(5) == 1
    asked.reveal(torch.tensor([11]))
    assert asked.count(5) == 0


def test_batches_are_passes_over_what_is_known_with_others_in_half():
    asked = pool()
    asked.reveal(torch.tensor([6, 9]), torch.tensor([4.0, 2.0]))
    found = asked.draw(5, seed=3)
    assert found.size == 20 and found["row"].bincount(minlength=N)[[0, 1, 2, 6, 9]].tolist() == [4] * 5
    assert torch.equal(found["label"], found["row"] % 3)
    weights = dict(zip(found["row"].tolist(), found["trust"].tolist(), strict=True))
    assert (weights[6], weights[9], weights[0]) == (1.0, 0.5, 0.25)
    others = torch.arange(N) > 9
    mixed = asked.draw(6, seed=3, others=others, pseudo=torch.arange(N))
    rows = mixed["row"].view(6, 4)
    assert bool(asked.known[rows[:, :2]].all()) and bool(others[rows[:, 2:]].all())
    assert mixed["label"].view(6, 4)[:, 2:].unique().tolist() == [IGNORE]
    assert torch.equal(mixed["pseudo"], mixed["row"])


def test_what_the_pool_knows_is_saved():
    asked, other = pool(), pool()
    asked.reveal(torch.tensor([5]), torch.tensor([2.0]))
    other.load_state_dict(asked.state_dict())
    assert torch.equal(other.known, asked.known) and torch.equal(other.weight, asked.weight)


# ---- rounds


def test_the_first_round_is_on_the_labels_of_the_start():
    asked, method = pool(), active(linear(), Config(ask="kcenter", query=2, round_steps=3))
    assert sorted(method.collect(torch.arange(0), asked)["row"].unique().tolist()) == [0, 1, 2]
    asked.round = 1
    method.collect(torch.arange(0), asked)
    assert int(asked.known.sum()) == asked.ledger.cost.labels == 5


def test_a_teacher_as_oracle_costs_no_labels():
    method = active(linear(), Config(oracle="teacher", ask="minimax", query=4), teacher=FrozenTeacher(linear(seed=1)))
    label = torch.where(torch.arange(N) < 3, torch.arange(N) % 3, IGNORE)
    examples = from_tensors(x=normal(N, 4), label=torch.arange(N) % 3).with_tensors(label=label)
    asked = LabelPool(examples, label, batch_size=4, asks_all=True)
    asked.round = 1
    found = method.collect(torch.arange(0), asked)
    assert (int(asked.known.sum()), asked.ledger.cost.labels) == (7, 3)
    assert (found["label"] == IGNORE).any()


def test_pseudo_labels_are_of_others_than_the_known_ones():
    asked, method = pool(), active(linear(), Config(pseudo="neighbours", query=1, round_steps=8))
    asked.round = 1
    asked.examples = asked.examples.with_tensors(x=torch.ones(N, 4))  # which all are predicted alike
    with torch.no_grad():
        method.learner.head.bias += torch.tensor([5.0, 0.0, 0.0])
    found = method.collect(torch.arange(0), asked)
    guessed = found["pseudo"] != IGNORE
    assert guessed.any() and not asked.known[found["row"][guessed]].any()
    assert found["pseudo"][guessed].unique().tolist() == [0]


def test_probabilities_are_covered_and_not_inputs():
    """Rows that lie far apart and are predicted alike need one label; where inputs are covered they get several."""
    x = torch.cat([torch.linspace(1, 100, 9)[:, None].expand(-1, 4), torch.tensor([[-1.0] * 4] * 3)])
    learner = linear()
    with torch.no_grad():
        learner.head.weight.zero_()[:, 0] = torch.tensor([20.0, -20.0, 0.0])
        learner.head.bias.zero_()
    asked = {}
    for ask in ("kcenter", "probability_kcenter"):
        found = pool(known=1)
        found.examples, found.round = found.examples.with_tensors(x=x), 1
        active(learner, Config(ask=ask, query=1, round_steps=1)).collect(torch.arange(0), found)
        asked[ask] = int(found.known.nonzero()[-1])
    assert asked["kcenter"] == 8 and asked["probability_kcenter"] > 8


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"ask": "entropy"}, 30),
        ({"ask": "bald", "members": 3}, 30),
        ({"ask": "average_disagreement", "restart": "optimizer"}, 30),
        ({"ask": "leverage"}, 30),
        ({"ask": "probability_kcenter", "teacher": "random"}, 30),
        ({"ask": "typicality", "budget": {"labels": 17, "steps": 100}}, 17),
    ],
)
def test_a_run_pays_for_what_it_asks(options, labels):
    result = didact.run("active", **{**RUN, "budget": {"steps": 5}, "round_steps": 2, **options})
    assert result.cost.labels == labels
    assert result.status == "done"


def test_labels_that_are_asked_for_help():
    given = {**RUN, "student": "mlp:16", "round_steps": 60, "query": 20, "seed": 1}
    first, last = (didact.run("active", **given, steps=steps) for steps in (60, 180))
    assert (first.cost.labels, last.cost.labels) == (10, 50)
    assert last.metrics["accuracy"] > first.metrics["accuracy"] + 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": None}, "asks for labels, but it knows 1051 of 1051"),
        ({"ask": "bald"}, "the student has no dropout; give members=5"),
        ({"oracle": "teacher"}, "oracle is 'teacher', but there is no teacher"),
        ({"sampler": "balanced"}, "makes batches of its own"),
        ({"query": 0}, "query is 0"),
        ({"wrong": 1.0}, "wrong is 1"),
        ({"data": "diabetes"}, "ask is 'badge' .* the data are a regression; ask by random, bald"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(options, said):
    with pytest.raises(ConfigError, match=said):
        didact.run("active", **{**RUN, "steps": 2, **options})


def test_a_regression_is_asked_for_by_what_needs_no_classes():
    result = didact.run("active", **{**RUN, "data": "diabetes", "steps": 4, "round_steps": 2, "ask": "leverage"})
    assert result.cost.labels == 20
