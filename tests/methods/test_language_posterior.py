"""Approaching what a reward makes of a policy: against the exact posterior, its divergences, and transcriptions."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.losses.policy.posterior import log_normaliser, posterior_advantages, posterior_log_ratio
from didact.methods.language import posterior, reinforce
from didact.types import Batch, Head, Question, Questions, TokenOutput
from didact.worlds import policies

BETA = 0.5
DIVERGENCES = ("reverse", "forward")


class Table(nn.Module):
    """A language model whose answers are one token, drawn by a table from a prompt of one token."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, batch):
        ids = batch["input_ids"]
        hidden = self.logits[ids.clamp(max=len(self.logits) - 1)]
        return TokenOutput(hidden, Head(torch.eye(self.logits.shape[1], dtype=hidden.dtype)))


class Draws:
    """Who asks a `Table`: attempts at each situation of a bandit, as a `Writer` would make them."""

    def __init__(self, learner, world, samples, seed=0):
        self.learner, self.world, self.samples = learner, world, samples
        self.generator = torch.Generator().manual_seed(seed)

    def write(self, questions):
        asked = torch.tensor([question.id for question in questions]).repeat_interleave(self.samples)
        log_probs = self.learner.logits.detach().log_softmax(-1)
        actions = torch.multinomial(log_probs[asked].exp(), 1, generator=self.generator)[:, 0]
        found = {
            "input_ids": torch.stack([asked, actions], 1),
            "attention_mask": torch.ones(len(asked), 2, dtype=torch.int64),
            "completion_mask": torch.tensor([[False, True]]).repeat(len(asked), 1),
            "log_probs": torch.stack([torch.zeros(len(asked)).double(), log_probs[asked, actions]], 1),
            "reward": self.world.reward[asked, actions],
            "trust": torch.ones(len(asked)),
            "temperature": torch.ones(len(asked)).double(),
            "group": asked,
            "id": asked,
        }
        return SimpleNamespace(batch=Batch(found))


def asked(situations):
    return Questions(items=tuple(Question(id=number, prompt=str(number)) for number in range(situations)))


def everything(world, logits):
    """All actions in all situations as attempts that were made once each: log-probabilities, rewards and groups."""
    situations, actions = world.reward.shape
    group = torch.arange(situations).repeat_interleave(actions)
    log_probs = logits.detach().log_softmax(-1).flatten()
    reference = world.reference.log_softmax(-1).flatten()
    return posterior_log_ratio(log_probs, reference, world.reward.flatten(), BETA), group


def distance(logits, world, divergence):
    """The divergence from the exact optimum, for each situation."""
    best = policies.optimum(world.reference, world.reward, BETA)
    ends = (logits, best) if divergence == "reverse" else (best, logits)
    return policies.divergence(*ends)


def exact_advantages(logits, world, divergence):
    """What the advantages are on average over the other attempts, and for Z as it is."""
    ratio, group = everything(world, logits)
    ratio = ratio.view_as(logits)
    if divergence == "reverse":
        return ratio - policies.expected_reward(logits.detach(), ratio).unsqueeze(-1)
    log_z = policies.best_objective(world.reference, world.reward, BETA) / BETA
    normaliser = log_z[group]
    found = posterior_advantages(ratio.flatten(), group, divergence="forward", normaliser=normaliser)
    return found.view_as(logits)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_mean_gradient_is_that_of_the_divergence_from_the_exact_posterior(divergence):
    world = policies.bandit(8, situations=3, seed=1)
    logits = (world.reference * 0.3 + 0.2).requires_grad_()
    probs = logits.detach().softmax(-1)
    loss = -(probs * exact_advantages(logits, world, divergence).double() * logits.log_softmax(-1)).sum()
    (mine,) = torch.autograd.grad(loss, logits)
    (theirs,) = torch.autograd.grad(distance(logits, world, divergence).sum(), logits)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert theirs.abs().max() > 0.05


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_exact_steps_end_at_the_posterior(divergence):
    world = policies.bandit(8, situations=3, seed=2)
    logits = world.reference.clone().requires_grad_()
    for _ in range(1000):
        probs = logits.detach().softmax(-1)
        loss = -(probs * exact_advantages(logits, world, divergence) * logits.log_softmax(-1)).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        logits.data -= 2.0 * gradient
    best = policies.optimum(world.reference, world.reward, BETA)
    assert (logits.detach().softmax(-1) - best.exp()).abs().max() < 1e-3
    assert distance(logits.detach(), world, "reverse").max() < 1e-3
    # There, each attempt is worth as much as any other, whatever was drawn.
    ratio, group = everything(world, best)
    for kind in DIVERGENCES:
        assert posterior_advantages(ratio, group, divergence=kind).abs().max() < 1e-5


