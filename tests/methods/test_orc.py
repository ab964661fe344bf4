"""Who is promoted, who teaches whom, and what the pivot is trained on, against NumPy."""

import numpy as np
import pytest
import torch

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.orc import ORC, Config
from didact.types import IGNORE, Batch


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def made(**options):
    modules = [net(seed=s) for s in range(4)]
    rest = iter(modules[1:])
    return ORC(Config(**options), ModuleLearner(modules[0]), lambda _spec: ModuleLearner(next(rest))), modules


def softmax(rows, temperature=1.0):
    exponentials = np.exp(rows / temperature)
    return exponentials / exponentials.sum(-1, keepdims=True)


def kl(theirs, mine, temperature):
    p, q = softmax(theirs, temperature), softmax(mine, temperature)
    return temperature**2 * (p * np.log(p / q)).sum(-1).mean()


def answers(modules, x):
    with torch.no_grad():
        return [module(x).double().numpy() for module in modules]


def cross_entropy(logits, labels, there):
    return -np.log(softmax(logits))[np.flatnonzero(there), labels[there]].mean()


@pytest.mark.parametrize("promoted", [0, 1, 2])
def test_the_best_students_teach_the_others(promoted):
    method, modules = made(promoted=promoted, weight=0.5, temperature=3.0)
    batch = half()
    *students, pivot = answers(modules, batch["x"])
    labels = batch["label"].numpy()
    there = labels != IGNORE
    own = [cross_entropy(z, labels, there) for z in students]
    best = np.argsort(own)[:promoted]
    weight = 0.5 / (1 + promoted)
    terms = method.loss(batch)
    found = {name: term.mean().item() * term.weight for name, term in terms.items()}
    for i, mine in enumerate(students):
        assert found[f"label_{i}"] == pytest.approx(own[i], rel=1e-5)
        assert found[f"pivot_{i}"] == pytest.approx(weight * kl(pivot, mine, 3.0), rel=1e-4)
        for k, teacher in enumerate(best):
            expected = 0.0 if i in best else weight * kl(students[teacher], mine, 3.0)
            assert found[f"temporary_{i}_{k}"] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert len(terms) == 3 + 3 + 3 * promoted + 2


def test_the_pivot_is_trained_on_what_the_students_get_wrong():
    method, modules = made()
    batch = half()
    *students, _ = answers(modules, batch["x"])
    labels = batch["label"].numpy()
    wrong = np.mean([(z.argmax(-1) != labels) & (labels != IGNORE) for z in students], axis=0)
    assert 0 < wrong.sum() < 6, "the example must have both"
    torch.manual_seed(11)
    share = torch.rand(()).item()
    x = batch["x"]
    mixed = share * x + (1 - share) * torch.cat([x[-1:], x[:-1]])
    log_probs = np.log(softmax(answers(modules[3:], mixed)[0]))
    total = count = 0.0
    for b in range(12):
        for label, part in ((labels[b], share), (labels[b - 1], 1 - share)):
            if label != IGNORE:
                total -= wrong[b] * part * log_probs[b, label]
                count += wrong[b] * part
    torch.manual_seed(11)
    term = method.loss(batch)["feedback"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4)
    assert float(term.count) == pytest.approx(count, rel=1e-4)


def test_teachers_learn_nothing_from_those_whom_they_teach():
    method, _ = made()
    terms = method.loss(half())
    sum(term.sum for name, term in terms.items() if name.startswith(("pivot_0", "pivot_1", "temporary"))).backward()
    assert all(p.grad is None for p in method.pivot.parameters())
    assert all(p.grad is not None for p in method.learner.parameters())


class FirstToken(torch.nn.Embedding):
    """Logits of the first token alone."""

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids[:, 0])


def test_tokens_are_not_mixed():
    method, _ = made()
    words = {"input_ids": torch.tensor([[1], [2]]), "attention_mask": torch.ones(2, 1)}
    tokens = Batch({"label": torch.tensor([0, 1]), "id": torch.arange(2), **words})
    for student in (method.learner, *method.peers, method.pivot):
        student.module = FirstToken(3, 3)
        student._store[""] = torch.zeros(2, 8)
    with torch.no_grad():
        logits = [s.module.weight[[1, 2]].double().numpy() for s in (method.learner, *method.peers)]
    wrong = np.mean([z.argmax(-1) != np.array([0, 1]) for z in logits], axis=0)
    assert float(method.loss(tokens)["feedback"].count) == pytest.approx(wrong.sum())


@pytest.mark.parametrize(
    "options",
    [{"students": 1}, {"promoted": -1}, {"weight": -1.0}, {"temperature": 0}, {"feedback": -1.0}, {"promoted": 3}],
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
