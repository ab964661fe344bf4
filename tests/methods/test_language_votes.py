"""Learning from the agreement of attempts at two wordings of a question: against counts by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from didact import worlds
from didact.errors import DataError
from didact.losses.labels.votes import cross_view_vote, majority_vote
from didact.methods.language import co_reward
from didact.parts.models import build_causal
from didact.rollouts import Rollouts, Sampling, Writer
from didact.types import Batch

TEXTS = ("12", "12 ", "7", "5", "6", "5", "7", "7", "12", "6", "6", "555")
"""Three answers to each of two questions, and three to each of their paraphrases."""
PAID = {
    "other": [0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    "own": [1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0],
    "single": [1, 1, 0, 1, 0, 1],
}


def decoder():
    return build_causal("decoder:1x16", seed=0).double()


def elected(answers):
    """The answer that is given most often; of several, the first."""
    return max(dict.fromkeys(answers), key=answers.count)


@pytest.mark.parametrize("seed", range(8))
def test_votes_are_counted_as_by_hand(seed):
    generator = torch.Generator().manual_seed(seed)
    answer = torch.randint(-2, 3, (24,), generator=generator) * 1000
    group = torch.tensor([40, 2, 17])[torch.randint(3, (24,), generator=generator)]
    view = torch.randint(2, (24,), generator=generator)
    group[:6], view[:6] = torch.tensor([40, 40, 2, 2, 17, 17]), torch.tensor([0, 1] * 3)
    rows = list(zip(answer.tolist(), group.tolist(), view.tolist(), strict=True))
    own = [a == elected([b for b, h, _ in rows if h == g]) for a, g, _ in rows]
    crossed = [a == elected([b for b, h, w in rows if h == g and w != v]) for a, g, v in rows]
    assert majority_vote(answer, group).tolist() == own
    assert cross_view_vote(answer, group, view).tolist() == crossed
    assert 0 < sum(crossed) < 24


def test_completions_without_an_answer_neither_vote_nor_are_paid():
    """As in the authors' code, in which a completion without a box has no vote."""
    none, valid = 7, torch.tensor([False, False, True, True, False, False, True, True, False, False])
    answer = torch.tensor([none, none, 5, 5, none, none, 5, 7, none, none])
    group, view = torch.tensor([0] * 6 + [1] * 4), torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 1, 1])
    # Of the second prompt's other wording nobody has an answer.
    assert cross_view_vote(answer, group, view, valid).tolist() == [False, False, True, True] + [False] * 6
    own = majority_vote(answer, 2 * group + view, valid).tolist()
    assert own == [False, False, True, True, False, False, True, False, False, False]
    assert (
        cross_view_vote(answer, group, view).tolist()
        == [True, True, False, False, True, True, False, True] + [False] * 2
    )


@pytest.mark.parametrize("votes", PAID)
def test_co_reward_pays_nothing_for_empty_answers(votes):
    learner = decoder()
    method = co_reward.CoReward(co_reward.Config(votes=votes), learner)
    questions, _, writer = asks(learner, ("", " ", "7", "", "", "", "7", "", "", "6", "6", ""))
    paid = {"other": [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0], "own": [0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0]}
    wanted = paid["own"][:6] if votes == "single" else paid[votes]
    assert method.collect(questions, writer)["reward"].tolist() == wanted


def asks(learner, texts=TEXTS):
    """Who answers the first wording of two questions with the first half of the texts, and the other with the rest."""
    questions = worlds.load("addition:paraphrased")[:2]
    heard = []

    def write(asked, *, turn, verify):
        assert not verify
        heard.append((turn, [question.prompt for question in asked]))
        repeated = [question for question in asked for _ in range(3)]
        found = Writer(learner, Sampling(samples=3)).encode(repeated, texts[turn * 6 : turn * 6 + 6])
        then = torch.zeros(found.batch["input_ids"].shape, dtype=torch.float64)
        for row, logits in enumerate(learner(found.batch).logits.detach().log_softmax(-1)):
            for t in found.batch["completion_mask"][row].nonzero()[:, 0].tolist():
                then[row, t] = logits[t - 1, found.batch["input_ids"][row, t]] + 0.3 * (-1) ** (row + t)
        more = {"log_probs": then, "temperature": torch.ones(6).double()}
        return Rollouts(Batch({**found.batch, **more}), found.texts, found.questions)

    return questions, heard, SimpleNamespace(write=write)


@pytest.mark.parametrize("votes", PAID)
def test_co_reward_pays_for_the_agreement_of_two_wordings(votes):
    learner = decoder()
    method = co_reward.CoReward(co_reward.Config(votes=votes), learner)
    questions, heard, writer = asks(learner)
    batch, wanted = method.collect(questions, writer), PAID[votes]
    swapped = ["{b}+{a}=".format(**question.data) for question in questions]
    asked = [(0, [question.prompt for question in questions]), (1, swapped)]
    assert heard == asked[: 1 if votes == "single" else 2]
    assert batch["reward"].tolist() == wanted
    assert len(batch["group"].unique()) == len(wanted) // 3
    for start in range(0, len(wanted), 3):
        three = np.array(wanted[start : start + 3])
        deviation = three.std(ddof=1)
        expected = (three - three.mean()) / deviation if deviation else three * 0.0
        assert batch["advantage"][start : start + 3].tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)
        assert batch["dead"][start : start + 3].tolist() == [float(not deviation)] * 3


def test_co_reward_has_the_clipped_loss_of_its_votes():
    learner = decoder()
    method = co_reward.CoReward(co_reward.Config(), learner)
    questions, _, writer = asks(learner)
    batch = method.collect(questions, writer)
    total, count = 0.0, 0
    for row, logits in enumerate(learner(batch).logits.log_softmax(-1)):
        for t in batch["completion_mask"][row].nonzero()[:, 0].tolist():
            ratio = (logits[t - 1, batch["input_ids"][row, t]] - batch["log_probs"][row, t]).exp()
            advantage = batch["advantage"][row].item()
            total, count = total - min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage), count + 1
    loss, parameters = method.loss(batch).total(), list(learner.parameters())
    assert loss.item() == pytest.approx((total / count).item(), rel=1e-5)
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(total / count, parameters), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


def test_co_reward_needs_a_paraphrase_unless_one_wording_votes():
    questions = worlds.load("addition")[:1]
    with pytest.raises(DataError, match="has no paraphrase in its data"):
        co_reward.CoReward(co_reward.Config(), decoder()).collect(questions, None)


def test_a_paraphrase_is_the_same_sum():
    plain, asked = worlds.load("addition"), worlds.load("addition:paraphrased")
    for question, known in zip(asked, plain, strict=True):
        assert (question.id, question.prompt, question.answer) == (known.id, known.prompt, known.answer)
        left, right = map(int, question.data["paraphrase"][:-1].split("+"))
        assert (left, right) == (question.data["b"], question.data["a"])
        assert str(left + right)[::-1] == question.answer
