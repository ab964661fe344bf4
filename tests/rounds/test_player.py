"""A policy that plays a bandit, round by round: what it learns is known, as the best arm is."""

import pytest
import torch
from torch import nn

from conftest import quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.losses.policy.surrogate import ppo_clip_loss
from didact.sources import Rounds
from didact.types import Batch, Method, StepFeed, Term, Terms
from rounds.doubles import Bandit


class PolicyGradient(Method):
    """Rewards less their mean, in the clipped surrogate."""

    feed = StepFeed(horizon=8, epochs=2, minibatches=2)

    def __init__(self):
        torch.manual_seed(0)
        self.learner = ModuleLearner(nn.Linear(2, 2))

    def collect(self, _chosen, player):
        with torch.no_grad():
            steps = player.play(self.learner, self.feed.horizon)
        return Batch({**steps, "advantage": steps["reward"] - steps["reward"].mean()})

    def loss(self, batch):
        log_probs = self.learner(batch).logits.log_softmax(-1).gather(1, batch["action"][:, None])[:, 0]
        losses = ppo_clip_loss(log_probs, batch["log_prob"], batch["advantage"])
        return Terms(policy=Term(losses.sum(), len(losses)))


def taught(chances=(0.2, 0.8), steps=160, **options):
    method = PolicyGradient()
    feed, player = method.feed, Bandit(chances)
    source = Rounds(None, player, method.collect, size=1, epochs=feed.epochs, minibatches=feed.minibatches)
    optimizer = OptimizerConfig(lr=0.1, schedule="constant", weight_decay=0.0)
    quiet = {"monitors": [], "device": "cpu"}
    quiet_fit(method, source, budget=Budget(steps=steps), optimizer=optimizer, **quiet, **options)
    return method, player


def chance_of_the_second_arm(method):
    """By room, in one of which that arm is the first action."""
    rooms = Batch({"id": torch.arange(2), "x": torch.eye(2)})
    with torch.no_grad():
        probs = method.learner(rooms).logits.softmax(-1)
    return [probs[0, 1].item(), probs[1, 0].item()]


def test_a_policy_learns_the_arm_that_is_known_to_pay_most():
    method, player = taught()
    assert all(chance > 0.95 for chance in chance_of_the_second_arm(method))
    assert (player.round, player.version) == (40, 160)
    other, _ = taught(chances=(0.8, 0.2))
    assert all(chance < 0.05 for chance in chance_of_the_second_arm(other))


def test_arms_that_pay_the_same_teach_nothing():
    method, _ = taught(chances=(1.0, 1.0), steps=40)
    untaught = PolicyGradient()
    assert chance_of_the_second_arm(method) == chance_of_the_second_arm(untaught)


def test_an_update_is_the_policy_gradient_of_what_was_played():
    """Against the derivative of the expected reward, which two rooms of two arms let one write down."""
    method, chances = PolicyGradient(), torch.tensor([0.2, 0.8])
    player = Bandit(chances.tolist(), environments=4096)
    method.feed = StepFeed(horizon=2)
    found = torch.autograd.grad(method.loss(method.collect(None, player)).total(), method.learner.module.weight)[0]
    rooms = torch.eye(2)
    probs = method.learner.module(rooms).softmax(-1)
    expected = (probs[0] * chances).sum() / 2 + (probs[1] * chances.flip(0)).sum() / 2
    wanted = torch.autograd.grad(-expected, method.learner.module.weight)[0]
    assert wanted.abs().min() > 0.02
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.002)


@pytest.mark.parametrize("stopped", [1, 3, 4, 6])
def test_a_run_that_was_stopped_within_a_round_plays_on_as_if_it_had_not_been(stopped, tmp_path):
    calm, player = taught(steps=9)
    taught(steps=stopped, run=tmp_path / "run", checkpoint_every=1)
    hunted, other = taught(steps=9, run=tmp_path / "run", checkpoint_every=1, resume=True)
    assert torch.equal(hunted.learner.module.weight, calm.learner.module.weight)
    assert torch.equal(other.room, player.room)