def learned(method, world, *, steps, lr, samples=16):
    """The table after steps of a method on attempts that are drawn, as a mean over the last half."""
    draws, questions = Draws(method.learner, world, samples), list(asked(len(world.reward)))
    optimizer = torch.optim.SGD(method.parameters(), lr=lr)
    found = []
    for step in range(steps):
        method.loss(method.collect(questions, draws)).total().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= steps // 2:
            found.append(method.learner.logits.detach().softmax(-1))
    return torch.stack(found).mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"divergence": "forward"}, {"divergence": "forward", "normaliser": "running"}])
def test_drawn_attempts_lead_to_the_posterior(options):
    world = policies.bandit(6, situations=2, seed=3)
    config = posterior.Config(beta=BETA, **options)
    method = posterior.Posterior(config, Table(world.reference), asked(2))
    found = learned(method, world, steps=1200, lr=0.3)
    best = policies.optimum(world.reference, world.reward, BETA).exp()
    assert (world.reference.softmax(-1) - best).abs().max() > 0.2
    assert (found - best).abs().max() < 0.02
    torch.testing.assert_close(method.reference.learner.logits.detach(), world.reference, rtol=0, atol=0)
    if method.running is not None:
        # The mean of the ratios' exponentials is Z, whoever made the attempts.
        log_z = policies.best_objective(world.reference, world.reward, BETA) / BETA
        torch.testing.assert_close(method.running.log_mean, log_z, rtol=0, atol=0.02)


@pytest.mark.slow
def test_rewards_alone_collapse_onto_one_answer():
    world = policies.bandit(6, situations=2, seed=3)
    alone = reinforce.Reinforce(reinforce.Config(), Table(world.reference))
    found = learned(alone, world, steps=800, lr=1.0)
    assert policies.entropy(alone.learner.logits.detach()).max() < 0.05 < policies.entropy(world.reference).min()
    assert found.amax(-1).min() > 0.95
    exact = world.reference.clone()
    for _ in range(5000):
        exact += 3.0 * policies.policy_gradient(exact, world.reward)
    assert policies.entropy(exact).max() < 1e-2
    assert exact.argmax(-1).tolist() == world.reward.argmax(-1).tolist()
    held = posterior.Posterior(posterior.Config(beta=BETA), Table(world.reference), asked(2))
    kept = policies.entropy(learned(held, world, steps=300, lr=0.3).log())
    best = policies.optimum(world.reference, world.reward, BETA)
    assert kept.tolist() == pytest.approx(policies.entropy(best).tolist(), abs=0.1)


# ---- against slow transcriptions

REWARDS, GROUPS, TRUSTS = [1.0, 0.0, 0.25, 1.0, 0.5, 0.0, 1.0], [7, 7, 5, 7, 5, 9, 5], [1.0, 1, 1, 1, 0, 0, 1]
MINE, THEIRS = [-1.0, -2.5, -0.2, -4.0, -1.0, -3.0, -0.5], [-1.5, -2.0, -0.7, -3.0, -9.0, -1.0, -0.6]


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_advantages_are_those_of_the_formulas(divergence):
    ratio = posterior_log_ratio(torch.tensor(MINE), torch.tensor(THEIRS), torch.tensor(REWARDS), 0.4)
    plain = [q + r / 0.4 - p for p, q, r in zip(MINE, THEIRS, REWARDS, strict=True)]
    assert ratio.tolist() == pytest.approx(plain)
    found = posterior_advantages(ratio, torch.tensor(GROUPS), torch.tensor(TRUSTS), divergence=divergence)
    for row, value in enumerate(found.tolist()):
        mates = [i for i in range(7) if GROUPS[i] == GROUPS[row] and TRUSTS[i]]
        if not TRUSTS[row]:
            assert value == 0.0
        elif divergence == "reverse":
            others = [plain[i] for i in mates if i != row]
            assert value == pytest.approx(plain[row] - np.mean(others), rel=1e-5)
        else:
            weights = {i: math.exp(THEIRS[i] + REWARDS[i] / 0.4) / math.exp(MINE[i]) for i in mates}
            assert value == pytest.approx(len(mates) * weights[row] / sum(weights.values()) - 1.0, rel=1e-4)


