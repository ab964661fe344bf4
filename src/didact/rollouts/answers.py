"""The answers of a server, read as completions, and refused where they can't be."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from didact.documents import Document, parse_json
from didact.learners.tokenizers import Tokens
from didact.rollouts.completions import Completions
from didact.rollouts.stopping import Stopping
from didact.teachers.remote.client import WrongAnswerError

_ID = re.compile(r"token_id:(\d+)")
"""How vLLM writes a token as its id."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One completion."""

    ids: list[int]
    """At least one token; including the one that ended it."""
    log_probs: list[float]
    """Of the tokens; NaN where they are not known."""
    finished: bool
    """Whether it ended by itself."""


def read_answer(
    body: bytes, prompt: Sequence[int], most: int, learner: Any, stopping: Stopping, *, trusted: bool = True
) -> Answer:
    """Read the answer of a server.

    Args:
        body: JSON, as of OpenAI's completions.
        prompt: the ids of the prompt.
        most: the largest number of tokens.
        learner: the student, for its tokenizer and vocabulary.
        stopping: finds where the completion ends.
        trusted: whether its log-probabilities are those of the distribution that was sampled from.

    Raises:
        WrongAnswerError: it is no JSON, has other than one choice, lacks something, is for another prompt, has unknown
            ids, or too many.
    """
    choice = _choice(body)
    theirs = choice.get("prompt_token_ids")
    if isinstance(theirs, list) and theirs != list(prompt):
        differs = next((i for i, (a, b) in enumerate(zip(theirs, prompt, strict=False)) if a != b), "the end")
        raise WrongAnswerError("an answer is for another prompt", f"token {differs} is another one")
    stopped = choice["finish_reason"] == "stop"
    ids, known = _sampled_ids(choice), True
    if ids is None:
        # Other ids of the same text may be more than those that were sampled.
        ids, known = _encoded(choice["text"], learner.tokenizer), False
        stopped = stopped and len(ids) < most
        ids = ids[:most] if len(ids) <= 4 * most else ids
    if len(ids) > most:
        raise WrongAnswerError("an answer has too many tokens", f"{len(ids)} of at most {most}")
    if any(not 0 <= token < learner.head.vocabulary for token in ids):
        raise WrongAnswerError("an answer has unknown token ids", f"up to {max(ids)}")
    log_probs = _log_probs(choice, len(ids)) if known and trusted else None
    log_probs = [math.nan] * len(ids) if log_probs is None else log_probs
    end = _end(ids, stopping)
    if end is None and stopped and len(ids) < most:
        ids, log_probs, end = [*ids, learner.tokenizer.eos], [*log_probs, math.nan], len(ids)
    if not ids:
        raise WrongAnswerError("an answer has no tokens")
    length = len(ids) if end is None else end + 1
    return Answer(ids=ids[:length], log_probs=log_probs[:length], finished=end is not None)


def _choice(body: bytes) -> Document:
    """The only choice."""
    try:
        document = parse_json(body)
    except ValueError as error:
        raise WrongAnswerError("an answer broke off or is no JSON", str(error)) from None
    choices = document.get("choices") if isinstance(document, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        count = len(choices) if isinstance(choices, list) else "no"
        raise WrongAnswerError("an answer has not exactly one choice", f"{count} choices")
    choice = choices[0]
    if not isinstance(choice.get("text"), str) or choice.get("finish_reason") not in ("stop", "length"):
        raise WrongAnswerError("an answer is incomplete", f"finish_reason {choice.get('finish_reason')!r}")
    return choice


def _sampled_ids(choice: Document) -> list[int] | None:
    """The ids that were sampled, where the server tells them."""
    ids = choice.get("token_ids")
    if ids is None:
        names = _of_tokens(choice, "tokens")
        found = [_ID.fullmatch(name) if isinstance(name, str) else None for name in names or ()]
        ids = [int(one[1]) for one in found if one] if found and all(found) else None
    if ids is not None and not (isinstance(ids, list) and all(type(token) is int for token in ids)):
        raise WrongAnswerError("an answer has unknown token ids")
    return ids


def _encoded(text: str, tokenizer: Tokens) -> list[int]:
    """The ids of a text, which must be read back as the same text."""
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids, special=True) != text:
        raise WrongAnswerError("an answer has a text that the tokenizer can't write", repr(text[:60]))
    return ids


def _log_probs(choice: Document, length: int) -> list[float] | None:
    """The log-probabilities, where there is one for each token."""
    found = _of_tokens(choice, "token_logprobs")
    if found is None or len(found) != length:
        return None
    if not all(isinstance(one, int | float) and -math.inf < one <= 1e-4 for one in found):
        raise WrongAnswerError("an answer has impossible log-probabilities")
    return [float(one) for one in found]


def _of_tokens(choice: Document, name: str) -> list[Any] | None:
    details = choice.get("logprobs")
    found = details.get(name) if isinstance(details, dict) else None
    return found if isinstance(found, list) else None


def _end(ids: Sequence[int], stopping: Stopping) -> int | None:
    """The place of the token at which a completion ends."""
    if not ids:
        return None
    ends = stopping.ends(torch.tensor(ids)[:, None], lambda _place: []).flatten().nonzero()
    return int(ends[0]) if len(ends) else None


def completions_of(answers: Sequence[Answer], tokenizer: Tokens, *, read: int) -> Completions:
    """Answers as completions, whose log-probabilities are NaN where they are not known.

    Args:
        answers: M of them.
        tokenizer: of their ids.
        read: the number of prompt tokens.
    """
    tokens = pad_sequence([torch.tensor(one.ids) for one in answers], batch_first=True, padding_value=tokenizer.pad)
    return Completions(
        tokens=tokens,
        lengths=torch.tensor([len(one.ids) for one in answers]),
        log_probs=pad_sequence([torch.tensor(one.log_probs) for one in answers], batch_first=True),
        finished=torch.tensor([one.finished for one in answers]),
        read=read,
        written=sum(len(one.ids) for one in answers),
        tokenizer=tokenizer,
    )
