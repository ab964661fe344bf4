"""A language model behind a server as a teacher of tokens: its likeliest next tokens along a given text.

Axis letters: B rows, T tokens, K likeliest tokens.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from didact.documents import Document
from didact.errors import EngineError
from didact.teachers.remote.asking import Reply, Request, only_choice
from didact.teachers.remote.base import RemoteTeacher
from didact.teachers.remote.config import RemoteConfig
from didact.teachers.remote.prompts import WAYS, Top, WordIds, arguments, places_of, read_top, words_of
from didact.teachers.stored import sequences
from didact.types import Batch, Pending, TopK

PROBE = "The 2 quick-brown foxes: 37+85=122."
"""A text by which it is tried how a server can be asked, and whether its tokens are the student's."""
_SPACES = " \u2581\u0120"


class RemoteTokenTeacher(RemoteTeacher):
    """A causal language model behind a server, which gives the likeliest next tokens.

    It must have the student's tokenizer, which is compared on a text when it is first asked.

    Args:
        config: the server.
        tokenizer: the student's.
        vocabulary: how many token ids the student has, V.
    """

    kind = "a language model behind a server"

    def __init__(self, config: RemoteConfig, tokenizer: Any, vocabulary: int) -> None:
        super().__init__(config)
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self.kept, self._ids = min(config.top_k, vocabulary), WordIds(tokenizer)

    def _settings(self) -> tuple[object, ...]:
        return "tokens", self.kept

    @cached_property
    def way(self) -> str:
        """How the server is asked.

        Raises:
            EngineError: it is not there, wants a key, can't be asked, or has other tokens.
        """
        ids = self.tokenizer.encode(PROBE)
        for way in WAYS:
            trial = self._request(ids, way, partial(self._tried, way=way, ids=ids))
            if self.asker.supports(way, trial, self.ledger, self.by):
                return way
        raise EngineError(
            f"The server {self.asker.client.root} gives no log-probabilities of a prompt's tokens, neither by "
            "prompt_logprobs, as vLLM does, nor by echo. Let it write completions instead, and learn from those: "
            "`didact cache write`."
        )

    def connect(self) -> None:
        """See `RemoteTeacher`; also refuses other tokens than the student's."""
        assert self.way

    def remarks(self) -> list[str]:
        """See `RemoteTeacher`; also how it is asked."""
        asked = f"The teacher is asked by {self.way} for the {self.kept} likeliest tokens of each place."
        return [*super().remarks(), asked]

    def _tried(self, document: Document, way: str, ids: Sequence[int]) -> bytes:
        """What is stored of a trial: nothing if there are no log-probabilities.

        Raises:
            EngineError: its tokens are others than the student's.
        """
        choice = only_choice(document)
        if not places_of(choice, way):
            return b""
        for token, theirs in zip(ids, words_of(choice, way, ids), strict=True):
            mine = self.tokenizer.decode([token], special=True)
            compared = bool(theirs) and "\ufffd" not in mine + theirs
            if compared and mine.strip(_SPACES) != theirs.strip(_SPACES):
                raise EngineError(
                    f"The server {self.asker.client.root} has another tokenizer: its token {token} is {theirs!r:.40}, "
                    f"and the student's is {mine!r:.40}. Serve a model of the student's family."
                )
        return self._read(document, way, ids)

    def _request(self, ids: Sequence[int], way: str, read: Callable[[Document], bytes]) -> Request:
        return Request("completions", arguments(way, ids, self.kept), read, len(ids), 1, room=(self.kept + 2) << 7)

    def ask(self, batch: Batch) -> Pending:
        """Ask about the sequences of a batch.

        Returns:
            `TopK` [B, T] on the batch's device. The last token of a sequence, padding, and sequences of which nothing
            is learned are not trusted.
        """
        seen = self._look(batch)
        found, ids = sequences(seen), seen["input_ids"].cpu()
        owner, needed = found.owner.flatten(), found.needed.flatten()
        places = [(owner == one).nonzero()[:, 0] for one in owner[needed].unique()]
        places = [one for one in places if len(one) > 1]
        texts, way = [ids.flatten()[one].tolist() for one in places], self.way
        futures = self.asker.ask(self._request(text, way, partial(self._read, way=way, ids=text)) for text in texts)
        return Pending(lambda: self._signal(batch, ids.shape, places, futures))

    def _signal(
        self, batch: Batch, shape: torch.Size, places: Sequence[Tensor], futures: Sequence[Future[Reply]]
    ) -> TopK:
        answers = self.asker.gather(futures, self.ledger, self.by)
        ids = torch.arange(self.kept).repeat(shape.numel(), 1)
        log_probs, trust = torch.full(ids.shape, -math.log(self.kept)), torch.zeros(shape.numel())
        for where, answer in zip(places, answers, strict=True):
            top = Top.unpack(answer)
            ids[where[:-1]], log_probs[where[:-1]] = torch.from_numpy(top.ids).long(), torch.from_numpy(top.log_probs)
            trust[where[:-1]] = 1.0
        tail = (1.0 - log_probs.exp().sum(-1)).clamp(0.0, 1.0)
        whole = TopK(ids=ids, log_probs=log_probs, tail=tail, trust=trust)
        return whole.map(lambda tensor: tensor.unflatten(0, shape).to(batch["id"].device))

    def _read(self, document: Document, way: str, ids: Sequence[int]) -> bytes:
        return read_top(only_choice(document), way, ids, self.kept, self._ids).pack()