def test_the_normaliser_is_the_mean_of_the_weights_however_large():
    ratio = torch.tensor(THEIRS) + 500.0
    found = log_normaliser(ratio, torch.tensor(GROUPS), torch.tensor(TRUSTS))
    for row, value in enumerate(found.tolist()):
        known = [THEIRS[i] for i in range(7) if GROUPS[i] == GROUPS[row] and TRUSTS[i]]
        wanted = math.log(np.mean(np.exp(known))) + 500.0 if known else -math.inf
        assert value == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ConfigError, match="divergence is 'both'"):
        posterior_advantages(ratio, torch.tensor(GROUPS), divergence="both")
    with pytest.raises(ConfigError, match="beta is 0"):
        posterior_log_ratio(ratio, ratio, ratio, 0.0)


def test_what_is_known_of_z_outlives_a_stop():
    world = policies.bandit(6, situations=4, seed=5)
    config = posterior.Config(beta=BETA, divergence="forward", normaliser="running")
    method = posterior.Posterior(config, Table(world.reference), asked(4))
    questions, draws, means = list(asked(4)), Draws(method.learner, world, 8), []
    for chosen in ([2, 0], [0, 3], [0]):
        batch = method.collect([questions[i] for i in chosen], draws)
        ratio = posterior_log_ratio(
            batch["log_probs"].sum(1),
            world.reference.log_softmax(-1)[batch["id"], batch["input_ids"][:, 1]],
            batch["reward"],
            BETA,
        )
        means.append(ratio[batch["id"] == 0].exp().mean().item() if 0 in chosen else None)
        now = method.running.log_mean.exp()
        wanted = np.mean([mean for mean in means if mean is not None])
        assert now[0].item() == pytest.approx(wanted)
        advantage = batch["advantage"][batch["id"] == 0]
        torch.testing.assert_close(advantage, (ratio[batch["id"] == 0].exp() / wanted - 1.0).float())
    assert method.running.times.tolist() == [3, 0, 1, 1]
    other = posterior.Posterior(config, Table(world.reference), asked(4))
    other.load_state_dict(method.state_dict())
    assert other.running.log_mean.tolist() == method.running.log_mean.tolist()
    assert other.running.times.tolist() == [3, 0, 1, 1]
    other.collect(questions, Draws(other.learner, world, 8))
    assert method.running.times.tolist() == [3, 0, 1, 1]


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_loss_is_that_of_whole_attempts(divergence):
    world = policies.bandit(6, situations=2, seed=3)
    config = posterior.Config(beta=BETA, divergence=divergence)
    method = posterior.Posterior(config, Table(world.reference + 0.1), asked(2))
    method.learner.logits.data += torch.linspace(-1, 1, 6).double()
    batch = method.collect(list(asked(2)), Draws(method.learner, world, 4))
    terms = method.loss(batch)
    rows, actions = batch["input_ids"].T
    now = method.learner.logits.log_softmax(-1)[rows, actions]
    then = (world.reference + 0.1).log_softmax(-1)[rows, actions]
    ratio = then + batch["reward"] / BETA - now.detach()
    if divergence == "reverse":
        others = [[i for i in range(8) if rows[i] == rows[j] and i != j] for j in range(8)]
        advantage = [r - ratio[i].mean() for r, i in zip(ratio, others, strict=True)]
    else:
        weights = ratio.exp()
        advantage = [w / weights[rows == row].mean() - 1.0 for w, row in zip(weights, rows, strict=True)]
    loss = -(now * torch.stack(advantage)).mean()
    assert terms.total().item() == pytest.approx(loss.item(), rel=1e-5)
    mine, theirs = (torch.autograd.grad(value, method.learner.logits)[0] for value in (terms.total(), loss))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    assert terms["kl"].mean().item() == pytest.approx((now.detach() - then).mean().item(), rel=1e-5)
    assert {name: float(term.count) for name, term in terms.items()} == {
        name: float(method.counts(batch)[name]) for name in terms
    }
