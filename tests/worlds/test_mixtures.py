"""Mixtures against SciPy's densities, simulation and closed forms."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from didact import worlds
from didact.worlds.gaussian import GaussianMixture, bayes_accuracy, distribution


def slow_posterior(mixture, x):
    """Bayes' theorem with SciPy's densities, one mode at a time."""
    joint = np.zeros((len(x), mixture.classes))
    for c, (prior, modes) in enumerate(zip(mixture.priors.tolist(), mixture.modes.double().numpy(), strict=True)):
        for mode in modes:
            joint[:, c] += prior / len(modes) * stats.multivariate_normal(mode, mixture.scale**2).pdf(x)
    return joint / joint.sum(1, keepdims=True)


SMALL = GaussianMixture(
    modes=torch.tensor([[[0.0, 0.0], [2.0, 1.0]], [[1.0, -1.0], [-1.0, 2.0]], [[3.0, 3.0], [0.5, 0.5]]]),
    priors=torch.tensor([0.5, 0.2, 0.3]),
    scale=0.8,
)


@pytest.mark.parametrize("mixture", [SMALL, *map(distribution, ("gaussian:pair", "gaussian:mixture", "gaussian:zipf"))])
def test_the_posterior_is_that_of_bayes(mixture):
    x, _ = mixture.sample(200, seed=7)
    assert mixture.log_posterior(x).exp().numpy() == pytest.approx(
        slow_posterior(mixture, x.double().numpy()), abs=2e-5
    )


@pytest.mark.parametrize("name", ["gaussian:pair", "gaussian:mixture", "gaussian:zipf"])
def test_the_bayes_accuracy_is_what_the_best_classifier_reaches_on_fresh_examples(name):
    mixture = distribution(name)
    x, label = mixture.sample(100_000, seed=11)
    right = float((mixture.log_posterior(x).argmax(1) == label).double().mean())
    promised = bayes_accuracy(name)
    assert right == pytest.approx(promised, abs=4 * np.sqrt(promised * (1 - promised) / 100_000) + 4 * 0.0006)


def test_the_posterior_is_calibrated_on_fresh_examples():
    x, label = SMALL.sample(100_000, seed=5)
    probs = SMALL.log_posterior(x).exp().numpy()
    for c in range(3):
        for low in np.arange(0, 1, 0.2):
            rows = (probs[:, c] >= low) & (probs[:, c] < low + 0.2)
            hits = (label.numpy()[rows] == c).mean()
            assert hits == pytest.approx(probs[rows, c].mean(), abs=4.5 * 0.5 / np.sqrt(rows.sum()))


@pytest.mark.parametrize(("first", "distance", "scale"), [(0.5, 2.0, 1.0), (0.8, 1.5, 1.0), (0.3, 4.0, 2.0)])
def test_the_closed_form_of_a_pair_is_its_integral(first, distance, scale):
    pair = GaussianMixture(
        modes=torch.tensor([[[0.0, 0.0]], [[0.6 * distance, 0.8 * distance]]]),
        priors=torch.tensor([first, 1 - first]),
        scale=scale,
    )
    grid = np.linspace(-12 * scale, distance + 12 * scale, 200_001)
    densities = [first * stats.norm(0, scale).pdf(grid), (1 - first) * stats.norm(distance, scale).pdf(grid)]
    assert pair.bayes_accuracy() == pytest.approx(integrate.trapezoid(np.maximum(*densities), grid), abs=1e-6)


def test_the_pair_of_the_world_is_two_deviations_apart():
    assert bayes_accuracy("gaussian:pair") == pytest.approx(stats.norm.cdf(1), abs=1e-6)


def test_the_sampled_accuracy_agrees_with_the_closed_form():
    """A second mode in the same place changes nothing but the way in which the accuracy is found."""
    twice = GaussianMixture(
        modes=torch.tensor([[[0.0], [0.0]], [[2.0], [2.0]]]), priors=torch.tensor([0.5, 0.5]), scale=1.0
    )
    assert twice.bayes_accuracy() == pytest.approx(stats.norm.cdf(1), abs=0.002)


@pytest.mark.parametrize("name", ["gaussian:mixture", "gaussian:zipf"])
def test_the_documented_standard_error_holds(name):
    mixture = distribution(name)
    best = mixture.log_posterior(mixture.sample(20_000, seed=3)[0]).amax(1).exp()
    assert float(best.std()) / np.sqrt(2**17) <= 0.0006


def test_classes_and_noise_are_drawn_as_said():
    x, label = SMALL.sample(60_000, seed=2)
    counts = np.bincount(label, minlength=3)
    assert stats.chisquare(counts, 60_000 * SMALL.priors.double().numpy()).pvalue > 1e-4
    one = GaussianMixture(modes=torch.tensor([[[5.0, -5.0]], [[5.0, -5.0]]]), priors=torch.full((2,), 0.5), scale=2.0)
    noise = (one.sample(20_000, seed=9)[0].double().numpy() - [5, -5]) / 2
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(20_000)
    assert x.dtype == torch.float32


def test_zipfs_law_gives_the_priors():
    priors = distribution("gaussian:zipf").priors.numpy()
    assert priors[0] / priors == pytest.approx(np.arange(1, 21), rel=1e-5)
    assert priors.sum() == pytest.approx(1, abs=1e-6)
    counts = np.bincount(worlds.load("gaussian:zipf").tensors["label"], minlength=20)
    assert stats.chisquare(counts, 4000 * priors.astype(float) / priors.sum(dtype=float)).pvalue > 1e-4


def test_a_larger_sample_begins_with_the_smaller_one():
    small, large = SMALL.sample(50, seed=4), SMALL.sample(500, seed=4)
    assert torch.equal(small[0], large[0][:50])
    assert torch.equal(small[1], large[1][:50])
    assert not torch.equal(small[0], SMALL.sample(50, seed=5)[0])


def test_no_straight_line_parts_the_clusters():
    """Least squares on one-hot targets, the cheapest linear classifier, stays far below the best possible."""
    x, label = distribution("gaussian:mixture").sample(20_000, seed=6)
    inputs = np.c_[x.numpy(), np.ones(len(x))]
    weights = np.linalg.lstsq(inputs, np.eye(4)[label.numpy()], rcond=None)[0]
    assert np.mean((inputs @ weights).argmax(1) == label.numpy()) < bayes_accuracy("gaussian:mixture") - 0.1
