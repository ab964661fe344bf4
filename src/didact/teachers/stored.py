"""A teacher whose answers lie on the disk, and what writes them there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import TeacherError
from didact.memory.coding import encode
from didact.memory.signal_store import Rows, SignalStore, write_shard
from didact.teachers.base import BaseTeacher
from didact.types import Batch, Features, Logits, Signal

EXAMPLE, TOKEN = "example", "token"
"""The units of a store: a signal for each example, or for each token of a sequence."""
ASKED = "asked"
"""The first word of the names of shards that a run added."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequences of tokens in a batch: its rows, or what is packed in them."""

    keys: Tensor
    """int64 [S], hashes of their tokens."""
    owner: Tensor
    """int64 [B, T], the sequence of each token; -1 for padding."""
    place: Tensor
    """int64 [B, T], the position of each token in its sequence."""
    needed: Tensor
    """bool [B, T], the positions whose signal a loss reads: those before a token of a completion."""


def sequences(batch: Batch) -> Sequences:
    """Find the sequences of a batch of tokens, on the CPU.

    Args:
        batch: with `input_ids` and `attention_mask` [B, T]; `segments` where rows are packed, `completion_mask` where
            only completions are learned.
    """
    ids, mask = batch["input_ids"].cpu(), batch["attention_mask"].cpu().bool()
    segment = batch["segments"].cpu() if "segments" in batch else mask.long()
    before = torch.cat([torch.zeros_like(segment[:, :1]), segment[:, :-1]], 1)
    begins = (segment != before) & (segment > 0)
    column = torch.arange(ids.shape[1]).expand_as(ids)
    place = column - torch.where(begins, column, 0).cummax(1).values
    there = segment > 0
    owner = torch.where(there, begins.flatten().cumsum(0).view_as(ids) - 1, -1)
    keys = hashing.of_sequences(ids[there], place[there], owner[there], int(begins.sum()))
    if "completion_mask" not in batch:
        return Sequences(keys, owner, place, there)
    learned = batch["completion_mask"].cpu() & there & (place > 0)
    needed = torch.cat([learned[:, 1:], torch.zeros_like(learned[:, :1])], 1)
    return Sequences(keys, owner, place, needed)


def rows_of(store: SignalStore, batch: Batch, signal: Signal, seed: int = 0) -> Rows:
    """What a store keeps of a teacher's signal for a batch.

    Args:
        store: which says in which form.
        batch: of examples with `id`; or of tokens, see `sequences`.
        signal: the teacher's, [B] or [B, T].
        seed: of draws.
    """
    form = store.form
    if store.facts["unit"] == EXAMPLE:
        keys = batch["id"].cpu().numpy()
        ones = np.ones(len(keys), np.int32)
        return Rows(keys, 0 * ones, ones, encode(form.reduce(signal, seed), store.columns))
    index, keys, first, length = needed_positions(sequences(batch))
    kept = form.reduce(signal.flatten().rows(index.to(signal.device)), seed)
    return Rows(keys.numpy(), first.int().numpy(), length.int().numpy(), encode(kept, store.columns))


