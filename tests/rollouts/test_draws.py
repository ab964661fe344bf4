import numpy as np
import pytest
import torch
from scipy import stats

from didact.errors import ConfigError
from didact.rollouts import Sampling
from didact.rollouts.draws import allowed_tokens, rollout_keys, sample_index, sample_tokens, uniforms


def slow_kept(log_probs, top_k, top_p, min_p):
    """One row after another, one token after another."""
    found = np.zeros(log_probs.shape, dtype=bool)
    for row, values in enumerate(log_probs):
        order = sorted(range(len(values)), key=lambda token: -values[token])
        order = order[:top_k] if top_k else order
        whole, held = sum(np.exp(values[token]) for token in order), 0.0
        for token in order:
            if held >= top_p * whole and top_p < 1.0:
                break
            held += np.exp(values[token])
            if np.exp(values[token]) >= min_p * np.exp(values).max():
                found[row, token] = True
    return found


@pytest.mark.parametrize("top_k", [0, 1, 5, 100])
@pytest.mark.parametrize("top_p", [1.0, 0.3, 0.9])
@pytest.mark.parametrize("min_p", [0.0, 0.05, 1.0])
def test_truncation_leaves_what_a_slow_transcription_leaves(top_k, top_p, min_p):
    scores = torch.randn(6, 30, generator=torch.Generator().manual_seed(3)) * 2.0
    log_probs = scores.log_softmax(-1)
    found = allowed_tokens(log_probs, Sampling(top_k=top_k, top_p=top_p, min_p=min_p))
    wanted = slow_kept(log_probs.double().numpy(), top_k, top_p, min_p)
    assert (np.ones_like(wanted) if found is None else found.numpy()).tolist() == wanted.tolist()


def test_tokens_that_tie_with_the_last_one_stay():
    log_probs = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()
    assert allowed_tokens(log_probs, Sampling(top_k=2)).tolist() == [[True] * 4]


def test_a_token_is_where_the_cumulative_weight_exceeds_the_chance():
    weights = torch.tensor([[0.0, 1.0, 2.0, 0.0, 1.0, 0.0]]).expand(7, -1)
    chance = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.9, 1.0 - 2.0**-53], dtype=torch.float64)
    assert sample_index(weights, chance).tolist() == [1, 1, 2, 2, 4, 4, 4]


def test_chance_is_uniform_and_independent():
    keys = rollout_keys(torch.arange(50), seed=0, visit=0, samples=4)
    chance = uniforms(keys, 100).numpy()
    assert chance.shape == (200, 100)
    assert stats.kstest(chance.ravel(), "uniform").pvalue > 0.01
    for one, other in [(chance[:, :-1], chance[:, 1:]), (chance[:-1], chance[1:]), (chance[::4], chance[1::4])]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


def test_chance_follows_from_what_it_is_for():
    ids = torch.tensor([5, 9])
    keys = rollout_keys(ids, seed=1, visit=2, samples=3)
    assert torch.equal(keys[3:], rollout_keys(ids[1:], seed=1, visit=2, samples=3))
    assert torch.equal(uniforms(keys, 8)[:, :5], uniforms(keys, 5))
    others = [rollout_keys(ids, seed=s, visit=v, samples=3) for s, v in [(1, 3), (2, 2), (3, 1)]]
    assert len(torch.cat([keys, *others]).unique()) == 24


@pytest.mark.parametrize("options", [{}, {"top_k": 4}, {"top_p": 0.7}, {"min_p": 0.2}])
def test_tokens_come_as_often_as_they_are_probable(options):
    sampling = Sampling(temperature=0.7, **options)
    scores = torch.tensor([1.0, -0.5, 0.3, 2.0, -2.0, 0.9, 0.0])
    count = 20_000
    chance = uniforms(rollout_keys(torch.arange(count), seed=0, visit=0, samples=1), 1)[:, 0]
    tokens, log_probs = sample_tokens(scores.expand(count, -1), chance, sampling)
    probs = np.exp(scores.double().numpy() / 0.7)
    probs /= probs.sum()
    assert log_probs.numpy() == pytest.approx(np.log(probs)[tokens.numpy()], abs=1e-5)
    left = slow_kept(np.log(probs)[None], sampling.top_k, sampling.top_p, sampling.min_p)[0]
    found = np.bincount(tokens.numpy(), minlength=7)
    assert found[~left].sum() == 0
    assert stats.chisquare(found[left], count * probs[left] / probs[left].sum()).pvalue > 0.001


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"min_p": 1.5},
        {"samples": -1},
        {"slots": 0},
        {"stop": ("",)},
        {"stop": "a"},
    ],
)
def test_options_out_of_bounds_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Sampling(**options)
