"""Requests to an OpenAI-compatible server: read up to a size and a time, repeated where they fail, and counted."""

import os
import random
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from didact.documents import Document, parse_json
from didact.errors import DataError, EngineError, import_optional
from didact.teachers.verifiers.base import warn

WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the first repetition of a request, doubled each time, and at most."""
LASTING = (400, 401, 403, 404, 405, 413, 422)
"""Statuses that a repetition does not mend."""
T = TypeVar("T")


class WrongAnswerError(Exception):
    """What a server sent is no answer to what it was asked.

    Args:
        reason: in a few words that many answers share.
        detail: more about this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class Client:
    """Sends requests by the official client, from any thread.

    Args:
        url: of the server, with or without `/v1`.
        key: the name of the environment variable with its key; no other is sent, and it is written nowhere.
        timeout: the longest that a request may take, in seconds.
        retries: how often a failed one is repeated.
        purpose: what it is for, as the beginning of a sentence.

    Raises:
        MissingExtraError: openai is not installed.
    """

    def __init__(self, url: str, *, key: str, timeout: float, retries: int, purpose: str) -> None:
        self.openai = import_optional("openai", "server", purpose)
        self.root = url.rstrip("/").removesuffix("/v1")
        self.key, self.timeout, self.retries = key, timeout, retries
        self._secret = os.environ.get(key, "")
        self.failures: Counter[str] = Counter()
        """How often requests failed, by reason."""
        self.losses: list[float] = []
        """When each answer was asked for that was lost."""
        self._lock = threading.Lock()
        self.api = self.openai.OpenAI(
            base_url=f"{self.root}/v1",
            api_key=self._secret or "none",
            organization="",
            project="",
            max_retries=0,
            timeout=timeout,
        )
        self.close = weakref.finalize(self, self.api.close)
        """Closes its connections; so does the end of its life."""

    def hide(self, text: str) -> str:
        """A text without the key, which a server may repeat in what it says."""
        return text.replace(self._secret, "***") if self._secret else text

    def first_model(self) -> str:
        """The first model that the server lists; empty if it lists none."""
        found = self.repeated(lambda: parse_json(self.fetch(self.api.models.with_streaming_response.list)), "list")
        listed = found.get("data") if isinstance(found, dict) else None
        names = [one.get("id") for one in listed or () if isinstance(one, dict)]
        return names[0] if names and isinstance(names[0], str) else ""

    def fetch(self, call: Any, request: Document | None = None, *, most: int = 1 << 20) -> bytes:
        """The body of an answer.

        Args:
            call: a streaming call of the client.
            request: its arguments.
            most: the largest number of bytes.

        Raises:
            WrongAnswerError: it is longer, or takes longer than the time of a request.
        """
        body, end = bytearray(), time.monotonic() + self.timeout
        with call(**(request or {})) as response:
            for part in response.iter_bytes():
                body += part
                if len(body) > most:
                    raise WrongAnswerError("an answer is too long", f"over {most:,} bytes")
                if time.monotonic() > end:
                    raise WrongAnswerError("an answer took too long", f"over {self.timeout:g} s")
        return bytes(body).replace(self._secret.encode(), b"***") if self._secret else bytes(body)

    def repeated(self, call: Callable[[], T], what: str) -> T:
        """Call, and again where it fails, with growing pauses.

        Raises:
            EngineError: it failed as often as it is repeated, or in a way that repetition does not mend.
        """
        for attempt in range(self.retries + 1):
            began = time.monotonic()
            try:
                with self._transport():
                    return call()
            except (WrongAnswerError, self.openai.OpenAIError) as error:
                reason, lasting = self.count(error, began)
                if lasting or attempt == self.retries:
                    failed = EngineError(
                        f"The server {self.root} failed at a {what} after {attempt + 1} requests: {reason}. "
                        f"{self._advice(error)}Failures so far: "
                        f"{', '.join(f'{name} ({n})' for name, n in self.failures.most_common(5))}."
                    )
                    failed.status = getattr(error, "status_code", None)
                    # What it says may have the key in it, so that it is not shown as the cause.
                    raise failed from None
                time.sleep(_wait(error, attempt))
        raise AssertionError("unreachable")

    def _advice(self, error: Exception) -> str:
        if getattr(error, "status_code", None) not in (401, 403):
            return ""
        return f"It wants {'another' if self._secret else 'a'} key, in the environment variable {self.key}. "

    @contextmanager
    def _transport(self) -> Iterator[None]:
        """Failures while an answer is read, as those that openai names."""
        libraries = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
        known = (OSError, ValueError, *(library.HTTPError for library in libraries))
        try:
            yield
        except DataError:
            raise
        except known as error:
            raise WrongAnswerError("an answer broke off or is no JSON", str(error)) from error

    def count(self, error: Exception, began: float) -> tuple[str, bool]:
        """Count a failure, warn of the first of its kind, and tell whether it lasts."""
        status = getattr(error, "status_code", None)
        kind = f"status {status}" if status else str(error) if isinstance(error, WrongAnswerError) else _kind(error)
        detail = self.hide(error.detail if isinstance(error, WrongAnswerError) else str(error))
        with self._lock:
            self.failures[kind] += 1
            if status is None:
                self.losses.append(began)
            first = self.failures[kind] == 1
        if first and status not in LASTING:
            warn(f"The server {self.root} failed: {kind} ({detail:.200}).")
        return f"{kind} ({detail:.200})", status in LASTING


def _kind(error: Exception) -> str:
    return {"APITimeoutError": "no answer in time", "APIConnectionError": "no connection"}.get(
        type(error).__name__, type(error).__name__
    )


def _wait(error: Exception, attempt: int) -> float:
    """Seconds before a repetition: what the server asks for, or ever longer, by chance up to a half less.

    The chance keeps requests that failed together from coming again together.
    """
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        asked = float(headers.get("retry-after", "0"))
    except ValueError:
        asked = 0.0
    longest = max(asked, WAIT * 2.0**attempt * random.SystemRandom().uniform(0.5, 1.0))
    return min(longest, LONGEST_WAIT)
