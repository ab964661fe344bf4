"""Mixtures of data sets of questions, sampled by shares."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from didact import hashing
from didact.errors import ConfigError
from didact.types import Question, Questions

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
    seen: dict[int, Question] = {}
    found = []
    for part in parts:
        if any(seen.get(question.id, question) != question for question in part):
            old = torch.tensor([question.id for question in part])
            ids = hashing.keyed_hash(old, 0, f"mixed/{part.name}").tolist()
            items = tuple(dataclasses.replace(question, id=i) for question, i in zip(part, ids, strict=True))
            part = dataclasses.replace(part, items=items)
        seen |= {question.id: question for question in part}
        found.append(part)
    return found


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
    items = []
    for place, part in enumerate(parts):
        share = shares[place] if shares else None
        weight = 1.0 if share is None else share / total * count / len(part)
        items += part if share is None else [dataclasses.replace(question, weight=weight) for question in part]
    return Questions(
        items=tuple(items),
        name="+".join(part.name for part in parts),
        verifier=verifiers.pop(),
        layouts=tuple(sentence for part in parts for sentence in part.layouts),
    )
