"""Who belongs to which split, who keeps its label, and who is in two splits at once."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Split by a keyed hash of each example's id, never by position, and stratified by class; see `assign_splits`.

    Examples with the same id stay together. Three tensors of the examples say more: `group` (int64 [N], for several
    views of one object) keeps examples with the same number together, `time` (int64 or float64 [N]) puts the earliest
    into training, and `split` (int64 [N]; 0 for training, 1 for validation, 2 for test) decides by itself, unless it is
    -1.

    Args:
        examples: N of them.
        validation: fraction in [0, 1).
        test: fraction in [0, 1); the two add up to less than 1.
        seed: any integer.

    Returns:
        The three splits, each in the order of `examples`, without the tensors `time` and `split`.

    Raises:
        ConfigError: fractions out of range.
        DataError: a split that should not be empty is.
    """
    if "split" not in examples.tensors or bool((examples.tensors["split"] < 0).any()):
        examples = arrange(examples, validation=validation, test=test, seed=seed)
    number = examples.tensors["split"]
    masks = [number == split for split in range(3)]
    _refuse_empty(masks, (1.0, 0.0, test), "Mark some rows for it.")
    kept = {name: tensor for name, tensor in examples.tensors.items() if name not in ("time", "split")}
    examples = dataclasses.replace(examples, tensors=kept)
    return Splits(*map(examples.select, masks))


