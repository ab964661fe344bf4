"""Second tries: what is asked, what is paid in which stage, and what a teacher's refinements become; row by row."""

import math
from types import SimpleNamespace

import pytest
import torch

from didact import worlds
from didact.errors import ConfigError
from didact.losses.policy.two_turn import (
    add_two_turn_advantages,
    two_turn_advantages,
    two_turn_kl_weights,
    two_turn_metrics,
)
from didact.methods.language import personalised, score
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer, full_rewards, retry_questions, strip_attempt, write_twice
from didact.teachers import LanguageTeacher
from didact.teachers.verifiers import Verifier
from didact.types import Batch, Question, Questions, Reward
from small_questions import questions

SAMPLES = 4
ASKED = questions(12).items
WORDS = "? Again: "
FIRST = [1.0, 0.0, 0.0, 1.0, 0.5, 1.0]
SECOND = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
GROUP = [7, 7, 7, 7, 3, 3]
"""Rewards of pairs of tries at two questions; of the last pair, nobody can judge the second."""
TRUST = [1.0] * 11 + [0.0]


class Marks(Verifier):
    """In its eyes an answer is right if its first byte is even; of what begins with `?` it cannot tell."""

    @staticmethod
    def score(text):
        return None if text[:1] == "?" else float(bool(text) and ord(text[0]) % 2 == 0)

    def verify(self, texts, asked, lengths=None):
        marks = [self.score(text) for text in texts]
        trust = torch.tensor([float(mark is not None) for mark in marks])
        return Reward(value=torch.tensor([mark or 0.0 for mark in marks]), trust=trust)


def make_writer(learner, samples=SAMPLES):
    return Writer(learner, Sampling(max_new_tokens=3, samples=samples), Marks())


def judged():
    """Hand-made tries, without tokens."""
    ids = torch.tensor([*GROUP, *GROUP])
    batch = {"id": ids, "group": ids, "reward": torch.tensor([*FIRST, *SECOND]), "trust": torch.tensor(TRUST)}
    return add_two_turn_advantages(Batch(batch))


def others(values, known, group):
    """Each value less the mean of the other known ones of its group."""
    found = []
    for i, value in enumerate(values):
        rest = [v for j, v in enumerate(values) if j != i and known[j] and group[j] == group[i]]
        found.append(value - sum(rest) / len(rest) if known[i] and rest else 0.0)
    return found


# ---- asking again


def test_an_attempt_stands_between_the_question_and_the_words():
    again = retry_questions([ASKED[3], ASKED[3], ASKED[4]], ["8", "8", ""], WORDS)
    assert [q.prompt for q in again] == ["3+0=8? Again: ", "3+0=8? Again: ", "4+0=? Again: "]
    assert [q.answer for q in again] == ["3", "3", "4"]
    assert len({q.id for q in again} | {3, 4}) == 5, "the same attempt twice is answered by draws of its own"
    assert [q.id for q in retry_questions([ASKED[4], ASKED[3]], ["", "9"], WORDS)] == [again[2].id, again[0].id]


def test_in_a_conversation_the_words_are_the_next_turn():
    talk = Question(id=1, prompt="", messages=({"role": "user", "content": "3+0"},))
    (again,) = retry_questions([talk], ["8"], " Again! ")
    assert [tuple(turn.values()) for turn in again.messages] == [
        ("user", "3+0"),
        ("assistant", "8"),
        ("user", "Again!"),
    ]
    assert again.prompt == ""


def test_first_and_second_tries_are_judged_as_answers_to_the_same_question():
    learner = build_causal("decoder:1x16")
    world = worlds.load("addition:second_try")[:6]
    writer = make_writer(learner)
    first, second = write_twice(writer, world, WORDS)
    tokens = learner.tokenizer
    assert first.batch["id"].tolist() == second.batch["id"].tolist() == [q.id for q in world for _ in range(SAMPLES)]
    for row, question in enumerate(first.questions):
        plain = f"{question.data['a']}+{question.data['b']}="
        for attempts, prompt in ((first, plain), (second, plain + first.texts[row] + WORDS)):
            batch = attempts.batch
            start = int(batch["completion_mask"][row].int().argmax())
            assert batch["input_ids"][row, :start].tolist() == tokens.prompt(Question(id=0, prompt=prompt))
            assert batch["reward"][row] == (Marks.score(attempts.texts[row]) or 0.0)


