"""The study of teacher hacking: its figures against transcriptions, its answers, and the chain behind its world."""

import itertools
import math

import numpy as np
import pytest
import torch

from didact import worlds
from didact.errors import ConfigError, DataError
from didact.methods.language import teacher_hacking
from didact.parts.models import build_causal
from didact.rollouts import CompletionCache, Sampling, Writer
from didact.teachers import LanguageTeacher
from didact.types import Question, Questions
from didact.worlds.markov import LETTERS, oracle

ASKED = worlds.load("markov").select(range(6))


def model(seed):
    learner = build_causal("decoder:1x16:64", seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(6.0)
    return learner


def make_writer(learner, samples=1, seed=0):
    return Writer(learner, Sampling(max_new_tokens=5, samples=samples), seed=seed)


def study(answers="offline", questions=ASKED, **options):
    config = teacher_hacking.Config(answers=answers, **options)
    return teacher_hacking.TeacherHacking(config, model(0), LanguageTeacher(model(1)), questions)


def log_probs(learner, batch):
    """float64 [B, T, V]."""
    with torch.no_grad():
        return learner(batch).logits.double().log_softmax(-1).numpy()


def places(batch):
    return [(row, place - 1, int(batch["input_ids"][row, place])) for row, place in batch["completion_mask"].nonzero()]


@pytest.mark.parametrize("answers", ["offline", "teacher", "student"])
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_the_proxy_is_the_distance_to_the_teacher_and_the_golden_figure_the_surprise_at_the_truth(answers, divergence):
    method = study(answers, divergence=divergence)
    batch = method.collect(ASKED[:4], make_writer(method.learner, samples=2))
    terms, counts = method.loss(batch), method.counts(batch)
    mine, theirs = log_probs(method.learner, batch), log_probs(method.teacher.learner, batch)
    found = []
    for row, place, _ in places(batch):
        p, q = theirs[row, place], mine[row, place]
        p, q = (q, p) if divergence == "reverse" else (p, q)
        found.append(np.sum(np.exp(p) * (p - q)))
    assert terms.total().item() == pytest.approx(np.mean(found), rel=1e-4)
    golden = batch.view("golden")
    surprise = log_probs(method.learner, golden)
    wanted = -np.mean([surprise[row, place, token] for row, place, token in places(golden)])
    assert terms["golden"].mean().item() == pytest.approx(wanted, rel=1e-5)
    assert terms["golden"].weight == 0.0 and not terms["golden"].sum.requires_grad
    assert {name: float(term.count) for name, term in terms.items()} == {k: float(v) for k, v in counts.items()}
    said = zip(golden["input_ids"], golden["completion_mask"], strict=True)
    read = [method.learner.tokenizer.decode(ids[mask].tolist()) for ids, mask in said]
    assert read == [q.data["golden"] for q in ASKED[:4] for _ in range(2)]


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd"])
def test_the_proxy_is_its_transcription(divergence):
    method = study("offline", divergence=divergence)
    batch = method.collect(ASKED[:4], make_writer(method.learner, samples=2))
    tables = [one(batch).logits.log_softmax(-1) for one in (method.learner, method.teacher.learner)]
    q, p = (torch.stack([table[row, place] for row, place, _ in places(batch)]) for table in tables)
    p = p.detach()

    def kl(one, other):
        return (one.exp() * (one - other)).sum(-1)

    middle = ((p.exp() + q.exp()) / 2).log()
    wanted = {"forward": kl(p, q), "reverse": kl(q, p), "jsd": (kl(p, middle) + kl(q, middle)) / 2}[divergence].mean()
    weights = list(method.learner.parameters())
    found = torch.autograd.grad(method.loss(batch).total(), weights)
    for mine, theirs in zip(found, torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def rows(batch):
    """The completions of a batch by question."""
    found = {}
    for ids, mask, question in zip(batch["input_ids"], batch["completion_mask"], batch["id"].tolist(), strict=True):
        found.setdefault(question, []).append(ids[mask].tolist())
    return found


def test_only_offline_answers_stay_the_same():
    found = {}
    for answers in ("offline", "teacher", "student"):
        method = study(answers)
        writer = make_writer(method.learner, samples=2)
        batches = []
        for writer.round in range(3):
            batches.append(method.collect(ASKED[:3], writer))
        found[answers] = [rows(batch) for batch in batches]
        written = {"offline": 3, "teacher": 9, "student": 0}[answers]
        assert writer.ledger.cost.teacher_calls == written
    assert found["offline"][0] == found["offline"][1] == found["offline"][2] == found["teacher"][0]
    for answers in ("teacher", "student"):
        assert all(one != other for one, other in itertools.combinations(found[answers], 2))
    assert found["teacher"][0] != found["student"][0]


def test_a_student_may_learn_from_few_questions():
    method = study("offline", prompts=2)
    batch = method.collect(ASKED[:6], make_writer(method.learner))
    assert batch["id"].tolist() == [q.id for q in (*ASKED[:2], *ASKED[:2], *ASKED[:2])]
    assert len(method.kept.answers) == 2


def test_kept_answers_survive_a_stop_and_are_not_asked_for_again():
    teacher, learner = model(1), model(0)
    first, again = CompletionCache(), CompletionCache()
    writer = make_writer(learner, samples=3)
    before = first.batch(writer, ASKED[:4], teacher)
    again.load_state_dict(first.state_dict())
    writer.round, spent = 5, writer.ledger.cost.sampled_tokens
    after = again.batch(writer, ASKED[:4], teacher)
    assert writer.ledger.cost.sampled_tokens == spent
    assert all(torch.equal(before[name], after[name]) for name in before)
    shuffled = again.batch(writer, ASKED[3:1:-1], teacher)
    assert rows(shuffled) == {q: answers for q, answers in rows(before).items() if q in shuffled["id"].tolist()}
    # They are what the teacher wrote, laid out as attempts are.
    plain = make_writer(learner, samples=3).write(ASKED[:4], by=teacher, verify=False).batch
    for name in ("input_ids", "attention_mask", "completion_mask", "id", "group"):
        assert torch.equal(before[name], plain[name])
    empty = CompletionCache()
    empty.load_state_dict(CompletionCache().state_dict())
    assert empty.answers == {}


def test_what_was_written_once_is_part_of_the_checkpoint():
    method, again = study(), study()
    before = method.collect(ASKED[:5], make_writer(method.learner))
    again.load_state_dict(method.state_dict())
    late = make_writer(again.learner, seed=9)
    after = again.collect(ASKED[:5], late)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert late.ledger.cost.sampled_tokens == 0


def test_questions_without_a_true_answer_are_refused():
    lacking = Questions(items=(Question(id=1, prompt="ab"),))
    with pytest.raises(DataError, match="'ab' has neither a completion nor 'golden'"):
        study(questions=lacking)
    long = Questions(items=(Question(id=1, prompt="ab", completion="c" * 70),))
    with pytest.raises(ConfigError, match="The longest completion of 'ab' has 74 tokens"):
        study(questions=long)
    plain = Questions(items=(Question(id=1, prompt="ab", completion="cd"),))
    assert study(questions=plain).golden == {1: "cd"}


# ---- the oracle


def test_the_oracle_is_a_chain_whose_entropy_is_known():
    chain = oracle()
    assert chain.probs.sum(-1).sub(1).abs().max() < 1e-12
    pairs = chain.stationary()
    torch.testing.assert_close(torch.einsum("ab,abc->bc", pairs, chain.probs), pairs, rtol=1e-9, atol=1e-12)
    surprise = 0.0
    for a, b, c in itertools.product(range(len(LETTERS)), repeat=3):
        chance = float(pairs[a, b] * chain.probs[a, b, c])
        surprise -= chance * math.log(float(chain.probs[a, b, c]))
    assert chain.entropy() == pytest.approx(surprise, rel=1e-9)


def test_the_texts_are_the_oracles():
    chain, questions = oracle(), worlds.load("markov")
    for field in ("completion", "golden"):
        texts = [(q.prompt, q.completion if field == "completion" else q.data["golden"]) for q in questions]
        assert {len(text) for _, text in texts} == {20}
        surprise = np.array([-chain.log_prob(prompt, text) / 20 for prompt, text in texts])
        error = surprise.std() / len(texts) ** 0.5
        assert abs(surprise.mean() - chain.entropy()) < 4 * error
        assert error < 0.02
    assert sum(q.completion == q.data["golden"] for q in questions) == 0
    counts = np.zeros((8, 8, 8))
    for question in questions:
        whole = [LETTERS.index(letter) for letter in question.prompt + question.completion]
        for a, b, c in zip(whole, whole[1:], whole[2:], strict=False):
            counts[a, b, c] += 1
    known = counts.sum(-1) > 150
    shares = counts[known] / counts[known].sum(-1, keepdims=True)
    assert np.abs(shares - chain.probs.numpy()[known]).max() < 0.12
    slow = math.log(float(chain.probs[0, 1, 2])) + math.log(float(chain.probs[1, 2, 3]))
    assert chain.log_prob("gab", "cd") == pytest.approx(slow)
