"""Mixtures of data sets of questions, sampled by shares."""

import dataclasses
import itertools
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from didact import hashing
from didact.errors import ConfigError
from didact.sources.questions import content_hashes
from didact.types import Lazy, Question, Questions

_PART = re.compile(r"(.*?)\s*\*\s*(\d+\.?\d*|\.\d+)", re.DOTALL)


def read_mixture(words: str) -> list[tuple[str, float | None]]:
    """Read `a.jsonl*0.7+b.jsonl*0.3`: data sets with their shares.

    Args:
        words: data sets with `+` between them; an existing path is one data set, whatever characters it has.

    Returns:
        Each data set with its share, or None without one.

    Raises:
        ConfigError: only some have a share, or a share is 0.
    """
    if Path(words).exists() or "+" not in words:
        return [(words, None)]
    found = [_part(part.strip()) for part in words.split("+")]
    lacking = [name for name, share in found if share is None]
    if any(not name for name, _ in found) or 0.0 in [share for _, share in found]:
        raise ConfigError(
            f"data is {words!r}, but a mixture is like a.jsonl*0.7+b.jsonl*0.3, with shares above 0, or like "
            "a.jsonl+b.jsonl."
        )
    if lacking and len(lacking) < len(found):
        raise ConfigError(
            f"data is {words!r}, where {lacking[0]!r} has no share, but others have one; give one to each, or to none."
        )
    return found


def _part(words: str) -> tuple[str, float | None]:
    found = None if Path(words).exists() else _PART.fullmatch(words)
    return (found[1], float(found[2])) if found else (words, None)


def distinct_ids(parts: Sequence[Questions]) -> list[Questions]:
    """Data sets without common ids for different questions; a later data set gets new ids if it has such.

    Args:
        parts: the data sets.

    Returns:
        The same data sets; new ids are hashes of the old ones and the data set's name.
    """
    if len(parts) == 1:
        return list(parts)
    found, seen = list[Questions](), list[tuple[np.ndarray, np.ndarray]]()
    for part in parts:
        own = _hashes(part)
        if any(_clash(own, other) for other in seen):
            part = part.map(partial(_renamed, part.name))
            own = _hashes(part)
        seen.append(own)
        found.append(part)
    return found


def _hashes(part: Questions) -> tuple[np.ndarray, np.ndarray]:
    """The ids of questions, and hashes of their contents."""
    return np.fromiter((q.id for q in part), np.int64, len(part)), content_hashes(part).numpy()


def _clash(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether different questions have a common id."""
    _, mine, theirs = np.intersect1d(one[0], other[0], return_indices=True)
    return bool((one[1][mine] != other[1][theirs]).any())


def _renamed(name: str, question: Question) -> Question:
    number = hashing.keyed_hash(torch.tensor(question.id), 0, f"mixed/{name}")
    return dataclasses.replace(question, id=int(number))


def join_questions(parts: Sequence[Questions], shares: Sequence[float | None] | None = None) -> Questions:
    """Concatenate data sets.

    Args:
        parts: at least one.
        shares: the share of each data set in training, all None or all positive; by default all questions have the
            same weight.

    Returns:
        All questions, each with a `weight`, 1 on average.

    Raises:
        ConfigError: the data sets have different verifiers.
    """
    if len(parts) == 1:
        return parts[0]
    verifiers = {part.verifier for part in parts}
    if len(verifiers) > 1:
        raise ConfigError(
            f"data mixes questions for the verifiers {' and '.join(sorted(v or 'none' for v in verifiers))}; mix only "
            "data sets with the same verifier."
        )
    count, total = sum(map(len, parts)), sum(share or 0.0 for share in shares or ())
    weighed = list[Questions]()
    for place, part in enumerate(parts):
        share = shares[place] if shares else None
        weight = 1.0 if share is None else share / total * count / len(part)
        weighed.append(part if share is None else part.map(partial(dataclasses.replace, weight=weight)))
    return Questions(
        items=_joined(weighed),
        name="+".join(part.name for part in parts),
        verifier=verifiers.pop(),
        layouts=tuple(sentence for part in parts for sentence in part.layouts),
    )


def _joined(parts: Sequence[Questions]) -> tuple[Question, ...] | Lazy[Question]:
    """The questions of all parts; lazy ones where a part's are."""
    if not any(part.stored for part in parts):
        return tuple(question for part in parts for question in part)
    starts = list(itertools.accumulate((len(part) for part in parts), initial=0))

    def made(place: int) -> Question:
        number = bisect_right(starts, place) - 1
        return parts[number][place - starts[number]]

    return Lazy(made, np.arange(starts[-1]))
