"""Batches from examples in memory."""

from collections.abc import Iterator, Mapping

import torch

from didact import hashing
from didact.curricula import Uniform
from didact.documents import State
from didact.errors import CheckpointError, ConfigError, DataError, check_range
from didact.sources.augment import augmenter
from didact.types import Batch, Curriculum, Examples, Stateful, Strength, is_labelled

_INPUTS = ("x", "input_ids", "attention_mask")


class BatchSource:
    """An endless stream of batches, gathered and augmented as whole tensors.

    `Stateful`: the state is that after the batch given last, so that a stream which takes it back goes on to the bit.

    Args:
        examples: N examples; every tensor of theirs is in the batches, and `row`, the position of each example.
        batch_size: at most N.
        seed: the only source of randomness: of the order (with the default curriculum) and of the augmentation.
        curriculum: which examples come next; `Uniform` by default.
        views: augmented views by name, with how much each gets; the inputs of the view `strong` are `strong.x` (or
            `strong.input_ids` and `strong.attention_mask`). They are made from the plain inputs.
        augment: how much the plain inputs get.
        drop_last: leave out batches that are smaller than `batch_size`, as the last of a pass may be.
        progress: the term of the loss that the curriculum is told example by example; `total` is the weighted sum.

    Raises:
        ConfigError: a batch size, strength, curriculum or name of a view that cannot work.
        DataError: inputs that are not finite.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int = 0,
        curriculum: Curriculum | None = None,
        views: Mapping[str, Strength] | None = None,
        augment: Strength = "none",
        drop_last: bool = False,
        progress: str = "total",
    ) -> None:
        examples.batch().check()
        self.examples, self.batch_size, self.drop_last, self.progress = examples, batch_size, drop_last, progress
        self.curriculum = Uniform(examples.size, seed) if curriculum is None else curriculum
        name, has_state = type(self.curriculum).__name__, hasattr(self.curriculum, "state_dict")
        if not (has_state and hasattr(self.curriculum, "load_state_dict")):
            raise ConfigError(
                f"curriculum is a {name}, which has no state_dict, so that a run could not be resumed; give it "
                "state_dict and load_state_dict."
            )
        if not hasattr(self.curriculum, "uses_feedback"):
            raise ConfigError(
                f"curriculum is a {name}, which does not say whether `update` is to be called; give it "
                "uses_feedback = True or False."
            )
        check_range("batch_size", batch_size, at_least=1)
        if batch_size > examples.size:
            raise ConfigError(
                f"batch_size is {batch_size}, but there are only {examples.size} examples; use at most {examples.size}."
            )
        for name in views or ():
            if not name or "." in name or any(key.startswith(f"{name}.") for key in examples.tensors):
                raise ConfigError(
                    f"views has the name {name!r}, which is empty, has a dot, or names a view of the data; use another."
                )
        if "row" in examples.tensors:
            raise DataError(
                "The examples have a tensor 'row', which is what batches call positions; give it another name."
            )
        x = examples.tensors.get("x")
        # A sum is finite only where all are, and is one pass without a copy.
        if x is not None and not bool(x.sum().isfinite()) and not bool(x.isfinite().all()):
            row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
            raise DataError(
                f"The inputs are not finite in row {row + 1} of the examples; fill missing values, as "
                "sources.fit_preprocessing does."
            )
        self.epoch_size = examples.size
        self.label_count = int(is_labelled(examples.tensors["label"]).sum()) if "label" in examples.tensors else 0
        self.charges = frozenset({"student_tokens"} if "attention_mask" in examples.tensors else ())
        self._changes = [
            (f"{name}.", augmenter(examples, strength, f"The view {name}")) for name, strength in (views or {}).items()
        ]
        if augment != "none":
            self._changes.append(("", augmenter(examples, augment)))
        self._generator = torch.Generator().manual_seed(int(hashing.keyed_hash(torch.tensor(0), seed, "augment")))
        self.fingerprint = int(hashing.of_bytes([examples.tensors["id"].contiguous().numpy()]))
        """A hash of the ids and their order, by which rows of other sources are the same."""

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state, without end."""
        sample, size, drop_last, changes = self.curriculum.sample, self.batch_size, self.drop_last, self._changes
        columns = tuple(self.examples.tensors.items())
        while True:
            index = sample(size)
            if drop_last and len(index) < size:
                continue
            tensors = {name: tensor.index_select(0, index) for name, tensor in columns}
            tensors["row"] = index
            if changes:
                self._augment(tensors)
            yield Batch(tensors)

    def _augment(self, tensors: dict[str, torch.Tensor]) -> None:
        """Add the views, then change the plain inputs."""
        plain = {name: tensors[name] for name in _INPUTS if name in tensors}
        for prefix, change in self._changes:
            for name, tensor in change(plain, self._generator).items():
                tensors[prefix + name] = tensor

    @property
    def uses_feedback(self) -> bool:
        """Whether the curriculum learns from how the examples went; see `didact.types.FeedbackSource`."""
        return self.curriculum.uses_feedback

    def feedback(self, batch: Batch, rows: Mapping[str, torch.Tensor]) -> None:
        """Tell the curriculum how the examples of a batch went.

        Args:
            batch: one that this source gave.
            rows: float [B] by term, as `didact.types.FeedbackSource` says.

        Raises:
            ConfigError: the term that the curriculum is to be told is not among them.
        """
        if self.progress not in rows:
            raise ConfigError(
                f"progress is {self.progress!r}, but the loss has no such term that has a value for each example; it "
                f"has {', '.join(rows) or 'none'}."
            )
        self.curriculum.update(batch["row"], rows[self.progress])

    def state_dict(self) -> State:
        """The state of the curriculum, that of the generator of the augmentation (uint8), and a hash of the ids."""
        assert isinstance(self.curriculum, Stateful)
        return {
            "curriculum": dict(self.curriculum.state_dict()),
            "generator": self._generator.get_state(),
            "ids": self.fingerprint,
        }

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: the examples are others, or lie in another order, so that their rows mean others.
        """
        assert isinstance(self.curriculum, Stateful)
        if state["ids"] != self.fingerprint:
            raise CheckpointError(
                f"The saved batches are of other examples than the {self.examples.size} here, or of the same in "
                "another order; resume with the data that the run began with."
            )
        self.curriculum.load_state_dict(state["curriculum"])
        self._generator.set_state(state["generator"])
