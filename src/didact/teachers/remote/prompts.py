"""The log-probabilities of a given text's tokens, as servers write them.

Two ways of asking are known: vLLM's `prompt_logprobs`, which gives the likeliest ids at each place of the prompt, and
the older `echo` with `logprobs` of OpenAI's completions, which gives them as words, or as `token_id:N`. Axis letters: T
tokens, K likeliest tokens.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from didact.documents import Document
from didact.teachers.remote.client import WrongAnswerError
from didact.types.scores import LOG_FLOOR

PROMPT_LOGPROBS = "prompt_logprobs"
WAYS: dict[str, Document] = {
    PROMPT_LOGPROBS: {},
    "echo of ids": {"echo": True, "extra_body": {"return_tokens_as_token_ids": True}},
    "echo": {"echo": True},
}
"""What is asked for, besides the number of tokens, by the name of the way."""
_ID = re.compile(r"token_id:(\d+)")


def arguments(way: str, ids: Sequence[int], count: int) -> Document:
    """The arguments of a request for the `count` likeliest tokens at each place of a text."""
    asked = {"extra_body": {PROMPT_LOGPROBS: count}} if way == PROMPT_LOGPROBS else {"logprobs": count}
    return {"prompt": list(ids), "max_tokens": 1, "temperature": 0.0, **WAYS[way], **asked}


class WordIds:
    """The ids of words of a tokenizer, which servers name tokens by.

    Args:
        tokenizer: see `didact.learners.Tokens`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, word: str) -> int:
        """The id of a word, or of `token_id:N`; -1 if no token, or more than one, has it."""
        found = _ID.fullmatch(word)
        return int(found[1]) if found else self._known.get(word, -1)

    @cached_property
    def _known(self) -> dict[str, int]:
        words = [self.tokenizer.decode([token], special=True) for token in range(self.tokenizer.vocabulary)]
        often = Counter(words)
        return {word: token for token, word in enumerate(words) if often[word] == 1}


@dataclass(frozen=True, slots=True)
class Top:
    """The likeliest tokens after each of a text's tokens but the last."""

    ids: np.ndarray
    """int32 [T - 1, K], without repetition in a row."""
    log_probs: np.ndarray
    """float32 [T - 1, K]."""

    def pack(self) -> bytes:
        """As bytes."""
        width = np.array([self.ids.shape[1]], "<i4").tobytes()
        return zlib.compress(width + self.ids.astype("<i4").tobytes() + self.log_probs.astype("<f4").tobytes())

    @classmethod
    def unpack(cls, packed: bytes) -> "Top":
        """Restore the result of `pack`."""
        plain = zlib.decompress(packed)
        width, half = int(np.frombuffer(plain[:4], "<i4")[0]), 4 + (len(plain) - 4) // 2
        ids, log_probs = np.frombuffer(plain[4:half], "<i4"), np.frombuffer(plain[half:], "<f4")
        return cls(ids.reshape(-1, width).copy(), log_probs.reshape(-1, width).copy())


def places_of(choice: Document, way: str) -> list[Any]:
    """What is told of each place of the text, and of the one behind it; empty if nothing is."""
    found = choice.get(PROMPT_LOGPROBS) if way == PROMPT_LOGPROBS else _table(choice).get("top_logprobs")
    return found if isinstance(found, list) and any(isinstance(one, dict) and one for one in found) else []


def words_of(choice: Document, way: str, ids: Sequence[int]) -> list[str]:
    """The text's tokens in the server's words; empty where they are not told."""
    if way == PROMPT_LOGPROBS:
        entries = [(one or {}).get(str(token)) for one, token in zip(places_of(choice, way), ids, strict=False)]
        words = [one.get("decoded_token") if isinstance(one, dict) else None for one in entries]
    else:
        words = _table(choice).get("tokens")
    words = words if isinstance(words, list) else []
    known = [word if isinstance(word, str) and not _ID.fullmatch(word) else "" for word in words[: len(ids)]]
    return known + [""] * (len(ids) - len(known))


def read_top(choice: Document, way: str, ids: Sequence[int], count: int, id_of: Callable[[str], int]) -> Top:
    """The likeliest tokens of an answer.

    Args:
        choice: the only choice of the answer.
        way: how it was asked.
        ids: T, the text that was sent; at least two.
        count: K.
        id_of: the id of a word of the server's tokenizer; -1 if no token or several have it. Those count as the rest.

    Raises:
        WrongAnswerError: it is for another text, incomplete, or its log-probabilities are impossible.
    """
    places = places_of(choice, way)
    if len(places) < len(ids):
        raise WrongAnswerError("an answer is incomplete", f"log-probabilities at {len(places)} of {len(ids)} tokens")
    own = _table(choice).get("tokens") if way != PROMPT_LOGPROBS else None
    rows = [_row(places[place], way, id_of) for place in range(1, len(ids))]
    for place, row in enumerate(rows, 1):
        same = ids[place] in row if own is None else _named(own[place], way, id_of) in (ids[place], -1)
        if not same:
            raise WrongAnswerError("an answer is for another prompt", f"token {place} is another one")
        row.pop(-1, None)
        if sum(map(math.exp, row.values())) > 1.001:
            raise WrongAnswerError("an answer has impossible log-probabilities")
    best = [padded(row, count) for row in rows]
    return Top(np.array([tokens for tokens, _ in best], np.int32), np.array([values for _, values in best], np.float32))


def _table(choice: Document) -> Mapping[str, Any]:
    found = choice.get("logprobs")
    return found if isinstance(found, dict) else {}


def _row(entry: Any, way: str, id_of: Callable[[str], int]) -> dict[int, float]:
    """The log-probabilities at a place by id."""
    if not isinstance(entry, dict):
        raise WrongAnswerError("an answer is incomplete", "a token has no log-probabilities")
    found = dict[int, float]()
    for name, value in entry.items():
        value = value.get("logprob") if isinstance(value, dict) else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 1e-4:
            raise WrongAnswerError("an answer has impossible log-probabilities")
        found[_named(name, way, id_of)] = max(float(value), LOG_FLOOR)
    return found


def _named(name: object, way: str, id_of: Callable[[str], int]) -> int:
    text = str(name)
    if way != PROMPT_LOGPROBS:
        return id_of(text)
    if not text.isdecimal():
        raise WrongAnswerError("an answer has unknown token ids")
    return int(text)


def padded(row: Mapping[int, float], count: int) -> tuple[list[int], list[float]]:
    """The `count` likeliest of a row; where there are fewer, others follow that have next to no probability."""
    best = sorted(row.items(), key=lambda item: -item[1])[:count]
    others = (token for token in range(count + len(row)) if token not in row)
    best += [(next(others), LOG_FLOOR) for _ in range(count - len(best))]
    return [token for token, _ in best], [value for _, value in best]
