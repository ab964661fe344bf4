import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.losses.policy.groups import BASELINES, dead_groups, group_advantages, group_mean, group_sum
from didact.losses.policy.outputs import add_advantages
from didact.losses.policy.preferences import dpo_loss
from didact.losses.policy.surrogate import clip_mask, k3_kl, ppo_clip_loss
from didact.types import Batch


def test_the_surrogate_is_what_the_paper_writes():
    now = torch.tensor([0.0, -1.0, -0.5, -2.0, -1.0], requires_grad=True)
    then = torch.tensor([-0.5, -1.0, -0.1, -1.0, -1.5])
    advantage = torch.tensor([1.0, 2.0, -1.0, -1.0, -1.0])
    loss = ppo_clip_loss(now, then, advantage, 0.2, 0.3)
    for i in range(5):
        r, a = math.exp(float((now[i] - then[i]).detach())), float(advantage[i])
        assert float(loss[i].detach()) == pytest.approx(-min(r * a, min(max(r, 0.8), 1.3) * a), rel=1e-6)
    loss.sum().backward()
    # Cut off: too likely already and still praised (0), too unlikely already and still blamed (2 and 3).
    ratio = (now - then).detach().exp()
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([0.0, -2.0, 0.0, 0.0, float(ratio[4])])
    assert clip_mask(now, then, advantage, 0.2, 0.3).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]


def test_at_the_policy_that_acted_its_gradient_is_the_policy_gradient():
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    log_probs, reward = logits.log_softmax(0), torch.randn(6, dtype=torch.float64)
    expected = (log_probs.exp() * reward).sum()
    (exact,) = torch.autograd.grad(expected, logits, retain_graph=True)
    # Every action once, weighted by its probability, is the expectation over actions.
    weighted = ppo_clip_loss(log_probs, log_probs.detach(), reward) * log_probs.detach().exp()
    (found,) = torch.autograd.grad(weighted.sum(), logits)
    assert torch.allclose(found, -exact)


def test_the_estimate_of_the_divergence_is_unbiased_and_never_negative():
    p = torch.randn(7, dtype=torch.float64).log_softmax(0)
    q = torch.randn(7, dtype=torch.float64).log_softmax(0)
    each = k3_kl(p, q)
    assert (each >= 0).all()
    assert float((p.exp() * each).sum()) == pytest.approx(float((p.exp() * (p - q)).sum()))


def slow_advantages(reward, group, trust, baseline, scale):
    found = np.zeros(len(reward))
    for i in range(len(reward)):
        others = [reward[j] for j in range(len(reward)) if group[j] == group[i] and trust[j] > 0]
        if trust[i] <= 0:
            continue
        rest = [reward[j] for j in range(len(reward)) if group[j] == group[i] and trust[j] > 0 and j != i]
        base = {"none": 0.0, "mean": np.mean(others), "leave_one_out": np.mean(rest) if rest else reward[i]}[baseline]
        found[i] = reward[i] - base
        if scale:
            deviation = np.std(others, ddof=1) if len(others) > 1 else 0.0
            found[i] = found[i] / deviation if deviation > 1e-6 else 0.0
    return found


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3), st.sampled_from([0.0, 1.0])), min_size=1),
    st.sampled_from(BASELINES),
    st.booleans(),
)
def test_advantages_are_those_of_a_slow_loop(rows, baseline, scale):
    reward, group, trust = (np.array(column) for column in zip(*rows, strict=True))
    given_ = torch.tensor(reward), torch.tensor(group) * 7 - 3, torch.tensor(trust)
    found = group_advantages(*given_, baseline=baseline, scale=scale)
    assert np.allclose(found, slow_advantages(reward, group, trust, baseline, scale), atol=1e-5)
    dead = dead_groups(given_[0].float(), given_[1], given_[2].float())
    for i in range(len(reward)):
        same = {reward[j] for j in range(len(reward)) if group[j] == group[i] and trust[j] > 0}
        assert bool(dead[i]) == (len(same) <= 1)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", [True, False])
def test_equal_rewards_give_no_advantage_at_all(baseline, scale):
    """Of the mean of equal numbers that float32 does not hold exactly, rounding is left."""
    for reward in (10.1, 100.1, 1e6 / 3, 1e-7 / 3, -0.7, 0.0):
        for size in range(1, 14):
            rewards, group = torch.full((size,), reward), torch.zeros(size, dtype=torch.int64)
            assert (group_advantages(rewards, group, baseline=baseline, scale=scale) == 0).all()
            # What was added up in another order differs by a last digit, which says nothing either.
            rewards[0] = rewards[0].nextafter(torch.tensor(torch.inf)) if reward else 0.0
            assert (group_advantages(rewards, group, baseline=baseline, scale=scale) == 0).all()


def test_scaled_advantages_do_not_depend_on_the_unit_of_the_reward():
    rewards, group = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0]), torch.tensor([0, 0, 0, 1, 1])
    for unit in (1e-9, 1.0, 1e9):
        found = group_advantages(rewards * unit, group)
        assert torch.allclose(found, group_advantages(rewards, group))
        assert found.abs().min() > 0.1


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ConfigError, match="baseline is 'median'"):
        group_advantages(torch.zeros(2), torch.zeros(2, dtype=torch.int64), baseline="median")


def test_the_preference_loss_is_the_papers_and_points_the_right_way():
    chosen = torch.tensor([-3.0, -5.0], requires_grad=True)
    rejected = torch.tensor([-4.0, -2.0], requires_grad=True)
    loss = dpo_loss(chosen, rejected, torch.tensor([-3.5, -5.0]), torch.tensor([-3.0, -2.5]), beta=0.3)
    margins = [(-3.0 + 3.5) - (-4.0 + 3.0), (-5.0 + 5.0) - (-2.0 + 2.5)]
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-0.3 * m)) for m in margins])
    loss.sum().backward()
    assert chosen.grad is not None and rejected.grad is not None
    assert (chosen.grad < 0).all() and torch.allclose(chosen.grad, -rejected.grad)
    with pytest.raises(ConfigError, match="beta is 0"):
        dpo_loss(chosen, rejected, chosen, rejected, beta=0.0)


def test_sums_and_means_within_groups_are_those_of_a_loop():
    group, values = torch.tensor([7, 2, 7, 2, 2, 9]), torch.tensor([1.0, 2.0, 3.0, -4.0, 0.5, 6.0])
    known = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    for i in range(6):
        same = [j for j in range(6) if group[j] == group[i]]
        counted = [float(values[j]) for j in same if known[j] > 0]
        assert float(group_sum(values, group)[i]) == pytest.approx(sum(float(values[j]) for j in same))
        assert float(group_mean(values, group, known)[i]) == pytest.approx(np.mean(counted) if counted else 0.0)


def test_attempts_are_dead_where_nothing_differs_in_what_they_are_compared_with():
    reward, turns = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0, 1, 0, 1])
    batch = Batch({"reward": reward, "group": torch.zeros(4, dtype=torch.int64), "trust": torch.ones(4)})
    assert add_advantages(batch)["dead"].tolist() == [0.0] * 4
    found = add_advantages(batch, group=turns)
    assert found["dead"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert found["advantage"][found["dead"] > 0].tolist() == [0.0, 0.0]
