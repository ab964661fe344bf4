"""Asks a server within a budget, several things at once, and stores each answer before it is used."""

import hashlib
import json
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from didact import trusting
from didact.documents import Document, parse_json
from didact.errors import EngineError
from didact.memory.answer_store import AnswerStore, Spent
from didact.teachers.remote.client import LASTING, Client, WrongAnswerError
from didact.teachers.remote.config import RemoteConfig
from didact.types import Ledger

Endpoint = Literal["completions", "chat/completions", "embeddings"]
Reader = Callable[[Document], bytes]
"""Checks an answer, and returns what is stored of it."""
_BYTES = 1 << 16
"""Bytes of the largest answer, besides those for each token."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server."""

    endpoint: Endpoint
    body: Document
    """The arguments, without the model."""
    read: Reader
    inputs: int
    """How many tokens the server reads at most."""
    outputs: int
    """How many it writes at most."""
    room: int = 1 << 10
    """The most bytes of the answer for each token that is read or written."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A stored answer."""

    answer: bytes
    cost: Spent
    """What it has cost now: nothing if it was stored already."""


class Asker:
    """Asks a server; several threads may use it. Nothing is sent before the first question.

    Args:
        config: the server and the budget. The budget is of all that was ever spent on the file of answers, so that it
            is kept by a run that is killed and started again, and by several processes together.
        purpose: what it is for, as the beginning of a sentence.

    Raises:
        MissingExtraError: openai is not installed.
        TrustError: an untrusted file names the server.
    """

    def __init__(self, config: RemoteConfig, purpose: str) -> None:
        trusting.check(f"server:{config.url}", "server")
        self.config, self.purpose = config, purpose
        self.client = Client(
            config.url, key=config.variable, timeout=config.timeout, retries=config.retries, purpose=purpose
        )
        self.stored = 0
        """How often an answer was there already."""
        self.spent = Spent()
        """What was spent here."""
        self._began = time.monotonic()
        self._turn, self._flying = threading.Condition(), 0
        self._pending: dict[str, Future[Reply]] = {}

    @cached_property
    def store(self) -> AnswerStore:
        """The answers."""
        return AnswerStore(self.config.path)

    @cached_property
    def model(self) -> str:
        """The name of the model that is asked."""
        if self.config.model:
            return self.config.model
        name = self.client.first_model()
        if not name:
            raise EngineError(f"The server {self.client.root} lists no model; give its name, as in model=NAME.")
        return name

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(self.config.concurrency, "didact-requests")
        weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
        return pool

    def ask(self, requests: Iterable[Request]) -> list[Future[Reply]]:
        """Ask several things at once; the same thing is asked once."""
        return [self._submit(one) for one in requests]

    def gather(self, futures: Sequence[Future[Reply]], ledger: Ledger, by: str, *, calls: bool = True) -> list[bytes]:
        """Wait for answers, and charge what they cost.

        Args:
            futures: of `ask`.
            ledger: is charged calls, tokens and money.
            by: the name of the part that asked.
            calls: whether to charge calls too: one for each question that was not stored, however often it was sent.

        Raises:
            EngineError: the server failed, or the budget is spent; what was answered until then is stored.
        """
        try:
            replies = [one.result() for one in futures]
        except BaseException:
            for one in futures:
                one.cancel()
            raise
        # One that was asked for twice is charged once.
        for reply in {id(reply): reply for reply in replies if reply.cost.calls}.values():
            ledger.charge("teacher_calls", int(calls), by)
            ledger.charge("teacher_tokens", int(reply.cost.tokens), by)
            ledger.charge("money", reply.cost.money, by)
        return [reply.answer for reply in replies]

    def supports(self, feature: str, trial: Request, ledger: Ledger, by: str) -> bool:
        """Whether the server understands a kind of request; once it did, it is not tried again.

        Args:
            feature: its name.
            trial: a request of the kind, whose stored answer is empty where the server passed over it.
            ledger: see `gather`.
            by: see `gather`.
        """
        fact = f"{feature} of {self.model}"
        if self.store.fact(fact):
            return True
        try:
            understood = bool(self.gather(self.ask([trial]), ledger, by)[0])
        except EngineError as error:
            if error.status not in (400, 422):
                raise
            return False
        return understood and bool(self.store.settle(fact, "yes"))

    def _submit(self, request: Request) -> Future[Reply]:
        body = {"model": self.model, **request.body}
        whole = json.dumps([self.client.root, request.endpoint, body], sort_keys=True)
        key = hashlib.blake2b(whole.encode(), digest_size=20).hexdigest()
        with self._turn:
            if key in self._pending:
                return self._pending[key]
            if (stored := self.store.get(key)) is not None:
                self.stored += 1
                done: Future[Reply] = Future()
                done.set_result(Reply(stored, Spent()))
                return done
            found = self._pending[key] = self._pool.submit(self._answer, key, request, body)
        found.add_done_callback(lambda _: self._pending.pop(key, None))
        return found

    def _answer(self, key: str, request: Request, body: Document) -> Reply:
        bound = Spent(1, request.inputs + request.outputs, self.config.price(request.inputs, request.outputs))
        costs: list[Spent] = []

        def attempt() -> bytes:
            self._take(bound)
            try:
                return self._try(key, request, body, bound, costs)
            finally:
                with self._turn:
                    self._flying -= 1
                    self._turn.notify_all()

        try:
            answer = self.client.repeated(attempt, request.endpoint.partition("/")[0])
        finally:
            whole = Spent(len(costs), sum(cost.tokens for cost in costs), sum(cost.money for cost in costs))
            with self._turn:
                now = self.spent
                self.spent = Spent(now.calls + whole.calls, now.tokens + whole.tokens, now.money + whole.money)
        return Reply(answer, whole)

    def _take(self, bound: Spent) -> None:
        """Take a request's cost from the budget; wait for others, which may cost less than they might.

        Raises:
            EngineError: it does not fit, or the time is over.
        """
        with self._turn:
            self._check_time()
            while not self.store.take(bound, self.config.limit):
                if not self._flying:
                    raise EngineError(self._over(bound))
                self._turn.wait()
                self._check_time()
            self._flying += 1

    def _check_time(self) -> None:
        limit = self.config.seconds
        if limit is not None and time.monotonic() - self._began > limit:
            raise EngineError(
                f"{self.purpose} has asked the server {self.client.root} for longer than seconds={limit:g}. What it "
                "answered is stored, and is not asked for again."
            )

    def _over(self, bound: Spent) -> str:
        spent, limit = self.store.spent, self.config.limit
        over = [
            f"{name}={most:g}, of which {used:g} are spent and one more request may take {more:g}"
            for name in ("calls", "tokens", "money")
            if (used := getattr(spent, name)) + (more := getattr(bound, name)) > (most := getattr(limit, name))
        ]
        return (
            f"The budget of {self.purpose[0].lower()}{self.purpose[1:]} at {self.client.root} is used up: "
            f"{'; '.join(over)}. Its answers are stored in {self.store.path}, and cost nothing when you start again "
            "with a larger budget."
        )

    def _try(self, key: str, request: Request, body: Document, bound: Spent, costs: list[Spent]) -> bytes:
        """Send a request, and store its answer."""
        call = {
            "completions": self.client.api.completions,
            "chat/completions": self.client.api.chat.completions,
            "embeddings": self.client.api.embeddings,
        }[request.endpoint].with_streaming_response.create
        costs.append(bound)
        try:
            text = self.client.fetch(call, body, most=_BYTES + request.room * (request.inputs + request.outputs))
        except self.client.openai.APIStatusError:
            # What it refuses costs nothing; what was lost on the way may have been paid for.
            costs[-1] = Spent(1)
            self.store.correct(Spent(0, -bound.tokens, -bound.money))
            raise
        document = _document(text)
        costs[-1] = cost = self._cost(document, bound)
        correction = Spent(0, cost.tokens - bound.tokens, cost.money - bound.money)
        try:
            self._check_model(document)
            answer = request.read(document)
        except BaseException:
            self.store.correct(correction)
            raise
        self.store.put(key, answer, correction)
        return answer

    def _cost(self, document: Document, bound: Spent) -> Spent:
        """What an answer says that it cost; the most that it may cost where it does not say so."""
        usage = document.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        read, whole = (usage.get(name) for name in ("prompt_tokens", "total_tokens"))
        if type(read) is not int or type(whole) is not int or not 0 <= read <= whole:
            return bound
        return Spent(1, whole, self.config.price(read, whole - read))

    def _check_model(self, document: Document) -> None:
        """Refuse the answer of another model than the first one that answered.

        Raises:
            EngineError: it is one.
        """
        name = document.get("model")
        if not isinstance(name, str):
            return
        first = self.store.settle("answered by", name)
        if first != name:
            raise EngineError(
                f"The server {self.client.root} answered as {first!r:.80} before, and now as {name!r:.80}: its model "
                f"has changed, so that its answers would not be those of one teacher. Restore the model, or begin anew "
                "with another file of answers, as answers=FILE."
            )

    def identity(self, *more: object) -> str:
        """A hash of the server, its model, and what else answers depend on; 32 hexadecimal digits."""
        whole = json.dumps([self.client.root, self.model, self.store.fact("answered by"), *more])
        return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()

    def remarks(self) -> list[str]:
        """What was asked and what it cost, in sentences for the report."""
        spent, found = self.spent, list[str]()
        if spent.calls or self.stored:
            cost = f"{spent.tokens:,} tokens" + (f" and {spent.money:.4g} of money" if spent.money else "")
            found.append(
                f"{self.purpose} {self.model} at {self.client.root} took {spent.calls:,} requests, {cost}; "
                f"{self.stored:,} answers were stored before."
            )
        # What it refuses is tried once, to find out what it understands.
        failures = Counter(self.client.failures)
        for status in LASTING:
            failures.pop(f"status {status}", None)
        if failures:
            why = ", ".join(f"{reason} ({count})" for reason, count in failures.most_common(3))
            found.append(f"Requests to {self.client.root} failed and were repeated: {why}.")
        return found


def _document(text: bytes) -> Document:
    """An answer as an object.

    Raises:
        WrongAnswerError: it is none.
    """
    try:
        found = parse_json(text)
    except ValueError as error:
        raise WrongAnswerError("an answer broke off or is no JSON", str(error)) from None
    if not isinstance(found, dict):
        raise WrongAnswerError("an answer broke off or is no JSON", f"it is a {type(found).__name__}")
    return found


def only_choice(document: Document) -> Document:
    """The only choice of an answer.

    Raises:
        WrongAnswerError: there is none, or more than one.
    """
    choices = document.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        count = len(choices) if isinstance(choices, list) else "no"
        raise WrongAnswerError("an answer has not exactly one choice", f"{count} choices")
    return choices[0]
