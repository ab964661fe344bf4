"""Completions that a model behind a server writes, with the likeliest tokens at each place where it tells them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from didact.documents import Document, parse_json
from didact.teachers.remote.asking import Request, only_choice
from didact.teachers.remote.client import WrongAnswerError
from didact.types import Question

_FRAME = 64
"""Tokens that a chat template adds to a message at most."""


@dataclass(frozen=True, slots=True)
class Written:
    """A completion, or why there is none."""

    text: str
    reason: str
    """Empty where it is a whole completion."""
    tops: Sequence[tuple[str, dict[str, float]]]
    """For each token its word, and the log-probabilities of the likeliest ones there by word; empty if not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How completions are sampled."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """How many of the likeliest tokens are asked for; 0 for none."""
    chat: bool = False
    """Whether a plain prompt is sent as a message of a user."""

    def request(self, question: Question, seed: int) -> Request:
        """A request for one completion."""
        body: Document = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed,
        }
        if not (question.messages or self.chat):
            logs = {"logprobs": self.top_k} if self.top_k else {}
            size, body = len(question.prompt.encode()) + _FRAME, {**body, "prompt": question.prompt, **logs}
            return Request("completions", body, _read_text, size, self.max_tokens, self._room)
        messages = [dict(one) for one in question.messages] or [{"role": "user", "content": question.prompt}]
        size = sum(len(json.dumps(one)) + _FRAME for one in messages)
        logs = {"logprobs": True, "top_logprobs": self.top_k} if self.top_k else {}
        tools = {"tools": [dict(one) for one in question.tools]} if question.tools else {}
        body |= {"messages": messages, **logs, **tools}
        return Request("chat/completions", body, _read_chat, size, self.max_tokens, self._room)

    @property
    def _room(self) -> int:
        return (self.top_k + 2) << 9


def unpack(answer: bytes) -> Written:
    """Restore what is stored of an answer."""
    found = parse_json(answer)
    return Written(found["text"], found["reason"], [(word, tops) for word, tops in found["tops"]])


def _read_text(document: Document) -> bytes:
    """What is stored of a completion.

    Raises:
        WrongAnswerError: it is incomplete.
    """
    choice = only_choice(document)
    return _packed(choice, choice.get("text"), _tops(choice.get("logprobs")))


def _read_chat(document: Document) -> bytes:
    choice = only_choice(document)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise WrongAnswerError("an answer is incomplete", "it has no message")
    if message.get("refusal"):
        choice = {**choice, "finish_reason": "content_filter"}
    return _packed(choice, message.get("content") or "", _tops(choice.get("logprobs")))


def _tops(found: Any) -> list[tuple[Any, Any]]:
    """See `Written.tops`; as chats tell them, whose form llama.cpp has for completions, too, or as completions do."""
    told = found if isinstance(found, dict) else {}
    if "content" in told:
        return [(_word(one), _by_word(one.get("top_logprobs"))) for one in _entries(told["content"])]
    words, tops = told.get("tokens"), told.get("top_logprobs")
    return list(zip(words, tops, strict=False)) if isinstance(words, list) and isinstance(tops, list) else []


def _by_word(tops: Any) -> Document:
    return {str(_word(one)): one.get("logprob") for one in _entries(tops)}


def _word(entry: Document) -> Any:
    """The word of a token; its id where llama.cpp tells it, since several tokens may have the same word."""
    known = entry.get("id")
    return f"token_id:{known}" if isinstance(known, int) else entry.get("token")


def _entries(listed: Any) -> list[Document]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _packed(choice: Document, text: object, tops: Sequence[tuple[Any, Any]]) -> bytes:
    end = choice.get("finish_reason")
    if not isinstance(text, str) or not isinstance(end, str):
        raise WrongAnswerError("an answer is incomplete", f"finish_reason {end!r:.40}")
    for word, row in tops:
        numbers = list(row.values()) if isinstance(row, dict) else [math.nan]
        if not isinstance(word, str) or not all(isinstance(one, int | float) and one <= 1e-4 for one in numbers):
            raise WrongAnswerError("an answer has impossible log-probabilities")
    reasons = {"stop": "", "length": "was cut off", "content_filter": "refused"}
    reason = reasons.get(end, f"ended by {end:.20}") or ("" if text.strip() else "said nothing")
    return json.dumps({"text": text, "reason": reason, "tops": list(tops)}).encode()
