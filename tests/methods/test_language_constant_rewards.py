"""Rewards that are all the same teach nothing: not the last bit of a weight moves, by whatever method."""

import pytest
import torch

from contract import LEARNER, SAMPLING
from didact import catalogue
from didact.experiment import running
from didact.experiment.preparing import prepare
from didact.losses.policy.groups import LEAST_RATIO, log_ratio
from didact.losses.policy.posterior import posterior_advantages, posterior_log_ratio
from didact.losses.policy.rewards import penalise_length
from small_questions import questions

ALONE = {
    "clip_cov": {},
    "d3s": {},
    "grpo": {"kl": 0.1},
    "nft": {},
    "posterior": {"beta": 3.0},
    "reinforce": {},
    "rloo": {"kl": 0.3},
    "score": {},
}
"""Methods by whose rewards alone weights move, with options that add what could be left of rounding."""


def moved(name, reward, **options):
    """How far the weights are from where they began, after some steps, by the defaults of the run."""
    values = {"data": questions(), "student": LEARNER, "sampling": SAMPLING, "batch_size": 16, "steps": 4, "lr": 1e-2}
    config, objects = running.split_arguments(name, verifier=lambda _text, _question: reward, **values, **options)
    run = prepare(config, objects)
    before = [p.detach().clone() for p in run.method.parameters()]
    running._fit(run, None)
    return max(float((p.detach() - old).abs().max()) for p, old in zip(run.method.parameters(), before, strict=True))


# A tenth leaves rounding in a mean, as most rewards do; that others do no more, the parts of the loss are tested for.
@pytest.mark.parametrize(
    "reward", [0.1, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.0, 10.1, 100.1, -1e6 / 3))]
)
@pytest.mark.parametrize("name", ALONE)
def test_equal_rewards_move_no_weight(name, reward):
    assert moved(name, reward, **ALONE[name]) == 0.0


def test_with_other_options_equal_rewards_move_no_weight_either():
    assert moved("posterior", 10.1, divergence="forward") == 0.0
    assert moved("grpo_lambda", 10.1, share=0.0) == 0.0


def test_what_differs_moves_them():
    """The same run with rewards of two sizes: otherwise the above would hold of a loop that does nothing."""
    told = iter(range(10**6))
    values = {"data": questions(), "student": LEARNER, "sampling": SAMPLING, "batch_size": 16, "steps": 2, "lr": 1e-2}
    config, objects = running.split_arguments("grpo", verifier=lambda *_: 10.1 + 1e-3 * (next(told) % 2), **values)
    run = prepare(config, objects)
    before = next(p.detach().clone() for p in run.method.parameters())
    running._fit(run, None)
    assert not torch.equal(before, run.method.parameters()[0])


def test_every_method_that_compares_completions_says_so():
    """Whatever has advantages of groups is fed by a feed that refuses a single completion."""
    for info in catalogue.listing():
        text = info.path.read_text()
        compares = "add_advantages" in text or "add_two_turn_advantages" in text or "dead_groups" in text
        if compares and info.name != "reinforce":
            assert info.method_type.feed.grouped, info.name


def test_ratios_that_differ_by_rounding_are_the_same():
    theirs = torch.tensor([-120.0, -3.0, 0.0, -50.0])
    mine = theirs + torch.tensor([6e-4, -2e-5, 0.0, 0.02])
    assert log_ratio(mine, theirs).tolist() == pytest.approx([0.0, 0.0, 0.0, 0.02], abs=1e-5)
    assert log_ratio(mine, theirs)[:3].abs().sum() == 0
    assert 50.0 * LEAST_RATIO < 0.02


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_the_posterior_of_equal_rewards_is_the_reference(divergence):
    generator = torch.Generator().manual_seed(0)
    reference = -20.0 * torch.rand(12, generator=generator)
    noise = 1e-6 * reference * torch.rand(12, generator=generator)
    group = torch.arange(12) // 4
    for reward in (0.0, 10.1, 100.1):
        ratio = posterior_log_ratio(reference + noise, reference, torch.full((12,), reward), 0.1)
        assert (posterior_advantages(ratio, group, divergence=divergence) == 0).all()


def test_lengths_that_are_the_same_have_no_rank():
    """At the mean of equal lengths a right answer pays half of the most, to the bit the same for all."""
    for length in (1.0, 7.0, 1e6 / 3):
        lengths, ones = torch.full((7,), length), torch.ones(7)
        paid = penalise_length(ones, ones, lengths, torch.zeros(7, dtype=torch.int64), strength=0.4)
        assert (paid == paid[0]).all()
        assert paid[0].item() == pytest.approx(1 - 0.4 * 0.5)
