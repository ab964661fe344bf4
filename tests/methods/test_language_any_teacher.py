"""Any teacher teaches a language model: by each method that looks at distributions, as a frozen model does."""

import itertools

import numpy as np
import pytest
import torch

from conftest import few
from didact import worlds
from didact.methods.language import cross_tokenizer, gkd, kdrl, taid, teacher_hacking, token_sinkhorn
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer
from didact.teachers import (
    AdversarialTeacher,
    Committee,
    EmaTeacher,
    LaggingTeacher,
    LanguageTeacher,
    NoisyTeacher,
    RandomTeacher,
)
from didact.types import Batch, Logits, States
from didact.types.algebra import keep_top

QUESTIONS = worlds.load("addition")[:4]


def model(seed):
    learner = build_causal("decoder:1x16", seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(6.0)
    return learner


def batch_for(learner):
    batch = Writer(learner, Sampling()).encode(QUESTIONS, ["1", "22", "333", ""]).batch
    size, shape = batch.size, batch["input_ids"].shape
    more = {"log_probs": torch.zeros(shape), "temperature": torch.ones(size), "trust": torch.ones(size)}
    more |= {"reward": torch.tensor([1.0, 0.0, 0.5, 0.0]), "advantage": torch.zeros(size), "dead": torch.zeros(size)}
    return Batch({**batch, **more})


class Object:
    """Anything with a method `signal`; it answers with logits, the likeliest tokens, or states."""

    def __init__(self, answer):
        self.model, self.answer = model(1), answer

    def signal(self, batch):
        output = self.model(batch)
        return self.answer(States(hidden=output.hidden, head=output.head))


TEACHERS = {
    "frozen": lambda: LanguageTeacher(model(1)),
    "random": lambda: RandomTeacher(260, seed=3),
    "noisy": lambda: NoisyTeacher(LanguageTeacher(model(1)), rate=0.5, seed=3),
    "adversarial": lambda: AdversarialTeacher(LanguageTeacher(model(1)), strength=0.8),
    "average": lambda: EmaTeacher(model(1), decay=0.9),
    "lagging": lambda: LaggingTeacher(model(1), lag=2),
    "committee": lambda: Committee([LanguageTeacher(model(1)), LanguageTeacher(model(2))], weights=[1.0, 2.0]),
    "committee in logits": lambda: Committee([LanguageTeacher(model(s)) for s in (1, 2)], space="logit"),
    "noisy committee": lambda: NoisyTeacher(Committee([LanguageTeacher(model(s)) for s in (1, 2)]), rate=0.5),
    "logits": lambda: Object(lambda states: Logits(logits=states.scores())),
    "states": lambda: Object(lambda states: states),
}


class Shown:
    """Shows what another teacher says as plain logits, which a slow transcription can read too."""

    def __init__(self, teacher):
        self.teacher = teacher

    def signal(self, batch):
        return Logits(logits=self.teacher.signal(batch).log_softmax())


METHODS = {
    "gkd": lambda learner, teacher: gkd.GKD(gkd.Config(divergence="jsd"), learner, teacher),
    "gkd softened": lambda learner, teacher: gkd.GKD(gkd.Config(softening=2.0), learner, teacher),
    "taid": lambda learner, teacher: taid.TAID(taid.Config(), learner, teacher),
    "kdrl": lambda learner, teacher: kdrl.KDRL(kdrl.Config(only_wrong=True), learner, teacher),
    "kdrl k2": lambda learner, teacher: kdrl.KDRL(kdrl.Config(estimate="k2"), learner, teacher),
    "token_sinkhorn": lambda learner, teacher: token_sinkhorn.TokenSinkhorn(token_sinkhorn.Config(), learner, teacher),
    "token_sinkhorn unsoftened": lambda learner, teacher: token_sinkhorn.TokenSinkhorn(
        token_sinkhorn.Config(cloud_softening=1.0), learner, teacher
    ),
}


def gradient(method, learner, batch):
    learner.zero_grad()
    terms = method.loss(batch)
    terms.backward()
    return terms, torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])


