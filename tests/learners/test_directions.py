"""Principal directions within classes against NumPy's, and what a head reads left out."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.learners import ClassDirections


def drawn():
    chance = np.random.default_rng(2)
    hidden = chance.normal(size=(200, 6)) * [1, 5, 2, 1, 0.3, 3] + 4
    return hidden, chance.integers(0, 2, 200), chance.normal(size=(2, 6))


@pytest.mark.parametrize("leave_out", [False, True])
def test_projections_are_those_on_principal_components(leave_out):
    hidden, classes, head = drawn()
    directions = ClassDirections(6, 2, 3)
    for part in range(0, 200, 50):
        rows = torch.tensor(hidden[part : part + 50], dtype=torch.float32)
        directions.accumulate(rows, torch.tensor(classes[part : part + 50]))
    directions.update(torch.tensor(head) if leave_out else None)
    found = directions(torch.tensor(hidden[:10], dtype=torch.float32)).numpy()
    kept = np.eye(6) - np.linalg.pinv(head) @ head if leave_out else np.eye(6)
    for c in range(2):
        own = hidden[classes == c] @ kept
        _, sizes, axes = np.linalg.svd(own - own.mean(0))
        expected = (hidden[:10] @ kept - own.mean(0)) @ axes[:3].T / (sizes[:3] / np.sqrt(len(own)))
        # An axis has two directions, of which neither is the right one.
        signs = np.sign((found[:, c] * expected).sum(0))
        np.testing.assert_allclose(found[:, c], expected * signs, rtol=2e-2, atol=2e-2)


def test_what_the_head_reads_makes_no_difference():
    hidden, classes, head = drawn()
    directions = ClassDirections(6, 2, 2)
    directions.accumulate(torch.tensor(hidden, dtype=torch.float32), torch.tensor(classes))
    directions.update(torch.tensor(head))
    moved = hidden[:5] + 3 * head[0]
    torch.testing.assert_close(
        directions(torch.tensor(moved)), directions(torch.tensor(hidden[:5])), rtol=1e-3, atol=1e-3
    )


def test_a_narrow_representation_is_refused():
    with pytest.raises(ConfigError, match=r"subclasses is 4.*width 6.*2 directions|subclasses is 4.*has 3"):
        ClassDirections(6, 3, 4)
