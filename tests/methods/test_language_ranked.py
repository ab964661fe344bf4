"""Rated answers, and their pairs from easy to hard: against transcriptions and a choice whose best policy is known."""

import itertools
import json
import math
import string

import numpy as np
import pytest
import torch
from torch import nn

from didact import sources, worlds
from didact.errors import ConfigError, DataError
from didact.losses.policy.preferences import best_vs_rest
from didact.methods.language import curry_dpo, dpo
from didact.parts.models import build_causal
from didact.rollouts import RatedPairs, Sampling, Writer
from didact.types import Batch, Head, Question, Questions, TokenOutput
from hand_made import agree

RATINGS = [[3.0, 5.0, 1.0, 4.0], [2.0, 2.0, 2.5, math.nan], [7.0, 7.0, 1.0, 3.0], [0.5, math.nan, math.nan, -1.0]]
TEXTS = [["c", "e", "a", "d"], ["x", "y", "z"], ["first", "second", "low", "mid"], ["good", "bad"]]


def rated(texts, ratings):
    known = [rating for rating in ratings if not math.isnan(rating)]
    return [{"text": text, "rating": rating} for text, rating in zip(texts, known, strict=True)]


QUESTIONS = Questions(
    items=tuple(
        Question(id=place, prompt=f"q{place}", data={"rated": rated(texts, ratings)})
        for place, (texts, ratings) in enumerate(zip(TEXTS, RATINGS, strict=True))
    )
)
PAIRS = [
    [("e", "a", 4.0), ("e", "c", 2.0), ("e", "d", 1.0)],
    [("z", "x", 0.5), ("z", "y", 0.5)],
    [("first", "low", 6.0), ("first", "mid", 4.0)],
    [("good", "bad", 1.5)],
]


def model(seed=0):
    learner = build_causal("decoder:1x16:64", seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(6.0)
    return learner


# ---- pairs


def test_the_best_answer_is_paired_with_the_others_by_falling_gap():
    rating = torch.tensor(RATINGS, dtype=torch.float64)
    best, others, gaps = best_vs_rest(rating)
    for row, ratings in enumerate(RATINGS):
        known = [place for place, value in enumerate(ratings) if not math.isnan(value)]
        top = max(known, key=lambda place: ratings[place])
        assert best[row] == top
        worse = [place for place in known if ratings[place] < ratings[top]]
        worse.sort(key=lambda place: ratings[place] - ratings[top])
        assert others[row, : len(worse)].tolist() == worse
        assert gaps[row].tolist() == pytest.approx(
            [ratings[top] - ratings[i] for i in worse] + [0.0] * (3 - len(worse))
        )
    assert [tensor.shape for tensor in best_vs_rest(rating[:, :1])] == [(4,), (4, 0), (4, 0)]


def test_questions_bring_their_rated_answers_from_python_and_from_files(tmp_path):
    texts, rating = sources.rated_answers(QUESTIONS)
    assert texts == [tuple(row) for row in TEXTS]
    np.testing.assert_array_equal(rating[0], RATINGS[0])
    assert rating[3, :2].tolist() == [0.5, -1.0] and rating[3, 2:].isnan().all()
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps({"prompt": q.prompt, **q.data}) + "\n" for q in QUESTIONS), encoding="utf-8")
    again, numbers = sources.rated_answers(sources.load_questions(path))
    assert again == texts
    torch.testing.assert_close(numbers, rating, equal_nan=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no list of answers in 'rated'"),
        ({"rated": "five"}, "no list of answers in 'rated'"),
        ({"rated": [{"text": "a", "rating": 1}]}, "1 rated answers of which none is better"),
        ({"rated": [{"text": "a", "rating": 1}, {"text": "b", "rating": 1.0}]}, "2 rated answers of which none"),
        ({"rated": [{"text": "a", "rating": 1}, {"text": "b"}]}, "each must be like"),
        ({"rated": [{"text": "a", "rating": True}, {"text": "b", "rating": 2}]}, "each must be like"),
        ({"rated": [{"text": "a", "rating": math.inf}, {"text": "b", "rating": 2}]}, "each must be like"),
        ({"rated": ["a", "b"]}, "each must be like"),
    ],
)
def test_answers_that_cannot_be_ranked_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        sources.rated_answers(Questions(items=(Question(id=1, prompt="why", data=given),)))


