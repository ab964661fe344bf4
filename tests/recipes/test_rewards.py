"""Worlds of composed rewards: their formulas against other computations, and the mechanisms by brute force."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from didact import worlds
from didact.losses.policy.groups import group_advantages
from didact.parts.verifier import verifier_of
from didact.worlds.strings import relevance, scales, sql, synonyms


def asked(name):
    return worlds.load(f"strings:{name}")


@pytest.mark.parametrize("name", ["scales", "sql", "synonyms", "relevance"])
def test_demonstrations_are_right_and_prompts_are_not(name):
    questions = asked(name)
    verifier = verifier_of(questions.verifier)
    texts = [question.completion for question in questions[:300]]
    assert verifier.verify(texts, questions[:300]).value.tolist() == [1.0] * 300
    assert verifier.verify([question.prompt for question in questions[:300]], questions[:300]).value.sum() == 0
    assert len({question.prompt for question in questions}) == len(questions)


# queries


def test_a_query_is_right_by_its_result_and_can_do_nothing_else():
    question = next(q for q in asked("sql") if q.prompt == "sum b where a>2;")
    rows = [(i % 4, 7 * i % 10) for i in range(12)]
    assert question.data["result"] == str([(sum(b for a, b in rows if a > 2),)])
    assert sql.execution("SELECT SUM(b) FROM t WHERE NOT a <= 2", question) == 1
    assert sql.execution("select sum(b) from t where a>1", question) == 0
    endless = "with recursive x(n) as (select 1 union all select n+1 from x) select sum(n) from x"
    for text in ("drop table t", "select", endless, "attach 'x' as y", "select a from t -- " + "x" * 100):
        assert sql.run(text) is None
        assert sql.execution(text, question) == sql.syntax(text, question) == 0


def test_partial_rewards_of_queries_are_jaccard_similarities():
    question = next(q for q in asked("sql") if q.answer == "select max(b) from t where a>2")
    # of {b, t, a} and {c, t, a}: 2 of 4
    assert sql.schema("select max(c) from t where a>2", question) == pytest.approx(2 / 4)
    # 10 pairs each; "( b", "b )" and "( c", "c )" differ: 8 of 12
    assert len(list(sql._pairs(sql._words(question.answer)))) == 10
    assert sql.bigrams("select max(c) from t where a>2", question) == pytest.approx(8 / 12)
    assert sql.bigrams("", question) == 0
    spec = (
        "didact.worlds.strings.sql:execution+0.2*didact.worlds.strings.sql:schema+0.2*didact.worlds.strings.sql:bigrams"
    )
    found = verifier_of(spec).verify(["select max(c) from t where a>2"], [question]).value
    assert found.item() == pytest.approx(0.2 * 2 / 4 + 0.2 * 8 / 12)


def test_partial_rewards_rank_queries_that_are_all_wrong():
    """Of queries with one to four wrong words, those with fewer earn more; with rewards of other queries they don't."""
    chance = random.Random(0)
    right, partial, shuffled, groups = [], [], [], 0
    for question in asked("sql")[:60]:
        words, group = sql._words(question.answer), []
        for wrong in (1, 2, 3, 4):
            places = chance.sample(range(len(words)), wrong)
            text = " ".join("x" if place in places else word for place, word in enumerate(words))
            assert sql.execution(text, question) == 0
            group.append(sql.schema(text, question) + sql.bigrams(text, question))
        groups += len(set(group)) > 1
        partial += group
        shuffled += chance.sample(group, len(group))
        right += [-1, -2, -3, -4]
    assert groups == 60  # by their results alone, which are all wrong, no group has anything to compare
    assert np.corrcoef(partial, right)[0, 1] > 0.7
    assert abs(np.corrcoef(shuffled, right)[0, 1]) < 0.2


# scales


@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_advantages_do_not_depend_on_the_scale_of_a_task(scale):
    right = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0])
    found = group_advantages(scale * right, torch.zeros(8, dtype=torch.int64))
    spread = right.numpy().std(ddof=1), right.numpy().std()
    expected = [(right.numpy() - 0.25) / one for one in spread]
    assert any(found.numpy() == pytest.approx(one, rel=1e-3) for one in expected)


