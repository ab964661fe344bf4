"""A cascade against the same rules in a plain loop, and its limit of calls in whole runs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import didact
from blobs import DATA
from didact.errors import ConfigError, TeacherError
from didact.teachers import BaseTeacher, CascadeTeacher, Committee
from didact.types import Batch, Labels, Logits


class Table(BaseTeacher):
    """Answers by the id of the example, and remembers whom it was asked about."""

    def __init__(self, probs, trust):
        super().__init__()
        self.probs, self.trust, self.seen = probs, trust, []

    def signal(self, batch):
        self.count(batch)
        self.seen += batch["id"].tolist()
        return Logits(logits=self.probs[batch["id"]].log(), trust=self.trust[batch["id"]])


def batch(size):
    return Batch({"id": torch.arange(size)})


def slow(probs, trusts, sure, calls):
    """Whom each teacher is asked about, and the last answer, row by row; the least sure rows first."""
    members, size, _ = probs.shape
    asked, spent = [list(range(size))], 0
    for m in range(1, members):
        needy = []
        for b in range(size):
            told = [probs[k, b] for k in range(m) if b in asked[k] and trusts[k, b] > 0]
            named = {int(np.argmax(one)) for one in told}
            certainty = float(np.max(np.mean(told, 0))) if len(named) == 1 else -1.0
            if certainty < sure:
                needy.append((certainty, b))
        needy = sorted(needy)[: max(calls - spent, 0)]
        asked.append(sorted(b for _, b in needy))
        spent += len(needy)
        if not needy:
            asked += [[] for _ in range(m + 1, members)]
            break
    last = [[k for k in range(members) if b in asked[k] and trusts[k, b] > 0] for b in range(size)]
    return asked, [one[-1] if one else None for one in last]


@settings(max_examples=40, deadline=None)
@given(
    members=st.integers(2, 4),
    size=st.integers(1, 6),
    sure=st.sampled_from([0.5, 0.8, 1.0]),
    calls=st.sampled_from([0, 1, 3, 100]),
    seed=st.integers(0, 999),
)
def test_it_asks_whom_the_rule_says(members, size, sure, calls, seed):
    rng = np.random.default_rng(seed)
    scores = np.exp(rng.normal(scale=1.5, size=(members, size, 3)))
    probs = scores / scores.sum(-1, keepdims=True)
    trusts = rng.integers(0, 4, size=(members, size)).clip(0, 2) / 2
    teachers = [Table(torch.from_numpy(p), torch.from_numpy(t)) for p, t in zip(probs, trusts, strict=True)]
    signal = CascadeTeacher(teachers, sure=sure, calls=calls).signal(batch(size))
    asked, last = slow(probs, trusts, sure, calls)
    assert [one.seen for one in teachers] == asked
    assert sum(len(one.seen) for one in teachers[1:]) <= calls
    for b, m in enumerate(last):
        if m is None:
            assert float(signal.trust[b]) == 0.0
        else:
            np.testing.assert_allclose(signal.log_softmax()[b].exp(), probs[m, b], rtol=1e-4)
            assert float(signal.trust[b]) == trusts[m, b]


def certain(*classes):
    return Table(torch.eye(3, dtype=torch.float64)[list(classes)] * 0.94 + 0.02, torch.ones(len(classes)))


def test_disagreement_alone_passes_on():
    teachers = [certain(0, 0, 1), certain(0, 2, 1), certain(0, 2, 0)]
    cascade = CascadeTeacher(teachers, sure=0.99)
    cascade.signal(batch(3))
    assert [one.seen for one in teachers] == [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    teachers = [certain(0, 0, 1), certain(0, 2, 1), certain(0, 2, 0)]
    cascade = CascadeTeacher(teachers, sure=0.9)
    assert cascade.signal(batch(3)).logits.argmax(-1).tolist() == [0, 0, 1]
    assert [one.seen for one in teachers] == [[0, 1, 2], [], []]


def test_a_committee_joins_the_answers_of_those_that_were_asked():
    unsure = Table(torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]]), torch.ones(2))
    teachers = [unsure, certain(1, 1)]
    blend = Committee(teachers, weights=[1.0, 3.0])
    found = CascadeTeacher(teachers, sure=0.8, blend=blend).signal(batch(2)).log_softmax().exp()
    np.testing.assert_allclose(found[0], [(0.5 + 3 * 0.02) / 4, (0.3 + 3 * 0.96) / 4, (0.2 + 3 * 0.02) / 4], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0.9, 0.05, 0.05], rtol=1e-5)


def test_the_limit_holds_over_batches_and_a_resumed_run():
    teachers = [Table(torch.full((5, 3), 1 / 3), torch.ones(5)), certain(0, 1, 2, 0, 1)]
    cascade = CascadeTeacher(teachers, sure=0.9, calls=7)
    for _ in range(3):
        cascade.signal(batch(5))
    assert len(teachers[1].seen) == cascade.asked == 7 == cascade.cost.teacher_calls - 15
    again = CascadeTeacher(teachers, sure=0.9, calls=7)
    again.load_state_dict(cascade.state_dict())
    again.signal(batch(5))
    assert len(teachers[1].seen) == 7


def test_a_run_never_asks_more_than_its_limit_and_charges_each_teacher():
    settings = {"data": DATA, "student": "mlp:4", "steps": 8, "progress": False, "lr": 0.03}
    result = didact.run("distill", teacher="cascade:1.0,25:random+warm:100:mlp:8", **settings)
    spent = {name: cost.get("teacher_calls", 0) for name, cost in result.spent.items() if "teacher" in name}
    assert spent["teacher.0"] == 168
    assert spent["teacher.1"] == 25
    assert result.cost.teacher_calls == 193
    free = didact.run("distill", teacher="cascade:1.0:committee:skill:random+warm:100:mlp:8", **settings)
    assert free.spent["teacher.1"] == {"teacher_calls": 168}
    # Mechanism: where the dear one may be asked, it teaches; once it may not, chance answers.
    assert result.teacher["accuracy"] < 0.6 < 0.8 < free.teacher["accuracy"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cascade:0.9:mlp:4", "asks one teacher after the other; give two or more"),
        ("cascade:1.5:mlp:4+mlp:8", "sure is 1.5, but must be at least 0"),
        ("cascade:0.9,x:mlp:4+mlp:8", "the number of calls"),
        ("cascade:0.9,-1:mlp:4+mlp:8", "calls is -1"),
        ("cascade:much:mlp:4+mlp:8", "how sure"),
        ("cascade:1,2,3:mlp:4+mlp:8", "is written cascade:SURE:TEACHERS"),
    ],
)
def test_what_cannot_work_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        didact.run("distill", data=DATA, student="mlp:4", teacher=spec, steps=1, progress=False)


def test_teachers_that_name_no_classes_are_refused():
    class Number(BaseTeacher):
        def signal(self, batch):
            return Labels(labels=batch["id"].float())

    with pytest.raises(TeacherError, match="gives no classes of examples"):
        CascadeTeacher([Number(), Number()], sure=0.5).signal(batch(2))
    with pytest.raises(ConfigError, match="has a single one"):
        CascadeTeacher([Number()], sure=0.5)
    with pytest.raises(ConfigError, match="blend has 1 members, but there are 2 teachers"):
        CascadeTeacher([Number(), Number()], sure=0.5, blend=Committee([Number()]))
    assert math.isclose(CascadeTeacher([Number(), Number()], sure=0.5).sure, 0.5)