def test_an_answer_that_does_not_fit_is_refused_before_anything_is_learned():
    long = Question(id=9, prompt="q", data={"rated": rated(["a" * 80, "b"], [1.0, 2.0])})
    with pytest.raises(ConfigError, match="The longest completion of 'q' has 83 tokens"):
        curry_dpo.CurryDPO(curry_dpo.Config(), model(), Questions(items=(*QUESTIONS, long)))


# ---- stages


def said(method, writer):
    """The pairs of a round, in words."""
    batch = method.collect(QUESTIONS, writer)
    sides = [batch, batch.view("rejected")]
    decode = method.learner.tokenizer.decode
    texts = [[decode(i[m].tolist()) for i, m in zip(b["input_ids"], b["completion_mask"], strict=True)] for b in sides]
    return list(zip(*texts, batch["gap"].tolist(), strict=True))


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_pairs_come_in_stages(order):
    method = curry_dpo.CurryDPO(curry_dpo.Config(order=order), model(), QUESTIONS)
    writer, seen = Writer(method.learner, Sampling()), []
    for step in range(9):
        method.step, method.fraction = step, step / 9
        seen.append(said(method, writer))
        method.after_step()
    # Whoever has two pairs changes in the middle of the second stage's place, whoever has one never does.
    ranks = [[0, 0, 0, 0], [1, 1, 1, 0], [2, 1, 1, 0]]
    wanted = [[pairs[rank] for pairs, rank in zip(PAIRS, row, strict=True)] for row in ranks]
    if order == "hard_first":
        wanted = wanted[::-1]
    # A step's share of the budget is known when it is taken, so that the next batch is the first of a stage.
    assert seen == [wanted[0]] * 4 + [wanted[1]] * 3 + [wanted[2]] * 2


def test_shuffled_pairs_are_any_of_a_questions():
    method = curry_dpo.CurryDPO(curry_dpo.Config(order="shuffled"), model(), QUESTIONS)
    writer, seen = Writer(method.learner, Sampling(), seed=4), []
    for writer.round in range(60):
        seen.append(said(method, writer))
    for place, pairs in enumerate(PAIRS):
        found = [row[place] for row in seen]
        assert set(found) == set(pairs)
        for pair in pairs:
            assert abs(found.count(pair) / 60 - 1 / len(pairs)) < 0.25
    writer.round = 7
    assert said(method, writer) == seen[7]


def moved(learner, size):
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(size)


@pytest.mark.parametrize("renew", [True, False])
def test_the_reference_is_renewed_with_each_stage_and_survives_a_stop(renew):
    method = curry_dpo.CurryDPO(curry_dpo.Config(renew=renew), model(), QUESTIONS)
    weights = [next(method.learner.parameters()).detach().clone()]
    for step in range(9):
        method.step, method.fraction = step, step / 9
        moved(method.learner, 0.01)
        method.after_step()
        weights.append(next(method.learner.parameters()).detach().clone())
        began = {True: [0] * 3 + [4] * 3 + [7] * 3, False: [0] * 9}[renew][step]
        assert torch.equal(next(method.stages.learner.parameters()), weights[began])
        assert method.stages.number == [0, 0, 0, 1, 1, 1, 2, 2, 2][step]
    again = curry_dpo.CurryDPO(curry_dpo.Config(renew=renew), model(5), QUESTIONS)
    again.load_state_dict(method.state_dict())
    assert again.stages.number == 2
    batch = method.collect(QUESTIONS, Writer(method.learner, Sampling()))
    assert again.loss(batch).total().item() == method.loss(batch).total().item()
    assert not any(parameter.requires_grad for parameter in again.stages.learner.parameters())
    assert list(method.modules()) == ["learner"]


# ---- the loss


