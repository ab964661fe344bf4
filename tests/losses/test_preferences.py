"""The losses of preferences: against transcriptions in NumPy, and where each comes to rest."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.policy import preferences

CHOSEN, REJECTED = [-3.0, -0.2, -7.5, -1e-6], [-2.5, -0.9, -0.3, -2.0]
REFERENCE = [-3.5, -0.1, -6.0, -1.0], [-2.0, -1.0, -0.4, -2.5]


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def margins():
    c, r, rc, rr = (np.array(v) for v in (CHOSEN, REJECTED, *REFERENCE))
    return (c - rc) - (r - rr)


def odds(log_p):
    p = np.exp(np.array(log_p))
    return p / (1 - p)


TRANSCRIBED = {
    "dpo": (lambda p: preferences.dpo_loss(*p, beta=0.3), lambda: -np.log(sigmoid(0.3 * margins()))),
    "ipo": (lambda p: preferences.ipo_loss(*p, beta=0.3), lambda: (margins() - 1 / (2 * 0.3)) ** 2),
    "simpo": (
        lambda p: preferences.simpo_loss(*p[:2], beta=2.5, margin=0.7),
        lambda: -np.log(sigmoid(2.5 * (np.array(CHOSEN) - REJECTED) - 0.7)),
    ),
    "orpo": (
        lambda p: preferences.odds_ratio_loss(*p[:2]),
        lambda: -np.log(sigmoid(np.log(odds(CHOSEN) / odds(REJECTED)))),
    ),
    "bradley_terry": (
        lambda p: preferences.bradley_terry_loss(*p[:2]),
        lambda: -np.log(np.exp(CHOSEN) / (np.exp(CHOSEN) + np.exp(REJECTED))),
    ),
}


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_each_loss_is_what_its_paper_writes_and_prefers_what_is_preferred(name):
    found, wanted = TRANSCRIBED[name]
    parts = tensors(CHOSEN, REJECTED, *REFERENCE)
    loss = found(parts)
    np.testing.assert_allclose(loss.detach(), wanted(), rtol=1e-6)
    loss.sum().backward()
    # Where the margin is below what is aimed at, the preferred answer rises and the other one falls.
    below = margins() < 1 / 0.6 if name == "ipo" else np.ones(4, dtype=bool)
    assert (parts[0].grad.numpy()[below] < 0).all()
    assert (parts[1].grad.numpy()[below] > 0).all()
    assert (parts[0].grad.numpy()[~below] > 0).all()


def test_odds_of_what_is_all_but_certain_are_finite():
    chosen, rejected = (torch.tensor(v, requires_grad=True) for v in ([-1e-8, 0.0, -200.0], [-1e-9, -1.0, 0.0]))
    loss = preferences.odds_ratio_loss(chosen, rejected)
    loss.sum().backward()
    for tensor in (loss, chosen.grad, rejected.grad):
        assert tensor.isfinite().all()
    # log odds of -1e-8 and -1e-9 nats: about 8 and 9 times log(10).
    assert loss[0].item() == pytest.approx(math.log1p(10.0), rel=1e-4)


def slow_kto(ratios, good, z, beta, weights):
    found = []
    for r, is_good in zip(ratios, good, strict=True):
        value = sigmoid(beta * (r - z)) if is_good else sigmoid(beta * (z - r))
        found.append(weights[not is_good] * (1 - value))
    return found


@pytest.mark.parametrize("z", [0.0, 0.8])
def test_kto_is_what_its_paper_writes(z):
    ratios, good = [0.5, -0.3, 2.0, 0.5], [True, True, False, False]
    (ratio,) = tensors(ratios)
    loss = preferences.kto_loss(
        ratio, torch.tensor(good), torch.tensor(z, dtype=torch.float64), beta=0.4, desirable=1.5, undesirable=0.5
    )
    np.testing.assert_allclose(loss.detach(), slow_kto(ratios, good, z, 0.4, (1.5, 0.5)), rtol=1e-6)
    loss.sum().backward()
    assert ratio.grad is not None
    assert ((ratio.grad < 0) == torch.tensor(good)).all()


@pytest.mark.parametrize("call", [
    lambda t: preferences.ipo_loss(t, t, t, t, beta=0.0),
    lambda t: preferences.simpo_loss(t, t, beta=-1.0),
    lambda t: preferences.simpo_loss(t, t, margin=-1.0),
    lambda t: preferences.kto_loss(t, t > 0, t, beta=0.0),
    lambda t: preferences.kto_loss(t, t > 0, t, desirable=-1.0),
])  # fmt: skip
def test_options_out_of_range_are_refused(call):
    with pytest.raises(ConfigError):
        call(torch.zeros(2))


def at_rest(loss, steps=4000, rate=0.5):
    """The margin that gradient descent on one pair comes to, from a policy over two answers."""
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    start = torch.zeros(2, dtype=torch.float64).log_softmax(0)
    for _ in range(steps):
        now = logits.log_softmax(0)
        (slope,) = torch.autograd.grad(loss(now[:1], now[1:], start[:1], start[1:]).sum(), logits)
        with torch.no_grad():
            logits -= rate * slope
    return (logits[0] - logits[1]).item()


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_ipo_comes_to_rest_where_dpo_never_does(beta):
    """The mechanism of IPO: a certain preference moves the policy by 1 / (2 beta), and no further."""
    few, many = (at_rest(lambda *p: preferences.ipo_loss(*p, beta=beta), steps, 0.05) for steps in (2000, 4000))
    assert few == pytest.approx(1 / (2 * beta), abs=1e-6)
    assert many == pytest.approx(few, abs=1e-6)
    # The control: the logistic loss keeps widening the margin, which grows with the logarithm of the steps.
    few, many = (at_rest(lambda *p: preferences.dpo_loss(*p, beta=beta), steps) for steps in (2000, 4000))
    assert many > few + 0.3
    assert few > 3 / (2 * beta)


def test_simpo_does_not_mistake_length_for_quality():
    """Two answers of the same probability a token: sums favour the shorter one, means neither."""
    token, lengths = -0.7, torch.tensor([3.0, 12.0])
    sums = token * lengths
    short, long = sums
    assert (short - long).item() > 6
    even = preferences.simpo_loss(*(sums / lengths)[:, None], margin=0.0)
    assert even.item() == pytest.approx(math.log(2))
    # The control: on sums the pair counts as decided, although no token was told apart.
    assert preferences.simpo_loss(short[None], long[None], margin=0.0).item() < 1e-5


def test_orpo_lowers_the_rejected_answer_that_likelihood_alone_raises():
    """Answers that share their beginning: fitting the preferred one raises the other too, the odds ratio holds it."""
    answers = torch.tensor([[0, 1], [0, 2]])

    def taught(weight):
        table = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)

        def means():
            return table.log_softmax(-1)[torch.arange(2), answers].mean(1)

        before = means().detach()
        for _ in range(25):
            chosen, rejected = means()
            loss = -chosen + weight * preferences.odds_ratio_loss(chosen[None], rejected[None]).sum()
            (slope,) = torch.autograd.grad(loss, table)
            with torch.no_grad():
                table -= 0.3 * slope
        return (means().detach() - before).tolist()

    alone, told = taught(0.0), taught(1.0)
    assert alone[0] > 0.2
    assert told[0] > 0.2
    assert told[1] < alone[1] - 0.2