# ---- what is paid


def test_advantages_progress_and_flips():
    batch = judged()
    known = [value > 0 for value in TRUST]
    pairs = [known[i] and known[i + 6] for i in range(6)]
    gain = [b - a for a, b in zip(FIRST, SECOND, strict=True)]
    first, second = others(FIRST, known[:6], GROUP), others(SECOND, known[6:], GROUP)
    assert batch["advantage"].tolist() == pytest.approx([*first, *second])
    assert batch["progress"].tolist() == pytest.approx([0.0] * 6 + others(gain, pairs, GROUP))
    assert batch["second"].tolist() == [0.0] * 6 + [1.0] * 6
    assert batch["fixed"].tolist() == [0.0] * 6 + [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert batch["spoiled"].tolist() == [0.0] * 6 + [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    figures = two_turn_metrics(batch)
    assert figures["fixed"].mean().item() == pytest.approx(2 / 5)
    assert figures["spoiled"].mean().item() == pytest.approx(1 / 5)
    assert figures["fixed"].weight == 0


def test_early_on_second_tries_alone_are_paid_and_then_progress_too():
    batch = judged()
    parts = batch["advantage"], batch["progress"], batch["second"]
    early = two_turn_advantages(*parts, bonus=10.0, early=True)
    assert early[:6].tolist() == [0.0] * 6
    assert early[6:].tolist() == batch["advantage"][6:].tolist()
    late = two_turn_advantages(*parts, bonus=10.0, early=False)
    # Of the first question all is known, so that these are the advantages of r2 + bonus (r2 - r1).
    shaped = [b + 10.0 * (b - a) for a, b in zip(FIRST, SECOND, strict=True)]
    assert shaped[:4] == [1.0, 11.0, 0.0, -10.0]
    assert late[:6].tolist() == pytest.approx(batch["advantage"][:6].tolist())
    assert late[6:10].tolist() == pytest.approx(others(shaped, [True] * 6, GROUP)[:4])


def test_the_bonus_is_a_weight_and_a_baseline():
    """The mean gradient of second tries, over all that can happen, is 1 + bonus times that without a bonus."""
    chance = {(1, 1): 0.4, (1, 0): 0.1, (0, 1): 0.2, (0, 0): 0.3}
    logit = {}
    for before in (0, 1):
        right = chance[before, 1] / (chance[before, 0] + chance[before, 1])
        for after in (0, 1):
            logit[before, after] = (1 - right) if after else -right
    for before in (0, 1):
        mean = [
            sum(p * logit[a, b] * (b + bonus * (b - a)) for (a, b), p in chance.items() if a == before)
            for bonus in (0.0, 10.0)
        ]
        assert mean[1] == pytest.approx(11.0 * mean[0])
        assert mean[0] > 0


def test_first_tries_are_held_early_on():
    second = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert two_turn_kl_weights(second, kl=0.25, hold=2.0, early=True).tolist() == [2.25, 0.25, 2.25, 0.25]
    assert two_turn_kl_weights(second, kl=0.25, hold=2.0, early=False).tolist() == [0.25] * 4


# ---- the method, row by row


def log_probs(scores):
    top = max(map(float, scores))
    norm = top + math.log(sum(math.exp(float(s) - top) for s in scores))
    return [float(s) - norm for s in scores]


@pytest.mark.parametrize("fraction", [0.0, 0.39, 0.41, 1.0])
def test_score_learns_what_the_stage_says(fraction):
    learner = build_causal("decoder:1x16")
    method = score.SCoRe(score.Config(early=0.4, bonus=3.0, hold=2.0, kl=0.5), learner)
    batch = method.collect(ASKED[:3], make_writer(learner))
    for model in (learner, method.reference.learner):
        model.double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(
                0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    method.fraction = fraction
    now, was = learner(batch).logits.log_softmax(-1), method.reference.learner(batch).logits.log_softmax(-1)
    pairs, policy, kl = batch.size // 2, [], []
    for row in range(batch.size):
        late = fraction >= 0.4
        is_second = row >= pairs
        paid = float(batch["advantage"][row]) * (late or is_second)
        paid += 3.0 * float(batch["progress"][row]) * (late and is_second)
        strength = 0.5 + 2.0 * (not late and not is_second)
        for place in batch["completion_mask"][row].nonzero()[:, 0].tolist():
            mine, theirs = now[row, place - 1], was[row, place - 1].detach()
            ratio = (mine[batch["input_ids"][row, place]] - batch["log_probs"][row, place]).exp()
            policy.append(-torch.minimum(ratio * paid, ratio.clamp(0.8, 1.2) * paid))
            kl.append(strength * (mine.exp() * (mine - theirs)).sum())
    terms, policy, kl = method.loss(batch), torch.stack(policy).mean(), torch.stack(kl).mean()
    assert terms["policy"].mean().item() == pytest.approx(policy.item(), rel=1e-4, abs=1e-6)
    assert terms["kl"].mean().item() == pytest.approx(kl.item(), rel=1e-4)
    assert kl > 0
    mine, theirs = (torch.autograd.grad(loss, list(learner.parameters())) for loss in (terms.total(), policy + kl))
    for found, wanted in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert max(part.abs().max() for part in theirs) > 1e-3
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {n: float(counts[n]) for n in terms}


def test_without_a_kl_there_is_no_reference():
    learner = build_causal("decoder:1x16")
    assert score.SCoRe(score.Config(kl=0.0, early=0.0), learner).reference is None
    assert score.SCoRe(score.Config(kl=0.0), learner).reference is not None
    with pytest.raises(ConfigError, match="bonus"):
        score.Config(bonus=-1.0)


# ---- refinements


def scripted(method, answers):
    """A method whose teacher answers from a table, by prompt; and an asker that notes what the teacher is asked."""
    writer, told = make_writer(method.learner, samples=1), []

    def answered(asked, *, by=None, **options):
        if by is None:
            mine = ["1" if q.id % 2 else "2" for q in asked]
            return writer.verify(writer.encode(asked, mine))
        told.extend(asked)
        return SimpleNamespace(texts=tuple(answers(q) for q in asked))

    writer.write = answered
    return writer, told


def rows(batch, tokenizer):
    """What each lesson asks and answers, in words."""
    found = []
    for ids, mask, there in zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"], strict=True):
        found.append((tokenizer.decode(ids[(there > 0) & ~mask].tolist()), tokenizer.decode(ids[mask].tolist())))
    return found


@pytest.mark.parametrize("lessons", ["task", "retry", "both"])
def test_only_failures_are_refined_and_only_what_passes_is_learned(lessons):
    learner = build_causal("decoder:1x16")
    teacher = LanguageTeacher(build_causal("decoder:1x16", seed=1))
    method = personalised.Personalised(personalised.Config(lessons=lessons), learner, teacher)
    # Rollouts at odd questions are wrong; of the teacher's answers, that to 3 is wrong, and that to 5 nobody can judge.
    writer, told = scripted(method, lambda q: {"1": "4", "3": "7", "5": "?", "7": "8"}[q.prompt[0]])
    batch = method.collect([ASKED[i] for i in (1, 2, 3, 5, 7)], writer)
    assert [q.prompt for q in told] == [f"{i}+0=1? Again: " for i in (1, 3, 5, 7)]
    tasks = [("1+0=", "4"), ("7+0=", "8")]
    asked = [("1+0=1? Again: ", "4"), ("7+0=1? Again: ", "8")]
    wanted = {"task": tasks, "retry": asked, "both": [*tasks, *asked]}[lessons]
    assert rows(batch, learner.tokenizer) == wanted
    assert batch["lesson"].tolist() == [1.0] * len(wanted)
    terms = method.loss(batch)
    assert terms["failed"].mean().item() == pytest.approx(4 / 5)
    assert terms["mended"].mean().item() == pytest.approx(2 / 4)
    logits, nll = learner(batch).logits.detach(), []
    for row in range(batch.size):
        for place in batch["completion_mask"][row].nonzero()[:, 0].tolist():
            nll.append(-log_probs(logits[row, place - 1])[int(batch["input_ids"][row, place])])
    assert len(nll) == 2 * len(wanted), "a digit and the end each"
    assert terms.total().item() == pytest.approx(sum(nll) / len(nll), rel=1e-4)
    told = learner(batch).logits.log_softmax(-1)
    places = batch["completion_mask"].nonzero().tolist()
    surprise = -torch.stack([told[row, place - 1, batch["input_ids"][row, place]] for row, place in places]).mean()
    weights = list(learner.parameters())
    found = torch.autograd.grad(terms.total(), weights)
    for mine, theirs in zip(found, torch.autograd.grad(surprise, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {n: float(counts[n]) for n in terms}


def test_other_ways_of_teaching_ask_for_the_teachers_own_answers():
    learner = build_causal("decoder:1x16")
    teacher = LanguageTeacher(build_causal("decoder:1x16", seed=1))
    for teaching, wanted, failed in (("failed", [1, 3], 0.5), ("all", [1, 2, 3, 4], 1.0)):
        method = personalised.Personalised(personalised.Config(teaching=teaching), learner, teacher)
        writer, told = scripted(method, lambda _q: "6")
        batch = method.collect(ASKED[1:5], writer)
        assert [q.id for q in told] == wanted
        assert rows(batch, learner.tokenizer) == [(f"{i}+0=", "6") for i in wanted]
        assert batch["failed"].unique().tolist() == [failed]


def test_without_a_teacher_the_datas_answers_are_the_refinements():
    learner = build_causal("decoder:1x16")
    method = personalised.Personalised(personalised.Config(), learner, questions=questions(12))
    items = [Question(id=i, prompt=f"{i}+0=", answer="8", completion="8") for i in (1, 2, 3)]
    batch = method.collect(items, scripted(method, None)[0])
    assert rows(batch, learner.tokenizer) == [
        ("1+0=", "8"),
        ("3+0=", "8"),
        ("1+0=1? Again: ", "8"),
        ("3+0=1? Again: ", "8"),
    ]
    with pytest.raises(ConfigError, match="completion, which personalised uses instead"):
        personalised.Personalised(
            personalised.Config(), learner, questions=Questions(items=(Question(id=1, prompt="1"),))
        )


@pytest.mark.parametrize(("asked", "answer"), [([2, 4], "6"), ([1, 3], "7")])
def test_a_round_without_a_lesson_moves_nothing(asked, answer):
    learner = build_causal("decoder:1x16")
    method = personalised.Personalised(personalised.Config(), learner, LanguageTeacher(build_causal("decoder:1x16")))
    batch = method.collect([ASKED[i] for i in asked], scripted(method, lambda _q: answer)[0])
    assert batch["lesson"].tolist() == [0.0]
    terms = method.loss(batch)
    terms.backward(method.counts(batch))
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in learner.parameters())
    assert float(terms["mended"].count) == 0


def test_what_the_learner_cannot_read_as_a_whole_is_no_lesson():
    learner = build_causal("decoder:1x16:8")
    assert full_rewards(make_writer(learner), ASKED[1:4], ["22", "222", "12"]) == {0: 1.0}
    assert len(learner.tokenizer.prompt(ASKED[1]) + learner.tokenizer.completion(ASKED[1], "22")) == 8


# ---- the world


def test_second_tries_hold_attempts_that_beginners_make():
    plain = {(q.data["a"], q.data["b"]): q for q in worlds.load("addition")}
    world = worlds.load("addition:second_try")
    later = [q for q in world if "attempt" in q.data]
    assert len(world) == len(plain) == len({(q.data["a"], q.data["b"]) for q in world})
    assert len(later) / len(world) == pytest.approx(0.8, abs=0.03)
    right = carried = 0
    for question in world:
        base = plain[question.data["a"], question.data["b"]]
        assert question.answer == question.completion == base.answer
        assert strip_attempt(question).prompt == base.prompt
        if "attempt" not in question.data:
            assert question.prompt == base.prompt
            continue
        (again,) = retry_questions([base], [question.data["attempt"]], score.Config().again)
        assert question.prompt == again.prompt
        wrong = int(question.data["attempt"][::-1]) - int(base.answer[::-1])
        right += wrong == 0
        carried += abs(wrong) == 10
        assert wrong == 0 or len(question.data["attempt"]) != len(base.answer) or one_digit_off(question)
    assert right / len(later) == pytest.approx(0.25, abs=0.03)
    assert carried / len(later) > 0.375


def one_digit_off(question):
    """Whether digits differ as they do where one is off by one, or a carry is."""
    off = [(int(a) - int(b)) % 10 for a, b in zip(question.data["attempt"], question.answer, strict=True)]
    return all(value in (0, 1, 9) for value in off) and any(off)