def test_the_loss_is_that_of_dpo_on_the_same_pairs():
    paired = Questions(
        items=tuple(
            Question(id=q.id, prompt=q.prompt, completion=pairs[0][0], rejected=pairs[0][1], data=q.data)
            for q, pairs in zip(QUESTIONS, PAIRS, strict=True)
        )
    )
    mine = curry_dpo.CurryDPO(curry_dpo.Config(beta=0.3), model(), paired)
    theirs = dpo.DPO(dpo.Config(beta=0.3), model())
    for method in (mine, theirs):
        moved(method.learner, 0.02)
    source = sources.CompletionSource(paired, mine.learner.tokenizer, batch_size=4, max_length=64, pairs=True)
    other = next(iter(source))
    batch = mine.collect(paired, Writer(mine.learner, Sampling()))
    found, wanted = mine.loss(batch), theirs.loss(other)
    assert found.total().item() == pytest.approx(wanted.total().item(), rel=1e-6)
    assert found.total().item() != pytest.approx(math.log(2), abs=1e-4)
    for name, count in mine.counts(batch).items():
        assert float(found[name].count) == count
    assert found["gap"].mean().item() == pytest.approx(np.mean([pairs[0][2] for pairs in PAIRS]))


def test_curry_dpo_is_its_transcription():
    learner, reference = model().double(), model().double()
    method = curry_dpo.CurryDPO(curry_dpo.Config(beta=0.3), learner, QUESTIONS)
    moved(learner, 0.02)

    def summed(one, prompt, text):
        ids = torch.tensor([[1, *(4 + byte for byte in (prompt + text).encode()), 2]])
        batch = Batch({"id": torch.tensor([0]), "input_ids": ids, "attention_mask": torch.ones_like(ids)})
        told = one(batch).logits[0].log_softmax(-1)
        return sum(told[place - 1, ids[0, place]] for place in range(1 + len(prompt.encode()), ids.shape[1]))

    losses = []
    for question, pairs in zip(QUESTIONS, PAIRS, strict=True):
        gains = [
            summed(learner, question.prompt, text) - summed(reference, question.prompt, text).detach()
            for text in pairs[0][:2]
        ]
        losses.append(torch.log1p(torch.exp(-0.3 * (gains[0] - gains[1]))))
    agree(method, method.collect(QUESTIONS, Writer(learner, Sampling())), torch.stack(losses).mean())


class Choice(nn.Module):
    """A language model of one token, whose scores are its parameters; each answer is a letter."""

    tokenizer = build_causal("decoder:1x16").tokenizer
    context = 8

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores.clone())

    def forward(self, batch):
        return TokenOutput(torch.ones(*batch["input_ids"].shape, 1), Head(self.scores[:, None]))


def test_what_was_rated_best_wins_by_the_ratio_that_the_pairs_ask_for():
    """One question and a free choice: DPO without noise drives the odds of best against other to grow with each step.

    With the scores s and the reference's r, the gradient with respect to the best's score is
    -beta sigmoid(-beta ((s_b - r_b) - (s_o - r_o))), as the normaliser cancels; the other's is its negative.
    """
    questions = Questions(items=(Question(id=1, prompt="q", data={"rated": rated("abc", [1.0, 3.0, 2.0])}),))
    scores = torch.randn(260, generator=torch.Generator().manual_seed(0))
    method = curry_dpo.CurryDPO(curry_dpo.Config(beta=0.5), Choice(scores), questions)
    ids = [4 + ord(letter) for letter in "abc"]
    slow, reference, rate, steps = scores.double().numpy().copy(), scores.double().numpy().copy(), 2.0, 12
    for step in range(steps):
        stage = min(int(max(step - 1, 0) / steps * 2), 1)
        if step and stage > min(int(max(step - 2, 0) / steps * 2), 1):
            reference = slow.copy()
        best, other = ids[1], ids[(0, 2)[stage]]
        margin = (slow[best] - reference[best]) - (slow[other] - reference[other])
        pull = 0.5 / (1 + math.exp(0.5 * margin))
        slow[best] += rate * pull
        slow[other] -= rate * pull

        method.step, method.fraction = step, step / steps
        batch = method.collect(questions, Writer(method.learner, Sampling()))
        method.learner.scores.grad = None
        method.loss(batch).backward()
        with torch.no_grad():
            method.learner.scores -= rate * method.learner.scores.grad
        method.after_step()
    assert method.learner.scores.detach().numpy() == pytest.approx(slow, abs=1e-4)
    assert slow[ids[1]] - slow[ids[0]] > reference[ids[1]] - reference[ids[0]] - 1e-9
    assert max(ids, key=lambda i: slow[i]) == ids[1]


