"""Teachers on demand: the needs in plain loops, who is asked, and what it costs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import didact
from blobs import DATA
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.parts.models import build_causal
from didact.teachers import BaseTeacher, LanguageTeacher, OnDemandTeacher
from didact.types import IGNORE, Batch, Logits

QUICK = {"data": DATA, "student": "mlp:8", "progress": False, "lr": 0.03, "steps": 30}


class Identity(nn.Module):
    """A student whose logits are its inputs; in training mode it would answer something else."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.weight * (x if not self.training else -x)


class Remembers(BaseTeacher):
    """Remembers whom it was asked about."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def signal(self, batch):
        self.count(batch)
        self.seen.append(batch["id"].tolist())
        return Logits(logits=batch["x"] * 2, trust=torch.full((batch.size,), 0.5))


def batch(x, label=None, **more):
    x = torch.tensor(x)
    tensors = {"x": x, "id": torch.arange(10, 10 + len(x)), "row": torch.arange(len(x)), **more}
    return Batch(tensors if label is None else {**tensors, "label": torch.tensor(label)})


def make(when, level=0.5):
    student = ModuleLearner(Identity()).train()
    return OnDemandTeacher(Remembers(), student, when=when, level=level), student


X = [[4.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.7]]
LABELS = [0, 0, 2, IGNORE]


def need(when, x, label):
    exps = [math.exp(v) for v in x]
    p = [e / sum(exps) for e in exps]
    if when == "unsure":
        return -sum(q * math.log(q) for q in p) / math.log(3)
    if when == "wrong":
        return float(label != IGNORE and label != int(np.argmax(p)))
    right = max(p) if label == IGNORE else p[label]
    return 4 * right * (1 - right)


@pytest.mark.parametrize(("when", "level"), [("unsure", 0.8), ("unsure", 0.9), ("wrong", 0.5), ("learnable", 0.95)])
def test_it_asks_where_the_need_is_above_the_level(when, level):
    teacher, student = make(when, level)
    signal = teacher.signal(batch(X, LABELS))
    needs = [need(when, x, label) for x, label in zip(X, LABELS, strict=True)]
    asked = [row for row, one in enumerate(needs) if one > level]
    assert 0 < len(asked) < 4
    assert teacher.teacher.seen == [[10 + row for row in asked]]
    assert signal.trust.tolist() == [0.5 if row in asked else 0.0 for row in range(4)]
    np.testing.assert_allclose(signal.logits[asked], np.array(X)[asked] * 2, rtol=1e-6)
    assert teacher.cost.teacher_calls == len(asked)
    assert student.training
    assert all(part.training for part in student.modules())


def test_the_neediest_row_is_asked_where_none_is_needy():
    teacher, _ = make("unsure", 0.999)
    teacher.signal(batch([[5.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
    assert teacher.teacher.seen == [[11]]


def test_it_asks_again_where_the_student_changes_its_mind():
    teacher, _ = make("changed")
    teacher.signal(batch(X))
    teacher.signal(batch([X[1], X[1], X[2], X[2]]))
    again, _ = make("changed")
    again.load_state_dict(teacher.state_dict())
    again.signal(batch([X[1], X[2], X[2], X[2]]))
    assert teacher.teacher.seen == [[10, 11, 12, 13], [13]]
    assert again.teacher.seen == [[11]]


def test_a_run_is_charged_for_what_it_asked():
    """A student that is right nearly everywhere needs a teacher where it is not."""
    settings = {**QUICK, "student": "warm:60:mlp:8", "steps": 12}
    wrong = didact.run("distill", teacher="on-demand:wrong:warm:60:mlp:8", **settings)
    # The neediest row of each batch is always asked about; the cache keeps what was asked before.
    assert 0 < wrong.cost.teacher_calls < 0.5 * 168
    assert wrong.spent["teacher"] == {"teacher_calls": wrong.cost.teacher_calls}
    # The teacher's own figures are those of all rows.
    assert wrong.teacher["accuracy"] > 0.5


def test_a_language_model_is_asked_about_completions():
    student, teacher = build_causal("decoder:1x16", seed=0), LanguageTeacher(build_causal("decoder:1x16", seed=1))
    ids = torch.randint(0, 250, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask, "id": torch.arange(3)}
    with torch.no_grad():
        student.head.weight.mul_(3.0)
        output = student(Batch(tensors))
        probs = (output.hidden @ output.head.weight.T).softmax(-1).numpy()
    entropy = -(probs * np.log(probs.clip(1e-45))).sum(-1) / math.log(probs.shape[-1])
    needs = [float(np.mean([entropy[b, t - 1] for t in range(1, 6) if mask[b, t]])) for b in range(3)]
    level = sorted(needs)[1] * 0.999
    gated = OnDemandTeacher(teacher, student, when="unsure", level=level)
    np.testing.assert_allclose(gated.unsure(student(Batch(tensors)), Batch(tensors)).detach(), needs, rtol=1e-3)
    signal = gated.signal(Batch(tensors))
    asked = [one > level for one in needs]
    assert sum(asked) == 2 == gated.cost.teacher_calls
    assert signal.trust.any(1).tolist() == asked
    whole = teacher.signal(Batch(tensors)).log_softmax()
    torch.testing.assert_close(signal.log_softmax()[asked], whole[asked], rtol=1e-4, atol=1e-5)
    wrong = OnDemandTeacher(teacher, student, when="wrong")
    rewarded = Batch({**tensors, "reward": torch.tensor([1.0, 0.0, 1.0])})
    assert wrong.signal(rewarded).trust.any(1).tolist() == [False, True, False]
    with pytest.raises(TeacherError, match="the completions have no rewards"):
        wrong.signal(Batch(tensors))
    with pytest.raises(ConfigError, match="Over tokens a teacher is asked where"):
        OnDemandTeacher(teacher, student, when="changed").signal(Batch(tensors))


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="when, in teacher='on-demand:often:mlp:4', is 'often'"):
        didact.run("distill", teacher="on-demand:often:mlp:4", **QUICK)
    with pytest.raises(ConfigError, match=r"level is 1\.0"):
        didact.run("distill", teacher="on-demand:unsure,1:mlp:4", **QUICK)
    with pytest.raises(ConfigError, match="the level, in teacher="):
        didact.run("distill", teacher="on-demand:unsure,x:mlp:4", **QUICK)
    with pytest.raises(TeacherError, match="the batch has no labels"):
        make("wrong")[0].signal(batch(X))
    numbers = (np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0))
    with pytest.raises(ConfigError, match="needs classes, and the data are a regression"):
        didact.run("distill", teacher="on-demand:unsure:mlp:4", **{**QUICK, "data": numbers})
