"""How answers are drawn."""

from didact.experiment.config import RunConfig
from didact.rollouts import Sampling


def sampling_of(config: RunConfig) -> Sampling:
    """How a run draws answers."""
    return Sampling(**config.sampling)