def test_raw_rewards_leave_three_tasks_of_four_without_a_gradient():
    """A rule has a quarter of the whole advantage, or as much as its scale; equal scales are the control."""
    questions = [q for rule in scales.SCALES for q in [q for q in asked("scales") if q.data["rule"] == rule][:50]]
    chance = random.Random(0)
    texts = [[q.answer if chance.random() < 0.4 else "?" for _ in range(8)] for q in questions]
    shares = {}
    for scaled, verify in itertools.product((True, False), (scales.scaled, lambda text, q: float(text == q.answer))):
        rewards = torch.tensor([[verify(text, q) for text in group] for q, group in zip(questions, texts, strict=True)])
        group = torch.arange(len(questions)).repeat_interleave(8)
        size = group_advantages(rewards.flatten(), group, scale=scaled).abs().view(4, -1).sum(1)
        shares[scaled, verify is scales.scaled] = (size / size.sum()).tolist()
    ratio = np.array(list(scales.SCALES.values())) / sum(scales.SCALES.values())
    assert shares[True, True] == pytest.approx([0.25] * 4, abs=0.02)
    assert shares[False, True] == pytest.approx(ratio, abs=0.02)
    assert shares[False, False] == pytest.approx([0.25] * 4, abs=0.03)


# lengths


def test_random_translations_have_the_length_of_their_sentence_as_often_as_computed():
    for words in (3, 4, 5, 6):
        some = [q for q in asked("synonyms") if q.data["words"] == words]
        share = np.mean([synonyms.same_length(q.completion, q) for q in some])
        chance = synonyms.chance_of_length(words)
        assert share == pytest.approx(chance, abs=4 * math.sqrt((chance * (1 - chance) + 1e-9) / len(some)))
    assert synonyms.chance_of_length(4) == pytest.approx(6 * 0.25**2 * 0.75**2)
    assert synonyms.chance_of_length(3) == 0


def test_the_best_policy_for_both_rewards_keeps_the_meaning():
    """Of all texts up to the length, those that are best for both rewards are right; for length alone, few are."""
    question = next(q for q in asked("synonyms") if q.data["words"] == 4)
    parts = [(w.upper(), f"{w.upper()}-{w}") for w in sorted(set(question.answer))] + [("H", "-")]
    texts = {"".join(some) for count in range(1, 6) for some in itertools.product(sum(parts, ()), repeat=count)}
    both = {t for t in texts if synonyms.meaning(t, question) + synonyms.same_length(t, question) == 2}
    long_enough = {t for t in texts if synonyms.same_length(t, question)}
    right = {t for t in texts if synonyms.meaning(t, question)}
    assert len(both) == math.comb(4, 2)
    assert len(right) == 2**4
    assert len(both) / len(long_enough) < 0.05
    assert synonyms.meaning("A-b", question) == 0


# relevance


def test_relevance_is_the_cosine_of_counts():
    question = next(q for q in asked("relevance") if q.data["open"])
    first, second, _ = question.prompt[:-1]
    other = next(letter for letter in "abcdefgh" if letter not in question.prompt)
    assert relevance.relevant(first + first + second, question) == pytest.approx(3 / math.sqrt(5 * 3))
    assert relevance.relevant(other, question) == 0
    assert relevance.relevant("", question) == 0


@pytest.mark.parametrize("is_open", [True, False])
def test_the_most_relevant_reply_is_bad_and_the_regularised_one_good(is_open):
    """Over all 37,448 replies of up to five letters; a reward that is the same for all is the control."""
    question = next(q for q in asked("relevance") if q.data["open"] == is_open)
    replies = ["".join(some) for count in range(1, 6) for some in itertools.product("abcdefgh", repeat=count)]
    good = np.array([relevance.good(reply, question) for reply in replies])
    for reward, share in ((relevance.relevant, 0.0), (relevance.regularised, 1.0), (lambda *_: 1.0, good.mean())):
        value = np.array([reward(reply, question) for reply in replies])
        assert good[value > value.max() - 1e-9].mean() == share
    assert good.mean() < 0.05
