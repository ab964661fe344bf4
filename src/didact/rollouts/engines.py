"""The engines in this process, and the choice of one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from didact.rollouts.backends import check_int8
from didact.rollouts.completions import Completions
from didact.rollouts.engine_config import Engine, EngineConfig
from didact.rollouts.sampler import Sampler
from didact.rollouts.sampling import Sampling
from didact.rollouts.server import ServerEngine
from didact.types.frozen import copy_trained


class LocalEngine:
    """didact's sampler, on the student itself or on a copy of it.

    Args:
        learner: the student.
        config: its `kind` is `own` or `int8`. With `behind`, the engine keeps a copy of the weights that are trained;
            frozen ones are shared.
        seed: of all draws.
    """

    def __init__(self, learner: Any, config: EngineConfig, *, seed: int = 0) -> None:
        self.failures: Counter[str] = Counter()
        self.learner, self.int8, self.copies, self.seed = learner, config.kind == "int8", bool(config.behind), seed
        self.model, self.version = learner, -1

    def load(self, version: int) -> None:
        """Copy the weights, if they are to be kept while the student learns."""
        if not self.copies or version == self.version:
            return
        if self.model is self.learner:
            self.model = copy_trained(self.learner).eval()
        with torch.no_grad():
            for mine, theirs in zip(self.model.parameters(), self.learner.parameters(), strict=True):
                if mine is not theirs:
                    mine.copy_(theirs)
            for mine, theirs in zip(self.model.buffers(), self.learner.buffers(), strict=True):
                mine.copy_(theirs)
        self.version = version

    def sample(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, *, visit: int
    ) -> Completions:
        """Sample completions."""
        sampler = Sampler(self.model, sampling, seed=self.seed, int8=self.int8)
        return sampler.sample(prompts, ids, visit=visit)


def make_engine(learner: Any, config: EngineConfig, *, seed: int = 0) -> Engine | None:
    """Build the engine of a student.

    Args:
        learner: the student.
        config: its options.
        seed: of all draws.

    Returns:
        None where the student samples itself.

    Raises:
        ConfigError: the student's matrices can't be rounded.
        MissingExtraError: a server needs the package openai.
        EngineError: the server does not answer, or has no model.
    """
    if config.exact:
        return None
    if config.kind == "int8":
        check_int8(learner, learner.context)
    if not config.url:
        return LocalEngine(learner, config, seed=seed)
    return ServerEngine(learner, config, seed=seed)
