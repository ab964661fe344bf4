"""stable_reinforce and mastered_tokens: against slow transcriptions."""

import math

import numpy as np
import pytest
import torch

from didact import worlds
from didact.losses.policy.groups import round_advantages
from didact.losses.policy.surrogate import bounded_clip_loss
from didact.methods.language import mastered_tokens, stable_reinforce
from didact.worlds.strings import preferred
from hand_made import LENGTHS, REWARDS, TRUST, agree, asked, before, clipped, decoder, hand_made, told


@pytest.mark.parametrize("outlier", [3.0, 1.2])
def test_advantages_are_relative_to_the_round_and_outliers_are_left_out(outlier):
    known = np.array(TRUST) > 0
    rewards = np.array(REWARDS)
    apart = (rewards - rewards[known].mean()) / rewards[known].std() * known
    expected = np.where(np.abs(apart) > outlier, 0.0, apart)
    found = round_advantages(torch.tensor(REWARDS), torch.tensor(TRUST), outlier=outlier)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert (outlier == 1.2) == bool((expected == 0)[known].any())
    assert round_advantages(torch.full((4,), 0.1)).tolist() == [0.0] * 4


@pytest.mark.parametrize(("largest", "outlier"), [(1000.0, 3.0), (1.5, 1.2)])
def test_stable_reinforce_is_its_transcription(largest, outlier):
    """With ratios from 1 / 2.2 to 2.2, some of which are beyond the smaller bound."""
    learner = decoder()
    config = stable_reinforce.Config(largest=largest, outlier=outlier)
    method = stable_reinforce.StableReinforce(config, learner)
    batch = method.collect([], asked(hand_made(learner, drift=0.8)))
    means, beyond = [], 0
    for mine, theirs, advantage in zip(told(learner, batch), before(batch), batch["advantage"].tolist(), strict=True):
        losses = []
        for now, then in zip(mine, theirs, strict=True):
            bounded = (now - then).clamp(-math.log(largest), math.log(largest))
            beyond += bool((now - then).abs() > math.log(largest))
            ratio = bounded.exp()
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage))
        means.append(torch.stack(losses).mean())
    agree(method, batch, torch.stack(means).mean())
    assert (beyond > 0) == (largest == 1.5)


def test_the_loss_of_bad_tokens_has_a_bound_and_no_gradient_beyond_it():
    ratio = torch.tensor([0.0, 5.0, 9.0, 50.0], dtype=torch.float64, requires_grad=True)
    losses = bounded_clip_loss(ratio, -torch.ones(4, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(losses.sum(), ratio)
    np.testing.assert_allclose(losses.detach(), [1.0, math.exp(5), 1000.0, 1000.0], rtol=1e-12)
    np.testing.assert_allclose(gradient, [1.0, math.exp(5), 0.0, 0.0], rtol=1e-12)


@pytest.mark.parametrize(("quantile", "target"), [(0.5, 9.0), (0.5, "between"), (1.1, 9.0), (0.5, 0.0)])
def test_mastered_tokens_is_its_transcription(quantile, target):
    """What is sure, and which entropy is low, lies between those of the tokens and completions that there are."""
    learner = decoder()
    with torch.no_grad():
        learner.head.weight.mul_(8.0)
    first = hand_made(learner, drift=0.1)
    right = [row for row, reward in enumerate(REWARDS) if reward >= 1]
    probs = sorted(one.exp().item() for row in right for one in told(learner, first)[row])
    sure = 0.999 if quantile > 1 else probs[len(probs) // 2]
    if target == "between":
        target = sorted(entropies(learner, first)[row] for row in right)[1]
    config = mastered_tokens.Config(sure=sure, target_entropy=target)
    method = mastered_tokens.MasteredTokens(config, learner)
    batch = method.collect([], asked(first))
    low = [entropy < target for entropy in entropies(learner, batch)]
    losses, masked = [], 0
    rows = zip(told(learner, batch), before(batch), batch["advantage"].tolist(), strict=True)
    for row, (mine, theirs, advantage) in enumerate(rows):
        for now, then in zip(mine, theirs, strict=True):
            left_out = now.exp() >= sure - 1e-9 and low[row] and row in right
            masked += bool(left_out)
            losses.append(0.0 * now if left_out else clipped(now, then, advantage))
    agree(method, batch, torch.stack(losses).mean())
    assert method.loss(batch)["mastered"].sum.item() == masked
    assert (masked > 0) == (quantile < 1 and target > 0)
    assert masked < len(probs)


def entropies(learner, batch):
    """The mean entropy of the tokens of each attempt."""
    logits, found = learner(batch).logits, []
    for row, (start, count) in enumerate(LENGTHS):
        scaled = logits[row, start - 1 : start + count - 1] / batch["temperature"][row]
        found.append(torch.distributions.Categorical(logits=scaled).entropy().mean().item())
    return found


def test_a_judgement_is_paid_for_its_choice_its_reasons_and_its_form():
    """By the paper: the choice (1 + 0.5 for consistency), and 0.5 for the form."""
    asked_of = next(q for q in worlds.load("strings:preferred") if q.completion == "2>1A")
    more, _, less, _ = asked_of.completion
    prompt = [word.count("a") for word in asked_of.prompt.rstrip(":").split(",")]
    assert prompt == [int(more), int(less)]
    rewards = {
        asked_of.completion: 2.0,
        "2<1A": 1.5,  # the sign contradicts the counts
        "1<2A": 1.5,  # the choice contradicts the counts
        "1>1A": 1.5,
        "A": 1.0,  # right, without a form
        "1<2B": 0.5,  # consistent, and wrong
        "": 0.0,
        "2>1": 0.0,
    }
    for text, expected in rewards.items():
        assert preferred.reward(text, asked_of) == expected
        assert preferred.chosen(text, asked_of) == float(text.endswith("A"))