def needed_positions(found: Sequences) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The stretch of each sequence from the first to the last position that is needed.

    Returns:
        int64 [M], the places of these positions in the flattened batch; and of each sequence that has some its key, its
        first position, and their number.
    """
    count = len(found.keys)
    owner, place = found.owner[found.needed], found.place[found.needed]
    first = torch.full((count,), np.iinfo(np.int64).max).scatter_reduce_(0, owner, place, "amin")
    last = torch.full((count,), -1).scatter_reduce_(0, owner, place, "amax")
    inside = found.owner >= 0
    at = found.owner.clamp(min=0)
    inside &= (found.place >= first[at]) & (found.place <= last[at])
    some = last >= 0
    return inside.flatten().nonzero()[:, 0], found.keys[some], first[some], (last - first + 1)[some]


class StoredTeacher(BaseTeacher):
    """A teacher that answers from a store. What is not there is asked of another teacher and added, or refused.

    A run that adds to a store and is resumed finds what it added: an answer is on the disk before it is used.

    Args:
        store: the signals.
        teacher: the teacher whose signals they are, to ask for what is missing; None refuses it.
        view: see `BaseTeacher`.
    """

    kind = "a cache of signals"
    charges = frozenset()
    saves = True
    """Whether calls stop once everything is stored, so that a budget of calls may never end a run."""

    def __init__(self, store: SignalStore, *, teacher: Any = None, view: str | None = None) -> None:
        super().__init__(view=view)
        self.store, self.teacher = store, teacher
        self.spenders = {} if teacher is None else {"": teacher}
        """The teacher that is asked for what is missing; see `didact.types.Spender`."""
        self._tapped: tuple[str, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether it answers nothing but what is stored."""
        return self.teacher is None

    def tap(self, *names: str) -> None:
        """From now on, include these stored features.

        Raises:
            TeacherError: one of them is not stored.
        """
        lacking = [name for name in names if name not in self.candidates()]
        if lacking:
            raise TeacherError(
                f"Features {', '.join(map(repr, lacking))} were requested from {self.store.directory}, which holds "
                f"{', '.join(self.candidates()) or 'none'}; build the cache with --features {','.join(names)}."
            )
        self._tapped += names

    def candidates(self) -> list[str]:
        """The names of the stored features."""
        return [name.partition(".")[2] for name in self.store.columns if name.startswith("features.")]

    def signal(self, batch: Batch) -> Signal:
        """Read the signal for a batch.

        Returns:
            As it is stored, [B] or [B, T], on the batch's device. Tokens that no completion needs are not trusted.

        Raises:
            TeacherError: something is not stored, and there is no teacher to ask.
        """
        seen, device = self._look(batch), batch["id"].device
        read = self._read_examples if self.store.facts["unit"] == EXAMPLE else self._read_tokens
        found = read(seen)
        if isinstance(found, Tensor):
            self._ask(seen, found)
            found = read(seen)
            assert isinstance(found, Signal)
        if isinstance(found, Features) and not self._tapped and found.logits is not None:
            found = Logits(logits=found.logits, trust=found.trust)
        return found.map(lambda tensor: tensor.to(device))

    def _read_examples(self, batch: Batch) -> Signal | Tensor:
        """The signal, or the missing rows."""
        places = self.store.find(batch["id"].cpu())
        if bool((places < 0).any()):
            return (places < 0).nonzero()[:, 0]
        return self.store.get(self.store.spans(places)[2])

    def _read_tokens(self, batch: Batch) -> Signal | Tensor:
        """The signal, or the rows in which a sequence is missing."""
        found = sequences(batch)
        places = self.store.find(found.keys)
        known = places >= 0
        first, length, start = self.store.spans(places.clamp(min=0)) if len(self.store) else (places,) * 3
        at = found.owner.clamp(min=0)
        offset = found.place - first[at]
        stored = (found.owner >= 0) & known[at] & (offset >= 0) & (offset < length[at])
        missing = (found.needed & ~stored).any(1)
        if bool(missing.any()):
            return missing.nonzero()[:, 0]
        signal = self.store.get((start[at] + offset)[stored])
        return _spread(signal, stored)

    @torch.no_grad()
    def _ask(self, batch: Batch, rows: Tensor) -> None:
        """Ask the teacher about rows, and add its signals to the store."""
        if self.teacher is None:
            first = int(batch["id"][int(rows[0])])
            raise TeacherError(
                f"{self.store.directory} has no signal for {len(rows)} of a batch of {batch.size}, the first with the "
                f"id {first}: they are other data, or other tokens of them, than the cache was built from. Build it "
                f"from these, or name the teacher to ask: cache:{self.store.directory}:TEACHER."
            )
        part = batch.select(rows.to(batch["id"].device))
        kept = rows_of(self.store, part, self.teacher.signal(part))
        name = f"{ASKED}-{int(hashing.of_bytes([kept.keys])) & (2**64 - 1):016x}"
        write_shard(self.store.directory, name, kept, {})
        self.store.add(name)


def _spread(signal: Signal, where: Tensor) -> Signal:
    """A signal [M] at the places of a mask [B, T] with M of them; elsewhere nothing is trusted."""
    index = (where.flatten().cumsum(0) - 1).clamp(min=0)
    whole = signal.rows(index)
    trust = where.flatten().float()
    if whole.trust is not None:
        trust = trust * whole.trust
    fields = {**whole.fields(), "trust": trust}
    return type(signal)(**fields).map(lambda tensor: tensor.unflatten(0, where.shape))
