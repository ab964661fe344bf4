"""A small net that generates images from noise."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.errors import ConfigError, check_range


class ImageGenerator(nn.Module):
    """A linear map to a quarter of the resolution, two convolutions with upsampling before them, and a last one.

    It has no batch normalisation, so that an image depends on its own noise alone. A small version of the generators of
    data-free distillation (Chen et al. 2019, "DAFL").

    Args:
        shape: of one image, (channels, height, width).
        noise: the dimension of the noise.
        width: the number of hidden channels.
        seed: the only source of randomness of the weights.

    Raises:
        ConfigError: a number out of range, or inputs that are not images.
    """

    def __init__(self, shape: Sequence[int], *, noise: int = 32, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        check_range("noise", noise, at_least=1)
        check_range("width", width, at_least=1)
        if len(shape) != 3:
            raise ConfigError(
                f"An image generator was asked for inputs of shape {list(shape)}, but makes images [channels, height, "
                "width]; use image data, such as digits."
            )
        self.noise = noise
        self.sizes = tuple(tuple(max(1, -(-side // by)) for side in shape[1:]) for by in (4, 2, 1))
        height, breadth = self.sizes[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.start = nn.Linear(noise, width * height * breadth)
            self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(3))
            self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
            self.last = nn.Conv2d(width, shape[0], 3, padding=1)

    def forward(self, count: int) -> Tensor:
        """Generate images float32 [count, channels, height, width] in (0, 1), from the global generator."""
        return self.decode(torch.randn(count, self.noise, device=self.start.weight.device))

    def decode(self, noise: Tensor) -> Tensor:
        """Generate the images of noise [B, noise]."""
        maps = self.norms[0](self.start(noise).view(len(noise), -1, *self.sizes[0]))
        for size, conv, norm in zip(self.sizes[1:], self.convs, list(self.norms)[1:], strict=True):
            maps = F.leaky_relu(norm(conv(F.interpolate(maps, size=size))), 0.2)
        return self.last(maps).float().sigmoid()
