"""The oscillator against an integrator, and its polynomials against NumPy's."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from scipy.integrate import solve_ivp

from didact import worlds
from didact.worlds.oscillator import displacement, polynomials


@pytest.mark.parametrize(("stiffness", "frequency"), [(1.3, 1.1), (2.9, 0.0), (1.0, 1.0), (2.0, 1.9)])
def test_the_displacement_is_that_of_an_integrator(stiffness, frequency):
    def moved(time, state):
        return [state[1], np.cos(frequency * time) / 2 - state[1] / 2 - stiffness * state[0]]

    found = solve_ivp(moved, (0, 20), [0.5, 0.0], t_eval=np.linspace(0, 20, 400), rtol=1e-8, atol=1e-9)
    mine = displacement(torch.tensor([stiffness]).double(), torch.tensor([frequency]).double())
    assert mine.item() == pytest.approx(abs(found.y[0]).max(), rel=1e-5)


def test_the_columns_are_products_of_legendre_polynomials():
    place = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    expected = []
    for degree in range(1, 7):
        for i in range(degree + 1):
            one, other = (
                legendre.legval(place[:, column].numpy(), [0] * n + [1]) * np.sqrt(2 * n + 1)
                for column, n in ((0, i), (1, degree - i))
            )
            expected.append(one * other)
    np.testing.assert_allclose(polynomials(place).numpy(), np.stack(expected, 1), atol=1e-9)


def test_a_polynomial_explains_what_is_promised():
    tensors = worlds.load("oscillator").tensors
    x = np.column_stack([tensors["x"].double().numpy(), np.ones(2000)])
    label = tensors["label"].double().numpy()
    rest = label - x @ np.linalg.lstsq(x, label, rcond=None)[0]
    assert 1 - rest.var() / label.var() == pytest.approx(0.86, abs=0.01)
