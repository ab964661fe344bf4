"""The weights of committees against transcriptions in plain loops, and worlds in which the best weights are known."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, TeacherError
from didact.teachers import BaseTeacher, Committee
from didact.teachers.weighing import Gate, agreement_weights, inverse_errors, mixture_shares
from didact.types import IGNORE, Batch, Labels, Logits
from didact.types.scores import jensen_shannon


class Table(BaseTeacher):
    """Answers by the id of the example."""

    def __init__(self, logits, trust=None):
        super().__init__()
        self.logits, self.trust = logits, trust

    def signal(self, batch):
        self.count(batch)
        trust = None if self.trust is None else self.trust[batch["id"]]
        return Logits(logits=self.logits[batch["id"]], trust=trust)


def rows(labels):
    return Batch({"id": torch.arange(len(labels)), "label": labels})


def log_probs(members, size, classes, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(members, size, classes))).float().log_softmax(-1)


def entropy(p):
    return -sum(q * math.log(q) for q in p if q > 0)


def test_the_divergence_is_the_papers():
    found = log_probs(3, 4, 5)
    say = torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    measured = jensen_shannon(found, say)
    for b in range(3):
        w = [float(one) / float(say[b].sum()) for one in say[b]]
        p = found[:, b].exp().tolist()
        mean = [sum(w[m] * p[m][c] for m in range(3)) for c in range(5)]
        expected = entropy(mean) - sum(w[m] * entropy(p[m]) for m in range(3))
        assert float(measured[b]) == pytest.approx(max(expected, 0.0), abs=1e-6)
    assert float(measured[3]) == 0.0
    certain = torch.eye(3).log().clamp(min=-100.0)[:, None]
    assert float(jensen_shannon(certain, torch.ones(1, 3))) == pytest.approx(math.log(3))


def test_agreement_is_the_papers():
    found, labels = log_probs(3, 4, 5), torch.tensor([2, 0, IGNORE, 4])
    weights = agreement_weights(found, labels)
    for b, label in enumerate(labels.tolist()):
        if label == IGNORE:
            assert weights[b].tolist() == pytest.approx([1 / 3] * 3)
            continue
        errors = [-float(found[m, b, label]) for m in range(3)]
        total = sum(math.exp(one) for one in errors)
        assert weights[b].tolist() == pytest.approx([(1 - math.exp(one) / total) / 2 for one in errors], rel=1e-5)
    assert agreement_weights(found[:1], labels).tolist() == [[1.0]] * 4


def test_inverse_errors_give_the_least_variance():
    weights = inverse_errors([1.0, 4.0])
    assert weights == pytest.approx([0.8, 0.2])
    shares = np.linspace(0, 1, 101)
    assert shares[(shares**2 * 1.0 + (1 - shares) ** 2 * 4.0).argmin()] == pytest.approx(weights[0])
    assert inverse_errors([0.0, 0.0]) == [0.5, 0.5]


def slow_gate(gate, found, labels, answered):
    """The negative log-likelihood with its prior, and the shares, in plain loops."""
    loss, shares = 0.0, []
    members, size, classes = found.shape
    for b in range(size):
        scores = []
        for m in range(members):
            p = found[m, b].exp().tolist()
            sure = 1 + sum(q * math.log(q) for q in p) / math.log(classes)
            each = sum(float(gate.each[m, c]) * p[c] for c in range(classes))
            scores.append(float(gate.bias[m]) + float(gate.slope) * sure + each if answered[b, m] else -math.inf)
        top = [math.exp(one) for one in scores]
        shares.append([one / sum(top) for one in top])
        loss -= math.log(sum(shares[b][m] * math.exp(float(found[m, b, labels[b]])) for m in range(members)))
    prior = float((gate.bias**2).sum() + gate.slope**2 + (gate.each**2).sum()) / 2
    return loss + prior, np.array(shares)


def test_the_gate_is_the_best_mixture_of_experts():
    found, labels = log_probs(2, 12, 3, seed=3).double(), torch.arange(12) % 3
    found[0, :, 0] += 3.0  # the first one knows class 0 alone, and says it always
    found = found.log_softmax(-1)
    answered = torch.ones(12, 2, dtype=torch.bool)
    answered[4, 0] = False
    gate = Gate(2, 3)
    gate.fit(found, labels, answered)
    loss, shares = slow_gate(gate, found, labels, answered)
    np.testing.assert_allclose(gate.shares(found, answered), shares, rtol=1e-5, atol=1e-6)
    assert shares[4].tolist() == [0.0, 1.0]
    for parameter in (gate.bias, gate.each):  # no step in any direction is better
        for place in np.ndindex(*parameter.shape):
            for step in (-1e-3, 1e-3):
                parameter[place] += step
                assert slow_gate(gate, found, labels, answered)[0] > loss
                parameter[place] -= step
    assert slow_gate(Gate(2, 3), found, labels, answered)[0] > loss


def experts(size=64):
    """Two members of four classes: one knows the first two and takes the others for each other, the second the reverse.

    Both are always as sure.
    """
    labels = torch.arange(size) % 4
    right = torch.nn.functional.one_hot(labels, 4).float() * 6
    wrong = torch.nn.functional.one_hot(labels ^ 1, 4).float() * 6
    low = (labels < 2)[:, None]
    return labels, Table(torch.where(low, right, wrong)), Table(torch.where(low, wrong, right))


def probability(committee, labels):
    """The least probability of a label."""
    return float(committee.signal(rows(labels)).log_softmax().exp()[torch.arange(len(labels)), labels].min())


def test_learnt_shares_choose_the_expert_of_a_row_and_unrelated_labels_teach_nothing():
    """Mechanism: who is right shows in the class that it names here, so that a gate can find out, and skill can't."""
    labels, first, second = experts()
    learned = Committee([first, second], weights="learned")
    assert probability(learned, labels) == pytest.approx(0.5, abs=0.01)
    learned.measure([rows(labels)])
    assert probability(learned, labels) > 0.8
    skill = Committee([first, second], weights="skill")
    skill.measure([rows(labels)])
    assert skill.accuracies == (0.5, 0.5)
    assert probability(skill, labels) == pytest.approx(0.5, abs=0.01)
    control = Committee([first, second], weights="learned")
    control.measure([Batch({"id": torch.arange(64), "label": torch.arange(64) // 4 % 4})])
    assert probability(control, labels) == pytest.approx(0.5, abs=0.01)


def test_skill_is_measured_where_a_member_answered():
    labels = torch.tensor([0, 1, 2, 0])
    right = torch.nn.functional.one_hot(labels, 3).float() * 5
    few = Table(torch.where(torch.tensor([True, False, False, False])[:, None], right, right.roll(1, 1)),
                trust=torch.tensor([1.0, 0.0, 0.0, 0.0]))  # fmt: skip
    silent = Table(right, trust=torch.zeros(4))
    committee = Committee([few, Table(right.roll(1, 1)), silent], weights="skill")
    assert committee.signal(rows(labels)).logits.shape == (4, 3)  # unmeasured, all weigh alike
    committee.measure([rows(labels[:2]), Batch({"id": torch.tensor([2, 3]), "label": labels[2:]})])
    assert committee.accuracies == pytest.approx((1.0, 0.0, 0.0))
    again = Committee([few, Table(right), silent], weights="skill")
    again.load_state_dict(committee.state_dict())
    assert again.accuracies == committee.accuracies
    with pytest.raises(TeacherError, match="no member is better than guessing"):
        Committee([Table(right.roll(1, 1)), silent], weights="skill").measure([rows(labels)])


def test_the_gate_is_saved_with_its_committee():
    labels, first, second = experts()
    committee = Committee([first, second], weights="learned")
    committee.measure([rows(labels)])
    again = Committee([first, second], weights="learned")
    again.load_state_dict(committee.state_dict())
    torch.testing.assert_close(again.signal(rows(labels)).logits, committee.signal(rows(labels)).logits, rtol=0, atol=0)


def test_skill_over_a_regression_is_that_of_errors():
    class Says(BaseTeacher):
        def __init__(self, shift):
            super().__init__()
            self.shift = shift

        def signal(self, batch):
            return Labels(labels=batch["id"].float() + self.shift)

    committee = Committee([Says(1.0), Says(2.0)], weights="skill")
    batch = Batch({"id": torch.arange(3), "label": torch.arange(3).float()})
    committee.measure([batch])
    assert committee.errors == pytest.approx((1.0, 4.0))
    assert committee.signal(batch).labels.tolist() == pytest.approx([1.2, 2.2, 3.2])
    with pytest.raises(TeacherError, match="regression targets"):
        Committee([Says(1.0)], weights="learned").signal(batch)


def test_a_committee_in_conflict_abstains():
    certain = [Table(torch.tensor([[9.0, 0.0], [9.0, 0.0]])), Table(torch.tensor([[9.0, 0.0], [0.0, 9.0]]))]
    committee = Committee(certain, most_conflict=0.5)
    signals = [one.signal(rows(torch.zeros(2).long())) for one in certain]
    assert committee.conflict(signals).tolist() == pytest.approx([0.0, 1.0], abs=0.01)
    assert committee.signal(rows(torch.zeros(2).long())).trust.tolist() == [1.0, 0.0]
    # A member that abstains does not contradict anybody.
    certain[1].trust = torch.tensor([1.0, 0.0])
    assert committee.signal(rows(torch.zeros(2).long())).trust.tolist() == [1.0, 1.0]
    with pytest.raises(ConfigError, match="most_conflict is 0"):
        Committee(certain, most_conflict=0.0)


def test_agreement_listens_to_who_is_right_about_a_labelled_row():
    labels, first, second = experts()
    committee = Committee([first, second], weights="agreement")
    assert probability(committee, labels) > 0.9
    hidden = Batch({"id": torch.arange(len(labels))})
    equal = Committee([first, second]).signal(hidden)
    torch.testing.assert_close(committee.signal(hidden).logits, equal.logits)


def test_a_member_can_be_left_out():
    labels, first, second = experts()
    for weights in ("equal", "confidence", "skill", "learned"):
        committee = Committee([first, second], weights=weights, space="logit")
        if weights == "learned":
            committee.measure([rows(labels)])
        elif weights == "skill":  # where the one that is left weighs nothing, it is heard all the same
            committee = Committee([first, second], weights=weights, accuracies=[0.9, 0.1])
        signals = [first.signal(rows(labels)), second.signal(rows(labels))]
        left = committee.mean(signals, rows(labels), without=0)
        torch.testing.assert_close(left.log_softmax(), signals[1].log_softmax(), rtol=1e-4, atol=1e-4)


def test_shares_make_the_mixture_likeliest():
    """On many rows they are those of expectation-maximisation, and on none they are equal."""
    right, answered = log_probs(3, 4000, 5)[..., 0].T, torch.ones(4000, 3, dtype=torch.bool)
    right = right + torch.tensor([0.0, -0.7, -0.3])
    shares = np.full(3, 1 / 3)
    for _ in range(3000):
        said = shares * right.double().exp().numpy()
        shares = (said / said.sum(1, keepdims=True)).mean(0)
    assert mixture_shares(right, answered) == pytest.approx(shares, abs=0.01)
    assert mixture_shares(right[:0], answered[:0]) == pytest.approx([1 / 3] * 3)


def test_a_member_that_abstained_leaves_its_share_to_the_others():
    """One that is right wherever it answers is not punished for its silence."""
    right = torch.tensor([[-0.1, -2.0], [-9.0, -2.0]]).repeat(500, 1)
    answered = torch.tensor([[True, True], [False, True]]).repeat(500, 1)
    assert mixture_shares(right, answered)[0] > 0.9
    assert mixture_shares(right, torch.ones_like(answered))[0] < 0.6
