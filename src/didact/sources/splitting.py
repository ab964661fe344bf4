"""Who belongs to which split, who keeps its label, and who is in two splits at once."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import ConfigError, DataError, check_range
from didact.types import IGNORE, Examples, is_labelled


@dataclass(frozen=True, slots=True)
class Splits:
    """Three sets of examples that share none."""

    train: Examples
    """To learn from."""
    validation: Examples
    """To choose and to watch; may be empty."""
    test: Examples
    """For the final figures."""

    def __iter__(self) -> Iterator[tuple[str, Examples]]:
        """Each split with its name."""
        return iter((("train", self.train), ("validation", self.validation), ("test", self.test)))

    def map(self, change: Callable[[Examples], Examples]) -> "Splits":
        """The same change made to each split."""
        return Splits(change(self.train), change(self.validation), change(self.test))


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same inputs in two splits, so that what was learned from one is no evidence on the other."""

    splits: tuple[str, str]
    """The names of the splits."""
    ids: tuple[int, int]
    """The first such example's id in either."""

    def __str__(self) -> str:
        """A sentence for people."""
        return f"{self.splits[0]} (id {self.ids[0]}) and {self.splits[1]} (id {self.ids[1]}) have the same inputs."


def split(examples: Examples, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Split by a keyed hash of each example's id, never by position.

    An example's split depends on its id, the seed and the fractions alone, so that neither another order nor added rows
    move it. The sizes are therefore random, with the fractions as their means. Examples with the same id stay together;
    where there is a tensor `group` (int64 [N]), its numbers stand for the ids, as for several views of one object.

    Args:
        examples: N of them.
        validation: fraction in [0, 1).
        test: fraction in [0, 1); the two add up to less than 1.
        seed: any integer.

    Returns:
        The three splits, each in the order of `examples`.

    Raises:
        ConfigError: fractions out of range.
        DataError: a split that should not be empty is, or a class is labelled in training only, or not in training.
    """
    keys = examples.tensors.get("group", examples.tensors["id"])
    splits = Splits(*map(examples.select, assign_splits(keys, validation=validation, test=test, seed=seed)))
    if examples.task == "classification":
        _refuse_lonely_classes(splits)
    return splits


def assign_splits(keys: Tensor, *, validation: float, test: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Say which split each of N examples belongs to: the rule of `split`, which describes it.

    Args:
        keys: int64 [N]; examples with the same key stay together.
        validation: fraction in [0, 1).
        test: fraction in [0, 1); the two add up to less than 1.
        seed: any integer.

    Returns:
        Masks bool [N] of the training, validation and test examples; each example is in one of them.

    Raises:
        ConfigError: fractions out of range.
        DataError: a split that should not be empty is.
    """
    for field, fraction in (("validation", validation), ("test", test), ("validation + test", validation + test)):
        check_range(field, fraction, at_least=0, below=1)
    chance = hashing.uniform(keys, seed, "split")
    in_test, held_out = chance < test, chance < test + validation
    masks = (~held_out, held_out & ~in_test, in_test)
    for name, fraction, mask in zip(("train", "validation", "test"), (1.0, validation, test), masks, strict=True):
        if fraction and not mask.any():
            raise DataError(
                f"The split {name} is empty: its fraction of {len(keys)} examples is {fraction:g}. Give more "
                "examples, a larger fraction, or another seed."
            )
    return masks


def _refuse_lonely_classes(splits: Splits) -> None:
    classes = splits.train.classes
    labels = [part.tensors["label"] for _, part in splits]
    counts = torch.stack([label[label != IGNORE].bincount(minlength=len(classes)) for label in labels])
    lonely = (counts[0] > 0) ^ (counts[1:] > 0).any(0)
    if lonely.any() and splits.validation.size + splits.test.size:
        number = int(lonely.nonzero()[0])
        found = zip(("train", "validation", "test"), counts[:, number].tolist(), strict=True)
        where = " and ".join(f"{name} ({count})" for name, count in found if count)
        raise DataError(
            f"The class {classes[number]!r} has labelled examples only in {where}, so that it cannot be both learned "
            "and tested. Give more examples of it, remove it, or try another seed."
        )


def keep_labels(examples: Examples, count: int, *, seed: int = 0) -> Examples:
    """Hide all labels but some, stratified by class.

    Seats are given as by Sainte-Laguë's method (highest averages with the divisors 1, 3, 5, ...) after one for each
    class, so that the classes keep their shares and a larger count keeps all that a smaller one kept. Within a class,
    and in a regression, those with the smallest keyed hash of their id keep theirs.

    Args:
        examples: with at least `count` labels.
        count: how many labels are kept; at least the number of classes that occur.
        seed: any integer.

    Returns:
        The same examples with the other labels `IGNORE` or NaN.

    Raises:
        ConfigError: a count that is too large or too small.
    """
    label = examples.tensors["label"]
    labelled = is_labelled(label).nonzero()[:, 0]
    if count > len(labelled):
        raise ConfigError(f"labels is {count}, but only {len(labelled)} examples are labelled; ask for fewer.")
    present = examples.task == "classification" and label[labelled].unique().numel()
    if count < max(present, 1):
        raise ConfigError(f"labels is {count}, but must be at least {max(present, 1)}, so that every class has one.")
    key = hashing.keyed_hash(examples.tensors["id"][labelled], seed, "keep_labels").numpy()
    known = label[labelled].numpy()
    priority = _seats(known, key) if present else np.zeros(len(known))
    kept = labelled[torch.from_numpy(np.lexsort((known, key, priority))[:count].copy())]
    hidden = torch.full_like(label, torch.nan if label.is_floating_point() else IGNORE)
    return examples.with_tensors(label=hidden.index_copy(0, kept, label[kept]))


def _seats(known: np.ndarray, key: np.ndarray) -> np.ndarray:
    """When each example's turn comes, smallest first: float64 [N]; -1 for the first of each class."""
    order = np.lexsort((key, known))
    _, start, count = np.unique(known[order], return_index=True, return_counts=True)
    rank = np.arange(len(known)) - np.repeat(start, count)
    turn = np.where(rank == 0, -1.0, (2 * rank + 1) / np.repeat(count, count))
    priority = np.empty(len(known))
    priority[order] = turn
    return priority


def content_hashes(examples: Examples) -> Tensor:
    """Hashes of the inputs alone, whatever the ids are; int64 [N]."""
    return hashing.of_rows(examples.tensors["x" if "x" in examples.tensors else "input_ids"])


def find_duplicates(splits: Splits) -> list[Duplicate]:
    """Find inputs that lie in more than one split.

    `split` keeps examples with equal ids together, and equal inputs have equal ids unless the ids came from a column;
    there, and in splits that were made by hand, the same example may leak from training into the test.

    Args:
        splits: to be checked.

    Returns:
        One for every pair of splits and every input that both have.
    """
    return find_shared({name: (content_hashes(part), part.tensors["id"]) for name, part in splits if part.size})


def find_shared(parts: Mapping[str, tuple[Tensor, Tensor]]) -> list[Duplicate]:
    """Find what lies in more than one part.

    Args:
        parts: by name, the hash of each example's inputs and its id, both int64 [N].

    Returns:
        One for every pair of parts and every input that both have.
    """
    found = []
    for first, second in itertools.combinations(parts, 2):
        (left_hash, left_id), (right_hash, right_id) = parts[first], parts[second]
        _, left, right = np.intersect1d(left_hash.numpy(), right_hash.numpy(), return_indices=True)
        pairs = zip(left_id[left].tolist(), right_id[right].tolist(), strict=True)
        found.extend(Duplicate((first, second), pair) for pair in pairs)
    return found


def fingerprint(examples: Examples) -> str:
    """A hash of the whole data set that no other order of the examples changes.

    Args:
        examples: any.

    Returns:
        32 hexadecimal digits, from the ids, inputs, labels, classes, columns and task.
    """
    label = hashing.of_rows(examples.tensors["label"])
    rows = torch.stack([examples.tensors["id"], content_hashes(examples), label], 1)
    columns = [(column.name, column.categories) for column in examples.columns]
    kind = json.dumps([examples.task, examples.modality, examples.shape, examples.classes, columns])
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(hashing.of_rows(rows).sort().values.numpy().tobytes())
    return digest.hexdigest()
