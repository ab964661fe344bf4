"""The noise-contrastive loss against a slow transcription, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.pairs.contrastive import nce_log_normaliser, nce_loss


def unit(seed, *shape):
    found = np.random.default_rng(seed).normal(size=shape)
    return found / np.sqrt((found**2).sum(-1, keepdims=True))


def slow(anchors, positives, negatives, normaliser, temperature, left_out=None):
    """The paper's critic, as it is written there."""
    per_anchor = []
    for i, anchor in enumerate(anchors):
        kept = [n for k, n in enumerate(negatives) if left_out is None or not left_out[i][k]]
        noise = len(kept) * normaliser

        def critic(other, anchor=anchor, noise=noise):
            score = math.exp(float(anchor @ other) / temperature)
            return score / (score + noise)

        per_anchor.append(-math.log(critic(positives[i])) - sum(math.log(1 - critic(n)) for n in kept))
    return per_anchor


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_it_matches_the_papers_critic(temperature):
    anchors, positives, negatives = unit(0, 4, 5), unit(1, 4, 5), unit(2, 9, 5)
    term = nce_loss(
        *map(torch.tensor, (anchors, positives, negatives)), log_normaliser=math.log(1 / 50), temperature=temperature
    )
    assert term.count == 4
    assert term.sum.item() == pytest.approx(sum(slow(anchors, positives, negatives, 1 / 50, temperature)), rel=1e-4)


def test_what_is_left_out_is_no_negative_and_trust_weighs_anchors():
    anchors, positives, negatives = unit(3, 3, 4), unit(4, 3, 4), unit(5, 5, 4)
    left_out = [[True, False, False, False, True], [False] * 5, [True, True, False, False, False]]
    trust = [1.0, 0.25, 0.0]
    given = [torch.tensor(x) for x in (anchors, positives, negatives)]
    term = nce_loss(
        *given,
        log_normaliser=torch.tensor(0.3).log(),
        temperature=0.2,
        left_out=torch.tensor(left_out),
        trust=torch.tensor(trust),
    )
    assert float(term.count) == 1.25
    assert term.sum.item() == pytest.approx(
        np.dot(trust, slow(anchors, positives, negatives, 0.3, 0.2, left_out)), rel=1e-4
    )


def test_gradients_match_finite_differences():
    anchors, positives, negatives = unit(6, 3, 4), unit(7, 3, 4), unit(8, 6, 4)
    left_out = np.random.default_rng(9).random((3, 6)) < 0.3
    x, y = (torch.tensor(part).float().requires_grad_() for part in (anchors, positives))
    options = {"log_normaliser": math.log(0.4), "temperature": 0.3, "left_out": torch.tensor(left_out)}
    nce_loss(x, y, torch.tensor(negatives), **options).sum.backward()
    for which, tensor in ((0, x), (1, y)):
        for at in np.ndindex(3, 4):
            step = np.zeros((3, 4))
            step[at] = 1e-5
            ends = []
            for sign in (1, -1):
                moved = [anchors, positives]
                moved[which] = moved[which] + sign * step
                ends.append(sum(slow(*moved, negatives, 0.4, 0.3, left_out)))
            assert tensor.grad[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=2e-4)


def test_the_normaliser_is_the_mean_score():
    anchors, negatives = unit(10, 3, 4), unit(11, 5, 4)
    scores = np.exp(anchors @ negatives.T / 0.1)
    found = nce_log_normaliser(torch.tensor(anchors), torch.tensor(negatives), temperature=0.1)
    assert found.item() == pytest.approx(math.log(scores.mean()), rel=1e-5)
    left_out = np.random.default_rng(12).random((3, 5)) < 0.4
    found = nce_log_normaliser(
        torch.tensor(anchors), torch.tensor(negatives), temperature=0.1, left_out=torch.tensor(left_out)
    )
    assert found.item() == pytest.approx(math.log(scores[~left_out].mean()), rel=1e-5)


def test_extreme_scores_stay_finite():
    same = torch.tensor([[1.0, 0.0]], requires_grad=True)
    term = nce_loss(same, same.detach(), torch.tensor([[1.0, 0.0]]), log_normaliser=-40.0, temperature=0.01)
    term.sum.backward()
    assert term.sum.item() == pytest.approx(140.0, rel=1e-5)
    assert torch.isfinite(same.grad).all()


def test_mixed_precision_leaves_it_alone():
    given = [torch.tensor(unit(s, 4, 6)).float() for s in (13, 14, 15)]
    full = nce_loss(*given, log_normaliser=0.0).sum
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nce_loss(*given, log_normaliser=0.0).sum, full)


def test_widths_and_temperatures_that_cannot_work():
    with pytest.raises(ConfigError, match=r"\[2, 3\].*\[2, 4\].*same width"):
        nce_loss(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(5, 3), log_normaliser=0.0)
    with pytest.raises(ConfigError, match="temperature is 0"):
        nce_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(5, 3), log_normaliser=0.0, temperature=0.0)