# A third of all pairs, in which each method and each teacher is.
@pytest.mark.parametrize("pair", few(itertools.product(TEACHERS, METHODS), 3), ids=" to ".join)
def test_each_method_learns_from_each_teacher_what_it_says(pair):
    teacher, method = pair
    learner = model(0)
    batch, found = batch_for(learner), []
    for wrapped in (lambda t: t, Shown):
        made = METHODS[method](learner, wrapped(TEACHERS[teacher]()))
        terms, pull = gradient(made, learner, batch)
        found.append((terms.total().item(), pull))
        assert {name: float(term.count) for name, term in terms.items()} == pytest.approx(
            {name: float(count) for name, count in made.counts(batch).items()}
        )
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3, abs=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-2, atol=1e-4)
    assert found[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("teacher", TEACHERS)
def test_gkd_follows_the_distribution_of_the_teacher(teacher):
    learner = model(0)
    batch, made = batch_for(learner), TEACHERS[teacher]()
    method = gkd.GKD(gkd.Config(divergence="forward"), learner, made)
    with torch.no_grad():
        q = learner(batch).logits.double().softmax(-1).numpy()
        p = made.signal(batch).log_softmax().double().exp().numpy()
    places = [(row, place - 1) for row, place in batch["completion_mask"].nonzero().tolist()]
    expected = np.mean([np.sum(p[at] * np.log(p[at].clip(1e-43) / q[at])) for at in places])
    assert method.loss(batch)["teacher"].mean().item() == pytest.approx(expected, rel=1e-4)


def test_the_likeliest_tokens_are_enough_to_learn_from():
    learner = model(0)
    batch = batch_for(learner)
    whole, kept = (
        gradient(gkd.GKD(gkd.Config(divergence="forward"), learner, Object(answer)), learner, batch)
        for answer in (lambda states: states, lambda states: keep_top(states, 259))
    )
    assert kept[0].total().item() == pytest.approx(whole[0].total().item(), rel=1e-4)
    torch.testing.assert_close(kept[1], whole[1], rtol=1e-3, atol=1e-5)
    for method in ("kdrl", "kdrl k2", "token_sinkhorn unsoftened", "taid"):
        made = METHODS[method](learner, Object(lambda states: keep_top(states, 40)))
        assert gradient(made, learner, batch)[1].isfinite().all()


@pytest.mark.parametrize("teacher", ["committee", "noisy", "logits"])
def test_a_student_comes_nearer_to_its_teacher(teacher):
    learner = model(0)
    batch, made = batch_for(learner), TEACHERS[teacher]()
    method = gkd.GKD(gkd.Config(divergence="forward"), learner, made)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        terms = method.loss(batch)
        terms.backward()
        optimizer.step()
        losses.append(terms["teacher"].mean().item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("teacher", ["noisy", "committee", "logits"])
def test_pieces_of_text_are_compared_with_what_any_teacher_says(teacher):
    learner = model(0)
    batch = batch_for(learner)
    chunk = batch["completion_mask"].cumsum(1) * batch["completion_mask"]
    names = ("input_ids", "attention_mask", "completion_mask", "chunk")
    batch = Batch({**batch, "chunk": chunk})
    batch = Batch({**batch, **{f"teacher.{name}": batch[name] for name in names}})
    made = TEACHERS[teacher]()
    found, expected = (
        cross_tokenizer.CrossTokenizer(cross_tokenizer.Config(), learner, one).loss(batch).total().item()
        for one in (made, Shown(TEACHERS[teacher]()))
    )
    assert found == pytest.approx(expected, rel=1e-4)
    assert found > 0.0


def test_a_student_may_hack_a_committee():
    learner = model(0)
    batch = batch_for(learner)
    batch = Batch({**batch, **{f"golden.{n}": batch[n] for n in ("input_ids", "attention_mask", "completion_mask")}})
    config = teacher_hacking.Config(answers="student")
    method = teacher_hacking.TeacherHacking(config, learner, TEACHERS["committee"](), QUESTIONS)
    plain = gkd.GKD(gkd.Config(divergence="forward"), learner, TEACHERS["committee"]())
    proxy = method.loss(batch)["proxy"].mean().item()
    assert proxy == pytest.approx(plain.loss(batch)["teacher"].mean().item(), rel=1e-6)
