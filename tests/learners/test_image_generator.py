"""The generator of images: shapes, range, and what an image depends on."""

import pytest
import torch

from didact.errors import ConfigError
from didact.learners import ImageGenerator


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 5), (2, 1, 3)])
def test_images_have_the_shape_and_range_that_were_asked_for(shape):
    images = ImageGenerator(shape, noise=4, width=6)(7)
    assert images.shape == (7, *shape) and images.dtype == torch.float32
    assert images.min() > 0 and images.max() < 1 and images.std() > 0


def test_an_image_depends_on_its_own_noise_alone():
    generator, noise = ImageGenerator((1, 8, 8), noise=4, width=6), torch.randn(5, 4)
    whole = generator.decode(noise)
    torch.testing.assert_close(generator.decode(noise[2:3]), whole[2:3])
    assert not torch.allclose(whole[0], whole[1])
    torch.manual_seed(3)
    first = generator(2)
    torch.manual_seed(3)
    assert torch.equal(first, generator.decode(torch.randn(2, 4)))


def test_the_seed_decides_the_weights():
    state = torch.get_rng_state()
    one, same, other = (ImageGenerator((1, 4, 4), seed=seed).start.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_no_image_is_refused():
    with pytest.raises(ConfigError, match=r"shape \[13\]"):
        ImageGenerator((13,))
    with pytest.raises(ConfigError, match="width"):
        ImageGenerator((1, 8, 8), width=0)
