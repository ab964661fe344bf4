"""Views of series, against slow transcriptions with the same random numbers, and their statistics."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from didact import sources, worlds
from didact.errors import ConfigError
from didact.sources import augment_series as views
from didact.sources.augment import augmenter, views_of

X = torch.randn(6, 2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def interpolated(series, places):
    """[C, T] at places [S], by numpy."""
    return np.stack([np.interp(places, np.arange(series.shape[1]), channel) for channel in series])


def test_resampling_is_linear_interpolation():
    places = 39 * torch.rand(6, 17, generator=seeded(), dtype=torch.float64)
    found = views.resample(X, places)
    expected = [interpolated(series, at) for series, at in zip(X.numpy(), places.numpy(), strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert torch.equal(views.resample(X, torch.arange(40.0, dtype=torch.float64).expand(6, -1)), X)


@pytest.mark.parametrize("length", [5, 40])
def test_smooth_curves_are_natural_cubic_splines(length):
    knots = np.random.default_rng(0).normal(size=views.KNOTS)
    found = knots @ views.spline(views.KNOTS, length, torch.float64, torch.device("cpu")).numpy()
    curve = CubicSpline(np.linspace(0, length - 1, views.KNOTS), knots, bc_type="natural")
    np.testing.assert_allclose(found, curve(np.arange(length)), atol=1e-12)


def test_noise_and_factors_have_their_deviations():
    x = torch.ones(400, 3, 50)
    noise = views.jitter(x, 0.03, seeded()) - x
    assert float(noise.std()) == pytest.approx(0.03, rel=0.02)
    factor = views.scaling(x, 0.1, seeded())
    assert torch.equal(factor, factor[:, :, :1].expand_as(factor))
    assert float(factor[:, :, 0].std()) == pytest.approx(0.1, rel=0.1)
    assert float(factor.mean()) == pytest.approx(1, abs=0.01)


def test_magnitudes_are_multiplied_by_a_curve_of_each_channel():
    knots = 1 + 0.2 * torch.randn(6, 2, views.KNOTS, generator=seeded(), dtype=torch.float64).numpy()
    curve = CubicSpline(np.linspace(0, 39, views.KNOTS), knots, axis=-1, bc_type="natural")(np.arange(40))
    np.testing.assert_allclose(views.magnitude_warp(X, 0.2, seeded()), X.numpy() * curve, atol=1e-12)


def test_time_passes_at_the_speed_of_a_curve_between_fixed_ends():
    knots = 1 + 0.2 * torch.randn(6, views.KNOTS, generator=seeded(), dtype=torch.float64).numpy()
    speed = CubicSpline(np.linspace(0, 39, views.KNOTS), knots, axis=-1, bc_type="natural")(np.arange(40))
    places = np.cumsum(speed, axis=1) - speed[:, :1]
    places *= 39 / places[:, -1:]
    found = views.time_warp(X, 0.2, seeded())
    expected = [interpolated(series, at) for series, at in zip(X.numpy(), places, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    torch.testing.assert_close(found[:, :, [0, -1]], X[:, :, [0, -1]])


def test_a_window_is_cut_and_stretched():
    start = 0.1 * 39 * torch.rand(6, 1, generator=seeded(), dtype=torch.float64).numpy()
    found = views.window_slice(X, 0.1, seeded())
    expected = [
        interpolated(series, np.linspace(at, at + 0.9 * 39, 40))
        for series, at in zip(X.numpy(), start[:, 0], strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_window_passes_at_another_speed():
    chance = torch.rand(2, 6, 1, generator=seeded(3), dtype=torch.float64).numpy()[:, :, 0]
    window, found = 0.1 * 39, views.window_warp(X, 0.1, seeded(3)).numpy()
    factors = np.where(chance[1] < 0.5, 0.5, 2.0)
    assert set(factors) == {0.5, 2.0}
    for series, share, factor, warped in zip(X.numpy(), chance[0], factors, found, strict=True):
        start = share * (39 - window)
        # Where four places of the series come to lie once the window is stretched.
        old = [0, start, start + window, 39]
        new = np.cumsum([0, start, factor * window, 39 - start - window])
        places = np.interp(np.linspace(0, new[-1], 40), new, old)
        np.testing.assert_allclose(warped, interpolated(series, places), atol=1e-9)


def prepared():
    x = np.random.default_rng(0).normal(3, [[1], [50]], (20, 2, 40))
    examples = sources.from_tensors(x, np.arange(20) % 2, modality="series", standardise="none")
    return sources.fit_preprocessing(examples)(examples)


@pytest.mark.parametrize("name", [name for name in views_of("series") if name != "none"])
def test_every_view_changes_series_and_nothing_in_place(name):
    examples = prepared()
    x = examples.tensors["x"]
    before, change = x.clone(), augmenter(examples, name)
    found = change({"x": x}, seeded())["x"]
    assert torch.equal(x, before)
    assert found.shape == x.shape
    assert not torch.equal(found, x)
    assert torch.equal(change({"x": x}, seeded())["x"], found)


def test_noise_is_in_the_unit_of_each_channel():
    examples = prepared()
    x = examples.tensors["x"]
    noise = augmenter(examples, "jitter")({"x": x}, seeded())["x"] - x
    expected = 0.03 * x.std((0, 2))
    torch.testing.assert_close(noise.std((0, 2)), expected, rtol=0.1, atol=0)


def test_views_that_images_lack_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"'time_warp', a view of series data, which .*digits.* \(image\) lack"):
        augmenter(worlds.load("digits"), "time_warp")


def test_a_rolled_series_begins_elsewhere():
    """Anywhere, in all channels alike; what leaves at one end comes in at the other."""
    x = torch.arange(80.0).view(1, 2, 40).expand(4000, -1, -1)
    found = views.roll(x, 1.0, seeded())
    by = (found[:, 0] == 0).int().argmax(1)
    expected = np.stack([np.roll(series, shift, axis=-1) for series, shift in zip(x.numpy(), by.tolist(), strict=True)])
    np.testing.assert_array_equal(found, expected)
    # Both ends of the range are half as likely, as they are rounded from one side, and are the same shift.
    counts = by.bincount(minlength=40)
    assert counts.min() > 60 and counts.max() < 145
    assert set(((by + 20) % 40 - 20).tolist()) == set(range(-20, 20))
    near = (views.roll(x, 0.2, seeded())[:, 0] == 0).int().argmax(1)
    assert set(((near + 20) % 40 - 20).tolist()) == set(range(-4, 5))
