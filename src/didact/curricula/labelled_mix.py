"""Batches with a fixed share of labelled examples, however rare they are."""

import torch
from torch import Tensor

from didact.curricula.uniform import Uniform
from didact.documents import State
from didact.errors import ConfigError, check_range


class LabelledMix:
    """Draws labelled and unlabelled examples from two endless streams, each reshuffled after every pass.

    A pool smaller than its share of a batch appears more than once in it. `Stateful`.

    Args:
        labelled_mask: bool [N], True where an example is labelled.
        fraction: the share of a batch that is labelled, in (0, 1); rounded to whole examples, and at least one of each
            kind where a batch has room for both.
        seed: of the random orders.

    Raises:
        ConfigError: a fraction outside (0, 1), or no labelled or no unlabelled example.
    """

    uses_feedback = False

    def __init__(self, labelled_mask: Tensor, fraction: float, seed: int = 0) -> None:
        check_range("fraction", fraction, above=0, below=1)
        self._pools = [labelled_mask.nonzero()[:, 0], (~labelled_mask).nonzero()[:, 0]]
        for pool, kind in zip(self._pools, ("labelled", "unlabelled"), strict=True):
            if not len(pool):
                raise ConfigError(f"fraction is {fraction}, but none of the examples is {kind}. Use Uniform instead.")
        generator = torch.Generator().manual_seed(seed)
        seeds = torch.randint(2**62, (2,), generator=generator).tolist()
        self._streams = [Uniform(len(pool), s) for pool, s in zip(self._pools, seeds, strict=True)]
        self.fraction = fraction

    def sample(self, count: int) -> Tensor:
        """The next positions: the labelled ones first.

        Args:
            count: the number of positions, at least 1.

        Returns:
            int64 [count].
        """
        labelled = min(max(round(self.fraction * count), 1), max(count - 1, 1))
        shares = (labelled, count - labelled)
        return torch.cat(
            [pool[_draw(s, n)] for pool, s, n in zip(self._pools, self._streams, shares, strict=True) if n]
        )

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Do nothing: the choice does not depend on losses."""

    def state_dict(self) -> State:
        """The states of both streams."""
        return {"labelled": self._streams[0].state_dict(), "unlabelled": self._streams[1].state_dict()}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`; raises `CheckpointError` if the number of labels differs."""
        self._streams[0].load_state_dict(state["labelled"])
        self._streams[1].load_state_dict(state["unlabelled"])


def _draw(stream: Uniform, count: int) -> Tensor:
    """Exactly `count` positions, from as many passes as needed."""
    parts = [stream.sample(count)]
    while (missing := count - sum(map(len, parts))) > 0:
        parts.append(stream.sample(missing))
    return torch.cat(parts) if len(parts) > 1 else parts[0]
