"""What holds for every kind of teacher, of classes [B] and of tokens [B, T]."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from didact import hashing
from didact.learners import ModuleLearner
from didact.memory import SignalCache
from didact.parts.models import build_causal
from didact.teachers import (
    AdversarialTeacher,
    BaseTeacher,
    CachedTeacher,
    Committee,
    EmaTeacher,
    FrozenTeacher,
    LaggingTeacher,
    LanguageTeacher,
    NoisyTeacher,
    PeerTeacher,
    RandomTeacher,
)
from didact.teachers.controls import normal_draws, row_keys
from didact.types import Batch, Cost, Logits, Pending, States

CLASSES = 5


def language_model(seed):
    learner = build_causal("decoder:1x16", seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(6.0)
    return learner


def classifier(seed):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Linear(3, CLASSES))


class Object:
    """Not one of ours: it has a method `signal`, and nothing else."""

    def __init__(self, world):
        self.learner = world.learner(3)

    def signal(self, batch):
        output = self.learner(batch)
        return Logits(logits=output.logits)


class Classes:
    """Examples, and teachers of their classes."""

    outcomes, learner, frozen = CLASSES, staticmethod(classifier), FrozenTeacher

    @staticmethod
    def batch(size=6):
        x = torch.randn(size, 3, generator=torch.Generator().manual_seed(0))
        return Batch({"x": x, "id": torch.arange(100, 100 + size)})


class Tokens:
    """Sequences, and teachers of their tokens."""

    outcomes, learner, frozen = 260, staticmethod(language_model), LanguageTeacher

    @staticmethod
    def batch(size=6, width=9):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, 250, (size, width), generator=generator)
        there = torch.arange(width) < torch.randint(4, width + 1, (size, 1), generator=generator)
        return Batch(
            {
                "input_ids": ids.where(there, 256),
                "attention_mask": there.long(),
                "completion_mask": there & (torch.arange(width) > 2),
                "id": torch.arange(100, 100 + size),
            }
        )


WORLDS = {"classes": Classes, "tokens": Tokens}
KINDS = {
    "frozen": lambda w: w.frozen(w.learner(0)),
    "random": lambda w: RandomTeacher(w.outcomes, seed=1),
    "noisy": lambda w: NoisyTeacher(w.frozen(w.learner(0)), rate=0.5, seed=1),
    "adversarial": lambda w: AdversarialTeacher(w.frozen(w.learner(0)), strength=0.7),
    "average": lambda w: EmaTeacher(w.learner(0), decay=0.9),
    "lagging": lambda w: LaggingTeacher(w.learner(0), lag=2),
    "peer": lambda w: PeerTeacher(w.learner(0)),
    "committee": lambda w: Committee([w.frozen(w.learner(0)), w.frozen(w.learner(1))]),
    "committee in logits": lambda w: Committee([w.frozen(w.learner(0)), w.frozen(w.learner(1))], space="logit"),
    "committee by confidence": lambda w: Committee(
        [w.frozen(w.learner(0)), w.frozen(w.learner(1))], weights="confidence"
    ),
    "committee of all sorts": lambda w: Committee([Object(w), RandomTeacher(w.outcomes), w.frozen(w.learner(1))]),
    "noisy committee": lambda w: NoisyTeacher(Committee([Object(w), w.frozen(w.learner(1))]), rate=0.5),
    "noisy object": lambda w: NoisyTeacher(Object(w), rate=0.5),
}


@pytest.fixture(params=WORLDS)
def world(request):
    return WORLDS[request.param]


def probs(signal, outcomes):
    return signal.log_softmax(outcomes=outcomes).exp()


def said(teacher, batch, world):
    return probs(teacher.signal(batch), world.outcomes)


@pytest.mark.parametrize("kind", KINDS)
def test_its_answers_are_distributions_without_a_gradient(kind, world):
    batch = world.batch()
    signal = KINDS[kind](world).signal(batch)
    assert tuple(signal.shape) == tuple(batch["input_ids" if world is Tokens else "id"].shape)
    found = probs(signal, world.outcomes)
    assert found.shape[-1] == world.outcomes
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert found.dtype == torch.float32
    assert found.device == batch["id"].device
    assert not found.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_depends_on_its_example_alone(kind, world):
    teacher, batch = KINDS[kind](world), world.batch()
    whole = said(teacher, batch, world)
    order = torch.tensor([4, 1, 5])
    torch.testing.assert_close(said(teacher, batch.select(order), world), whole[order], rtol=1e-4, atol=1e-6)
    again = KINDS[kind](world)
    torch.testing.assert_close(said(again, batch, world), whole, rtol=0, atol=0)
    if world is Tokens:  # what was added to make rows equally long changes nothing
        wider = Batch({n: nn.functional.pad(t, (0, 3)) if t.ndim > 1 else t for n, t in batch.items()})
        torch.testing.assert_close(said(teacher, wider, world)[:, :9], whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("committee of all sorts",)])
def test_each_answer_is_billed(kind, world):
    teacher, batch = KINDS[kind](world), world.batch()
    teacher.signal(batch)
    calls = 0 if kind == "noisy object" else 12 if kind.startswith("committee") else 6
    tokens = calls * 9 if world is Tokens else 0
    assert teacher.cost == Cost(teacher_calls=calls, teacher_tokens=tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "spoiled",
    [
        lambda t: NoisyTeacher(t, rate=0.5),
        AdversarialTeacher,
        lambda t: Committee([t, t]),
        lambda t: Committee([t, t], weights="confidence", space="logit"),
    ],
)
def test_scores_keep_their_type(spoiled, dtype, world):
    class Table(BaseTeacher):
        def signal(self, batch):
            shape = batch["input_ids" if world is Tokens else "id"].shape
            return Logits(logits=torch.randn(*shape, CLASSES, dtype=dtype))

    assert spoiled(Table()).signal(world.batch()).scores().dtype == dtype


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_noise_is_as_frequent_as_it_says(rate, world):
    teacher = world.frozen(world.learner(0))
    batch = Classes.batch(20000) if world is Classes else Tokens.batch(700, 30)
    plain, noisy = (one.signal(batch).flatten() for one in (teacher, NoisyTeacher(teacher, rate=rate, seed=3)))
    places = slice(None) if world is Classes else slice(0, 20000)
    before, after = (one.rows(places).scores() for one in (plain, noisy))
    moved = before.argmax(-1) != after.argmax(-1)
    assert moved.float().mean().item() == pytest.approx(rate, abs=3.5 * (rate * (1 - rate) / len(moved)) ** 0.5)
    assert torch.equal(before[~moved], after[~moved])
    assert torch.equal(before.sort(-1).values, after.sort(-1).values)
    other = NoisyTeacher(teacher, rate=rate, seed=4).signal(batch).flatten().rows(places).scores()
    both = ((other.argmax(-1) != before.argmax(-1)) & moved).float().mean().item()
    assert both == pytest.approx(rate**2, abs=0.02)


def test_random_tokens_are_drawn_by_sequence_and_position():
    batch = Tokens.batch()
    found = RandomTeacher(260, scale=2.0, seed=5).signal(batch).scores()
    for row, place in ((0, 0), (3, 7)):
        key = hashing.mix(batch["id"][row : row + 1]) + place
        assert torch.equal(found[row, place], normal_draws(key, 5, 260)[0] * 2.0)
    keys = row_keys(torch.arange(300), (300, 40))
    assert keys.unique().numel() == 300 * 40
    assert torch.equal(row_keys(batch["id"], (6,)), batch["id"])
    drawn = RandomTeacher(260).signal(Tokens.batch(60, 20)).scores()
    assert drawn.mean().item() == pytest.approx(0.0, abs=0.01)
    assert drawn.std().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("weights", ["equal", "confidence", [1.0, 3.0, 2.0]])
@pytest.mark.parametrize("space", ["probability", "logit"])
def test_a_committee_of_one_mind_is_its_member(space, weights, world):
    teacher, batch = world.frozen(world.learner(0)), world.batch()
    committee = Committee([teacher] * 3, space=space, weights=weights)
    torch.testing.assert_close(said(committee, batch, world), said(teacher, batch, world), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("space", ["probability", "logit"])
def test_a_committee_weighs_its_members(space, world):
    members, batch = [world.frozen(world.learner(seed)) for seed in range(3)], world.batch()
    with torch.no_grad():
        scores = [member.learner(batch).logits.double().numpy() for member in members]
    weights = np.array([0.2, 0.0, 1.4])
    p = [np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in scores]
    if space == "probability":
        expected = sum(w * q for w, q in zip(weights, p, strict=True)) / weights.sum()
    else:
        expected = np.exp(sum(w * np.log(q) for w, q in zip(weights, p, strict=True)) / weights.sum())
        expected /= expected.sum(-1, keepdims=True)
    found = said(Committee(members, weights=weights.tolist(), space=space), batch, world)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_a_lagging_language_model_is_the_learner_some_updates_ago():
    learner, batch = language_model(0), Tokens.batch()
    teacher, past = LaggingTeacher(learner, lag=2), []
    for update in range(6):
        past.append(learner(batch).logits.detach())
        expected = past[max(0, update // 2 * 2 - 2)]
        assert torch.equal(teacher.signal(batch).scores(), expected)
        with torch.no_grad():
            learner.head.weight.mul_(1.1)
        teacher.update(learner)


def test_an_average_of_a_language_model_answers_with_states():
    learner, batch = language_model(0), Tokens.batch()
    teacher = EmaTeacher(learner, decay=0.5, warmup=False)
    start = learner.head.weight.detach().clone()
    with torch.no_grad():
        learner.head.weight.mul_(3.0)
    teacher.update(learner)
    signal = teacher.signal(batch)
    assert isinstance(signal, States)
    torch.testing.assert_close(signal.head.weight, 2.0 * start)


def test_who_reads_other_tokens_is_given_padding_for_what_it_does_not_know():
    wide = build_causal("decoder:1x16", seed=0)
    batch = Tokens.batch()
    odd = Batch({**batch, "input_ids": batch["input_ids"].clone().index_fill_(1, torch.tensor([3]), 5000)})
    plain = Batch({**batch, "input_ids": odd["input_ids"].where(odd["input_ids"] < 260, wide.tokenizer.pad)})
    for teacher in (LanguageTeacher(wide), EmaTeacher(wide, decay=0.9)):
        assert torch.equal(teacher.signal(odd).hidden, teacher.signal(plain).hidden)


class Remote(BaseTeacher):
    """A slow one: its answers come when all that was asked for has been asked."""

    def __init__(self, world, pool, barrier):
        super().__init__()
        self.world, self.pool, self.barrier, self.asked = world, pool, barrier, []

    def ask(self, batch):
        self.asked.append(batch["id"].tolist())
        future = self.pool.submit(self._answer, batch["id"])
        return Pending(future.result)

    def _answer(self, ids):
        self.barrier.wait(timeout=20)
        return Logits(logits=ids[:, None].float() * torch.arange(CLASSES))


def test_answers_of_slow_teachers_are_waited_for_together():
    batch = Classes.batch()
    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(3)
        members = [Remote(Classes, pool, barrier) for _ in range(3)]
        cached = CachedTeacher(members[0], SignalCache(batch["id"]))
        committee = Committee([NoisyTeacher(cached, rate=1.0), members[1], members[2]])
        signal = committee.signal(batch)  # would wait for ever if one were asked after another had answered
        assert [member.asked for member in members] == [[batch["id"].tolist()]] * 3
        barrier = threading.Barrier(2)
        teacher = Remote(Classes, pool, barrier)
        both = [teacher.ask(part) for part in batch.split(3)]
        answers = [pending.get().logits for pending in both]
    right = batch["id"][:, None].float() * torch.arange(CLASSES)
    assert torch.equal(torch.cat(answers), right)
    assert torch.equal(signal.log_softmax().argmax(-1), right.argmax(-1))


def test_who_defines_neither_a_signal_nor_how_to_ask_says_so():
    class Silent(BaseTeacher):
        pass

    with pytest.raises(NotImplementedError, match="Silent must define signal"):
        Silent().signal(Classes.batch())
    with pytest.raises(NotImplementedError, match="Silent must define signal"):
        Silent().ask(Classes.batch()).get()