def test_pairs_know_how_many_there_are():
    pairs = RatedPairs.from_questions(QUESTIONS, model())
    assert pairs.max_pairs == 3
    assert [pairs.pairs[question.id] for question in QUESTIONS] == PAIRS
    batch = pairs.batch(Writer(model(), Sampling()), QUESTIONS, [0.99] * 4)
    assert batch["gap"].tolist() == [row[-1][2] for row in PAIRS]


# ---- the world


def test_the_last_letter_is_the_best_answer():
    questions = worlds.load("last_letter")
    assert len(questions) == 4000
    for question in questions:
        letters = question.prompt.removesuffix("=")
        order = sorted(letters, key=string.ascii_lowercase.index)
        assert len(set(letters)) == 4
        assert question.answer == question.completion == order[-1] and question.rejected == order[0]
        assert [part["text"] for part in question.data["rated"]] == list(letters)
        assert [part["rating"] for part in question.data["rated"]] == [ord(letter) - 96 for letter in letters]
    firsts = [question.prompt[0] for question in questions]
    assert all(abs(firsts.count(letter) - 4000 / 26) < 60 for letter in string.ascii_lowercase)
    assert len({frozenset(pair) for q in questions for pair in itertools.combinations(q.prompt[:4], 2)}) == 325


def test_comparisons_prefer_the_later_of_two_letters():
    ranks = []
    for question, plain in zip(worlds.load("last_letter:compared"), worlds.load("last_letter"), strict=True):
        assert (question.prompt, question.answer, question.data) == (plain.prompt, plain.answer, plain.data)
        assert question.completion > question.rejected
        assert {question.completion, question.rejected} < set(question.prompt[:4])
        ranks.append(sorted(question.prompt[:4], reverse=True).index(question.completion))
    shares = [ranks.count(rank) / len(ranks) for rank in range(4)]
    assert shares == pytest.approx([1 / 2, 1 / 3, 1 / 6, 0.0], abs=0.03)


@pytest.mark.slow
def test_attempts_at_the_last_letter_are_right_one_time_in_four():
    asked = worlds.load("last_letter:attempted")
    tried = [question for question in asked if "first" in question.data]
    assert len(tried) / len(asked) == pytest.approx(0.5, abs=0.03)
    for question in asked:
        word, _, rest = question.prompt.partition("=")
        assert question.answer == question.completion == max(word)
        attempt = question.data.get("attempt")
        assert rest == ("" if attempt is None else f"{attempt}? Again: ")
        assert attempt is None or (attempt in word and question.data["first"] == word + "=")
    right = sum(question.data["attempt"] == question.answer for question in tried)
    assert right / len(tried) == pytest.approx(0.25, abs=0.03)
    assert not any(question.data for question in asked if question not in tried)


def test_explanations_of_the_last_letter_end_in_it():
    asked = {question.prompt: question for question in worlds.load("last_letter:explained")}
    assert [question.answer for question in asked.values()] == [q.answer for q in worlds.load("last_letter")]
    for prompt, question in asked.items():
        *letters, _ = prompt
        order, rounds, places = (question.data["rationales"][name] for name in ("order", "rounds", "places"))
        assert order == "".join(sorted(letters))
        assert all(so_far == max(letters[: place + 1]) for place, so_far in enumerate(rounds))
        *numbers, last = places.split()
        assert [string.ascii_lowercase[int(number) - 1] for number in numbers] == letters
        assert order[-1] == rounds[-1] == last == question.answer
