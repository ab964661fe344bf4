"""Committees against averages computed in plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError, TeacherError
from didact.teachers import BaseTeacher, Committee, EmaTeacher, RandomTeacher, skill_weights
from didact.types import IGNORE, Batch, Cost, Features, Labels, Logits, TopK


class Says(BaseTeacher):
    """A teacher that always gives the same signal."""

    def __init__(self, signal):
        super().__init__()
        self.given = signal

    def signal(self, batch):
        self.count(batch)
        return self.given


def batch(size=2):
    return Batch({"id": torch.arange(size)})


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def slow(members, weights, trusts, space):
    """The weighted mean, example by example: answer and trust."""
    answers, combined = [], []
    for b in range(len(members[0])):
        w = [weights[m][b] * trusts[m][b] for m in range(len(members))]
        voiced = [weights[m][b] for m in range(len(members)) if trusts[m][b] > 0]
        combined.append(sum(w) / sum(voiced) if voiced else 0.0)
        if sum(w) == 0:
            w = [weights[m][b] for m in range(len(members))]
        probs = [softmax(members[m][b]) for m in range(len(members))]
        if space == "probability":
            mean = [sum(w[m] * probs[m][c] for m in range(len(w))) / sum(w) for c in range(len(probs[0]))]
        else:
            logs = [sum(w[m] * math.log(probs[m][c]) for m in range(len(w))) / sum(w) for c in range(len(probs[0]))]
            mean = softmax(logs)
        answers.append(mean)
    return np.array(answers), np.array(combined)


def answer(signal):
    return signal.log_softmax().exp().numpy()


@settings(max_examples=30, deadline=None)
@given(
    members=st.integers(1, 4),
    size=st.integers(1, 4),
    classes=st.integers(2, 5),
    space=st.sampled_from(["probability", "logit"]),
    kind=st.sampled_from(["equal", "list", "confidence", "skill"]),
    seed=st.integers(0, 999),
)
def test_committee_is_the_slow_mean(members, size, classes, space, kind, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(members, size, classes)).astype("f4")
    trusts = rng.random((members, size)).round(1) * (rng.random((members, size)) < 0.7)
    teachers = [
        Says(Logits(logits=torch.from_numpy(z), trust=torch.from_numpy(t))) for z, t in zip(logits, trusts, strict=True)
    ]
    options, weights = {"weights": kind}, np.ones((members, size))
    if kind == "list":
        numbers = rng.random(members) + 0.1
        options, weights = {"weights": numbers.tolist()}, np.repeat(numbers[:, None], size, 1)
    if kind == "confidence":
        for m in range(members):
            for b in range(size):
                p = softmax(logits[m, b].tolist())
                weights[m, b] = 1 + sum(q * math.log(q) for q in p) / math.log(classes) + 1e-6
    if kind == "skill":
        accuracies = rng.uniform(1 / classes + 0.05, 0.95, size=members)
        options["accuracies"] = accuracies.tolist()
        each = np.log(accuracies / (1 - accuracies)) + math.log(classes - 1)
        weights = np.repeat(each[:, None], size, 1)
    signal = Committee(teachers, space=space, **options).signal(batch(size))
    expected, trust = slow(logits.tolist(), weights.tolist(), trusts.tolist(), space)
    if kind == "confidence":  # it decides who is listened to, not whether the committee is trusted
        trust = slow(logits.tolist(), np.ones((members, size)).tolist(), trusts.tolist(), space)[1]
    assert isinstance(signal, Logits)
    np.testing.assert_allclose(answer(signal), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(signal.trust, trust, rtol=1e-4, atol=1e-6)


def test_all_kinds_of_answers_about_classes_can_sit_on_a_committee():
    members = [
        Says(Logits(logits=torch.tensor([[0.0, math.log(3.0), 0.0], [0.0, 0.0, 0.0]]))),
        Says(Labels(labels=torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))),
        Says(Labels(labels=torch.tensor([2, IGNORE]))),
        Says(Features(features={}, logits=torch.tensor([[0.0, 0.0, math.log(2.0)], [0.0, 0.0, 0.0]]))),
        Says(
            TopK(
                ids=torch.tensor([[0], [1]]),
                log_probs=torch.tensor([[0.6], [0.8]]).log(),
                tail=torch.tensor([0.4, 0.2]),
            )
        ),
    ]
    signal = Committee(members).signal(batch())
    rows = np.array([[0.2, 0.6, 0.2], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.25, 0.5], [0.6, 0.2, 0.2]])
    np.testing.assert_allclose(answer(signal)[0], rows.mean(0), rtol=1e-5)
    thirds = [1 / 3] * 3
    rows = np.array([thirds, [1.0, 0.0, 0.0], thirds, [0.1, 0.8, 0.1]])  # the hard label abstains
    np.testing.assert_allclose(answer(signal)[1], rows.mean(0), rtol=1e-5)
    assert signal.trust.tolist() == [1.0, 1.0]


def test_an_impossible_class_stays_finite_in_logit_space():
    members = [Says(Labels(labels=torch.tensor([[1.0, 0.0]]))), Says(Logits(logits=torch.tensor([[-math.inf, 0.0]])))]
    signal = Committee(members, space="logit").signal(batch(1))
    assert signal.logits.isfinite().all()
    torch.testing.assert_close(signal.logits.softmax(-1), torch.tensor([[0.5, 0.5]]))


def test_regression_targets_are_averaged():
    members = [
        Says(Labels(labels=torch.tensor([1.0, 2.0]))),
        Says(Labels(labels=torch.tensor([4.0, 8.0]), trust=torch.tensor([0.5, 0.0]))),
    ]
    signal = Committee(members, weights=[1.0, 3.0]).signal(batch())
    torch.testing.assert_close(signal.labels, torch.tensor([(1 * 1 + 1.5 * 4) / 2.5, 2.0]))
    torch.testing.assert_close(signal.trust, torch.tensor([2.5 / 4, 1.0]))
    with pytest.raises(TeacherError, match="weights is 'confidence'"):
        Committee(members, weights="confidence").signal(batch())
    with pytest.raises(TeacherError, match="every member must give"):
        Committee([*members, RandomTeacher(2)]).signal(batch())


def test_skill_is_that_of_boosting():
    assert skill_weights([0.5, 0.9, 0.2], 2) == pytest.approx([0.0, math.log(9.0), 0.0])
    assert skill_weights([0.1, 0.5], 10) == pytest.approx([0.0, math.log(9.0)])
    assert skill_weights([1.0], 2)[0] == pytest.approx(math.log(999.0))
    with pytest.raises(TeacherError, match="no member is better than guessing"):
        skill_weights([0.5, 0.1], 2)


def test_members_are_billed_moved_and_saved():
    learner = torch.nn.Linear(1, 2)
    members = [RandomTeacher(3), RandomTeacher(3, seed=1), EmaTeacher(learner, decay=0.9)]
    committee = Committee(members[:2])
    committee.signal(batch(4))
    assert committee.cost == Cost(teacher_calls=8)
    assert committee.spenders == {"0": members[0], "1": members[1]}
    assert committee.to("cpu") is committee
    assert committee.state_dict() == {}
    stateful = Committee(members)
    assert set(stateful.state_dict()) == {"2"}
    members[2].updates = 7
    state = stateful.state_dict()
    members[2].updates = 0
    stateful.load_state_dict(state)
    assert members[2].updates == 7
    assert committee.frozen
    assert not stateful.frozen


def test_combinations_that_cannot_work_are_refused():
    two = [RandomTeacher(3), RandomTeacher(3, seed=1)]
    with pytest.raises(ConfigError, match="teachers is empty"):
        Committee([])
    with pytest.raises(ConfigError, match="weights has 3 numbers, but the committee has 2 members"):
        Committee(two, weights=[1.0, 1.0, 1.0])
    with pytest.raises(ConfigError, match=r"weights\[1\] is -1.0"):
        Committee(two, weights=[1.0, -1.0])
    with pytest.raises(ConfigError, match="at least one member must have a say"):
        Committee(two, weights=[0.0, 0.0])
    with pytest.raises(ConfigError, match="accuracies are for weights='skill' alone"):
        Committee(two, accuracies=[0.5, 0.5])
    with pytest.raises(ConfigError, match="accuracies has 1 numbers"):
        Committee(two, weights="skill", accuracies=[0.5])
    with pytest.raises(ConfigError, match=r"accuracies\[0\] is 1.5"):
        Committee(two, weights="skill", accuracies=[1.5, 0.5])
    with pytest.raises(ConfigError, match=r"weights is 'confidense'.*Did you mean confidence"):
        Committee(two, weights="confidense")
    with pytest.raises(ConfigError, match="space is 'logits'"):
        Committee(two, space="logits")
    with pytest.raises(TeacherError, match=r"have \[3, 4\] classes"):
        Committee([RandomTeacher(3), RandomTeacher(4)]).signal(batch())
    with pytest.raises(TeacherError, match="hard labels, which do not determine the number"):
        Committee([Says(Labels(labels=torch.tensor([0, 1])))]).signal(batch()).log_softmax()
    with pytest.raises(TeacherError, match="weights is 'skill', but no member says how many classes there are"):
        Committee([Says(Labels(labels=torch.tensor([0, 1])))], weights="skill", accuracies=[0.9]).signal(batch())
    with pytest.raises(TeacherError, match="gives Features, which holds no probabilities"):
        Committee([Says(Features(features={"a": torch.zeros(2, 1)}))]).signal(batch())


def test_hard_labels_alone_are_spelled_out_where_it_is_known_how_many_classes_there_are():
    members = [Says(Labels(labels=torch.tensor(labels))) for labels in ([0, 1], [0, 2], [2, 2])]
    told = Committee(members, classes=3).signal(batch())
    assert isinstance(told, Logits)
    np.testing.assert_allclose(answer(told), [[2 / 3, 0, 1 / 3], [0, 1 / 3, 2 / 3]], rtol=1e-5, atol=1e-30)
    later = Committee(members).signal(batch()).log_softmax(outcomes=3)
    assert torch.equal(later, told.log_softmax())