def arrange(examples: Examples, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Examples:
    """The same examples with those of training first and those of the test last, marked by the tensor `split`.

    `split` then gives the same splits as before, whose tensors are views of those here. See there for the arguments.
    """
    tensors = examples.tensors
    number = tensors["split"].clone() if "split" in tensors else torch.full((examples.size,), -1)
    open_ = number < 0
    if open_.any():
        masks = assign_splits(
            tensors.get("group", tensors["id"])[open_],
            validation=validation,
            test=test,
            seed=seed,
            labels=tensors["label"][open_] if examples.task == "classification" else None,
            time=tensors["time"][open_] if "time" in tensors else None,
        )
        number[open_] = masks[1] + 2 * masks[2].long()
    return examples.with_tensors(split=number).select(number.argsort(stable=True))


def assign_splits(
    keys: Tensor,
    *,
    validation: float,
    test: float,
    seed: int,
    labels: Tensor | None = None,
    time: Tensor | None = None,
    fill: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Say which split each of N examples belongs to.

    Without labels, an example's split depends on its key, the seed and the fractions alone, so that neither another
    order nor added rows move it; the sizes are random, with the fractions as their means. With labels, the keys of a
    class are ranked by the same hash, and each split gets its fraction of them, rounded up or down. An added row then
    moves at most one other row of its class from one split to the next. The last key of a class is always in training,
    so that a class is never tested without being learned. Unlabelled examples go by their hash alone; a key with
    examples of several classes counts as one of the rarest of them.

    With times, the latest examples are the test, and the latest before those the validation examples, whatever the
    seed. Equal times stay together, and a key counts from its latest example.

    Args:
        keys: int64 [N]; examples with the same key stay together.
        validation: fraction in [0, 1).
        test: fraction in [0, 1); the two add up to less than 1.
        seed: any integer.
        labels: int64 [N] with `IGNORE`, the classes to be stratified by; None does not stratify.
        time: int64 or float64 [N]; None splits by hash.
        fill: whether a split that would be empty, as with few examples, gets the key that is nearest to it.

    Returns:
        Masks bool [N] of the training, validation and test examples; each example is in one of them.

    Raises:
        ConfigError: fractions out of range.
        DataError: a split that should not be empty is.
    """
    for field, fraction in (("validation", validation), ("test", test), ("validation + test", validation + test)):
        check_range(field, fraction, at_least=0, below=1)
    names, unit, sizes = keys.unique(return_inverse=True, return_counts=True)
    if time is not None:
        place = 1.0 - _ranks(unit, sizes, time)
    else:
        place = hashing.uniform(names, seed, "split")
        if labels is not None:
            place = _stratified(place, unit, sizes, labels, seed)
    place = place[unit]
    first, second = _filled(place.unique(), validation, test) if fill else (test, test + validation)
    in_test, held_out = place < first, place < second
    masks = (~held_out, held_out & ~in_test, in_test)
    fractions = (1.0, validation, test)
    _refuse_empty(masks, fractions, "Give more examples, a larger fraction, or another seed.")
    return masks


def _filled(ordered: Tensor, validation: float, test: float) -> tuple[float, float]:
    """The limits below which chances are of the test split, and of either, moved up where a split would be empty."""
    first = float(ordered[1]) if test and len(ordered) > 1 and ordered[0] >= test else test
    second = max(first, test + validation)
    behind = ordered[ordered >= first]
    if validation and len(behind) > 1 and behind[0] >= second:
        second = float(behind[1])
    return first, second


def _refuse_empty(masks: Sequence[Tensor], fractions: Sequence[float], remedy: str) -> None:
    for name, mask, fraction in zip(("train", "validation", "test"), masks, fractions, strict=True):
        if fraction and not mask.any():
            raise DataError(
                f"The split {name} is empty: its fraction of {len(mask)} examples is {fraction:g}. {remedy}"
            )


def _stratified(place: Tensor, unit: Tensor, sizes: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Where each of K keys lies in its class, in [0, 1]; the hash of those without a label.

    Args:
        place: float64 [K] in [0, 1), the keys' hashes.
        unit: int64 [N], the number of each example's key.
        sizes: int64 [K], how many examples a key has.
        labels: int64 [N] with `IGNORE`.
        seed: of the rounding.
    """
    known = is_labelled(labels)
    if not known.any():
        return place
    rarity = labels[known].bincount().argsort(stable=True).argsort()
    stratum = torch.full_like(sizes, len(rarity))
    stratum.scatter_reduce_(0, unit[known], rarity[labels[known]], "amin")
    order = torch.from_numpy(np.lexsort((place.numpy(), stratum.numpy())))
    order = order[: int((stratum < len(rarity)).sum())]
    total = torch.zeros_like(rarity).index_add_(0, stratum[order], sizes[order])
    before = sizes[order].cumsum(0) - sizes[order] - (total.cumsum(0) - total)[stratum[order]]
    # Each class rounds its fractions at a point of its own, so that small classes do not all round the same way.
    shift = hashing.uniform(rarity.argsort(), seed, "split class")[stratum[order]]
    last = stratum[order].diff(append=torch.tensor([-1])) != 0
    place = place.clone()
    place[order] = ((before + shift * sizes[order]) / total[stratum[order]]).masked_fill(last, 1.0)
    return place


def _ranks(unit: Tensor, sizes: Tensor, time: Tensor) -> Tensor:
    """The share of examples that are earlier than each of K keys, and half of those as late; float64 [K]."""
    numbers = time.double() if time.is_floating_point() else time
    latest = torch.zeros(len(sizes), dtype=numbers.dtype).scatter_reduce_(0, unit, numbers, "amax", include_self=False)
    _, at = latest.unique(return_inverse=True)
    counts = torch.zeros(int(at.max()) + 1, dtype=torch.int64).index_add_(0, at, sizes)
    middle = counts.cumsum(0).double() - counts.double() / 2
    return (middle / counts.sum())[at]


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
    """Hashes of the inputs alone, as they came, whatever the ids are; int64 [N]."""
    if examples.rows is not None:
        return examples.rows.hashes
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
        32 hexadecimal digits, from the ids, inputs, labels, classes, task and preprocessing.
    """
    label = hashing.of_rows(examples.tensors["label"])
    rows = torch.stack([examples.tensors["id"], content_hashes(examples), label], 1)
    known = None if examples.preprocessing is None else examples.preprocessing.describe()
    shape = examples.shape if set(examples.tensors) & {"x", "input_ids"} else None
    kind = json.dumps([examples.task, examples.modality, shape, examples.classes, known])
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(hashing.of_rows(rows).sort().values.numpy().tobytes())
    return digest.hexdigest()
