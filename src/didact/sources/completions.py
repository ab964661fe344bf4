"""Batches of prompts with whole answers, for language models: padded, packed, or in pairs."""

import dataclasses
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.curricula import Uniform
from didact.documents import State
from didact.errors import ConfigError, DataError, check_range
from didact.sources.aligning import SpanTokenizer, completion_pieces
from didact.sources.layouts import quote
from didact.sources.steps import token_ends
from didact.sources.stored import Tape
from didact.types import Batch, Question, Questions

_PACKED = 1 << 16
"""Sequences that are packed at once."""
Turns = Literal["last", "all"]
"""Which turns of the assistant are learned in a conversation."""


class CompletionTokenizer(Protocol):
    """What a tokenizer must be able to do here."""

    @property
    def pad(self) -> int:
        """The id that fills up."""
        ...

    def prompt(self, question: Question) -> list[int]:
        """The tokens that a model is given."""
        ...

    def completion(self, question: Question, text: str | None = None) -> list[int]:
        """The tokens of an answer, by default the question's own, with what ends it."""
        ...

    def turns(self, question: Question) -> tuple[list[int], list[bool]]:
        """Prompt and completion, and which of their tokens an assistant wrote."""
        ...


class AligningTokenizer(CompletionTokenizer, SpanTokenizer, Protocol):
    """What a tokenizer must be able to do to be aligned with another."""


class CompletionSource:
    """An endless stream of batches of tokens, from which a language model learns answers.

    Everything is tokenized once and kept as flat arrays; a batch is gathered from them as whole tensors, padded on the
    right to its longest row. `Stateful`: the state is that after the batch given last.

    A batch has `input_ids`, `attention_mask` (int64 [B, T]), `completion_mask` (bool [B, T], True for the answer and
    what ends it), `id` and `row` (int64 [B], the position). With `pairs`, `rejected.input_ids` and so on hold the other
    answers, of a length T of their own. With `steps`, `step_at` (int64 [B, S]) has the positions at which the steps of
    an answer end, and `step_label` (float32 [B, S]) their labels, -1 where an answer has fewer. With `packed`, rows
    hold several questions each, as `segments` (int64 [B, T]) tells; the `id` of a row then stands for all that is in
    it, and `epoch_size` counts rows.

    Args:
        questions: N of them, each with a completion.
        tokenizer: see `CompletionTokenizer`.
        batch_size: rows in a batch; at most as many as there are.
        max_length: the most tokens of a row, prompt and completion; at least 2.
        seed: the only source of randomness: of the order. Every row comes once a pass.
        packed: fill rows of `max_length` with several questions, the longest first, each where the least space is left.
        pairs: give the rejected completions besides.
        teacher: another tokenizer, by which the same answers are given as the view `teacher`; `chunk` and
            `teacher.chunk` (int64 [B, T]) then say which piece of the answer each of its tokens is in, from 1 (0 for
            those of the prompt). A piece is what lies between two places at which both tokenizers end a token.
        teacher_length: the most tokens of a row of the teacher's; by default as `max_length`.
        truncate: cut completions that are too long at their end, instead of refusing them.
        turns: whether the last turn of a conversation is learned, or all that the assistant wrote.
        steps: give the labels of steps besides.
        curriculum: which rows come next; `Uniform` by default.

    Raises:
        ConfigError: a size that cannot work, or pairs that are to be packed; or another tokenizer with either, or with
            answers that are cut; or all turns of pairs, or by another tokenizer.
        TeacherError: one of two tokenizers changes an answer, so that their tokens don't speak of the same.
        DataError: a completion is missing, empty or too long; the question is named.
    """

    def __init__(
        self,
        questions: Questions,
        tokenizer: CompletionTokenizer,
        *,
        batch_size: int,
        max_length: int,
        seed: int = 0,
        packed: bool = False,
        pairs: bool = False,
        teacher: AligningTokenizer | None = None,
        teacher_length: int | None = None,
        truncate: bool = False,
        turns: Turns = "last",
        steps: bool = False,
        curriculum: Uniform | None = None,
    ) -> None:
        check_range("batch_size", batch_size, at_least=1)
        check_range("max_length", max_length, at_least=2)
        if packed and pairs:
            raise ConfigError("packed and pairs are both True, but the answers of a pair lie in one row each; use one.")
        if teacher is not None and (packed or pairs or truncate):
            raise ConfigError(
                "teacher is another tokenizer, whose tokens are aligned with whole answers in a row each; leave out "
                "packed, pairs and truncate."
            )
        if packed and curriculum is not None:
            raise ConfigError("packed is True, but a curriculum chooses questions, not rows of several; use one.")
        if turns == "all" and (pairs or teacher is not None):
            raise ConfigError(
                "turns is 'all', but pairs, and tokens that are aligned with another tokenizer's, are those of the "
                "last turn; use turns='last'."
            )
        if steps and (packed or pairs or truncate or teacher is not None or turns == "all"):
            raise ConfigError(
                "steps is True, whose labels are those of whole answers in a row each; leave out packed, pairs, "
                "teacher, truncate and turns."
            )
        if not len(questions):
            raise DataError("There are no questions to learn from.")
        sides = {"": "completion", "rejected.": "rejected"} if pairs else {"": "completion"}
        self._sides: dict[str, _Rows] = {}
        for prefix, field in sides.items():
            tokens = _tokens(questions, tokenizer, field, turns)
            self._sides[prefix] = _fit(tokens, questions, max_length, truncate)
        self._steps = _find_steps(questions, tokenizer) if steps else None
        if teacher is not None:
            self._align(questions, tokenizer, teacher, teacher_length or max_length)
        self._ids = torch.from_numpy(np.fromiter((question.id for question in questions), np.int64, len(questions)))
        if packed:
            self._sides[""], self._ids = _pack(self._sides[""], self._ids, max_length, questions.stored)
        self.epoch_size, self.label_count = len(self._ids), len(questions)
        # How many rows it packs, nobody knows before.
        batch_size = min(batch_size, self.epoch_size) if packed else batch_size
        if batch_size > self.epoch_size:
            raise ConfigError(
                f"batch_size is {batch_size}, but there are only {self.epoch_size} rows; use at most {self.epoch_size}."
            )
        self.batch_size, self.max_length, self._pad = batch_size, max_length, tokenizer.pad
        self.curriculum = Uniform(self.epoch_size, seed) if curriculum is None else curriculum

    def _align(self, questions: Questions, tokenizer: Any, teacher: AligningTokenizer, max_length: int) -> None:
        """Add the teacher's tokens, and number the pieces that both have."""
        rows = _tokens(questions, teacher, "completion")
        sides = {"": self._sides[""], "teacher.": _fit(rows, questions, max_length, False)}
        pieces: tuple[array, array] = array("i"), array("i")
        for question in questions:
            for own, found in zip(pieces, completion_pieces(question, tokenizer, teacher), strict=True):
                own.extend(found)
        for (name, side), own in zip(sides.items(), pieces, strict=True):
            chunk = torch.zeros(len(side.tokens), dtype=torch.int32)
            chunk[side.learned] = torch.frombuffer(own, dtype=torch.int32)
            self._sides[name] = dataclasses.replace(side, chunk=chunk)

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state, without end."""
        while True:
            yield self.batch(self.curriculum.sample(self.batch_size))

    def batch(self, index: Tensor) -> Batch:
        """The batch of the rows at `index` (int64 [B])."""
        tensors = {"id": self._ids[index], "row": index}
        for prefix, rows in self._sides.items():
            tensors.update({prefix + name: tensor for name, tensor in rows.gather(index, self._pad).items()})
        if self._steps is not None:
            tensors.update(self._steps.gather(index))
        return Batch(tensors)

    def state_dict(self) -> State:
        """The state of the order."""
        return {"curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave; raises `CheckpointError` where there is another number of rows."""
        self.curriculum.load_state_dict(state["curriculum"])


@dataclass(frozen=True)
class _Rows:
    """Rows of tokens, one after the other."""

    tokens: Tensor
    """int32 [total]."""
    learned: Tensor
    """bool [total]: whether a token belongs to a completion."""
    starts: Tensor
    """int64 [N]."""
    lengths: Tensor
    """int64 [N]."""
    segments: Tensor | None = None
    """int32 [total], for packed rows."""
    chunk: Tensor | None = None
    """int32 [total], where another tokenizer's tokens are aligned with these."""

    def gather(self, index: Tensor, pad: int) -> dict[str, Tensor]:
        """The rows at `index` (int64 [B]), padded to the longest of them."""
        lengths = self.lengths[index].unsqueeze(1)
        column = torch.arange(int(lengths.max()))
        mask = column < lengths
        place = (self.starts[index].unsqueeze(1) + column).where(mask, 0)
        tensors = {
            "input_ids": self.tokens[place].long().where(mask, pad),
            "attention_mask": mask.long(),
            "completion_mask": self.learned[place] & mask,
        }
        if self.segments is not None:
            tensors["segments"] = self.segments[place].long() * mask
        if self.chunk is not None:
            tensors["chunk"] = self.chunk[place].long() * mask
        return tensors


@dataclass(frozen=True)
class _Steps:
    """The labels of steps, one row after the other."""

    place: Tensor
    """int64 [total], in the row of tokens."""
    label: Tensor
    """float32 [total]."""
    starts: Tensor
    """int64 [N]."""
    lengths: Tensor
    """int64 [N]."""

    def gather(self, index: Tensor) -> dict[str, Tensor]:
        """The steps of the rows at `index` (int64 [B])."""
        lengths = self.lengths[index].unsqueeze(1)
        column = torch.arange(int(lengths.max()))
        mask = column < lengths
        place = (self.starts[index].unsqueeze(1) + column).where(mask, 0)
        return {"step_at": self.place[place].where(mask, 0), "step_label": self.label[place].where(mask, -1.0)}


def _find_steps(questions: Questions, tokenizer: Any) -> _Steps:
    """Where the steps of every answer end among its tokens."""
    places, labels, counts = list[int](), list[float](), list[int]()
    for question in questions:
        if not question.steps:
            raise DataError(
                f"The question {_named(question)} has no labels of steps; give the columns prompt, completions and "
                "labels."
            )
        ends, found = zip(*question.steps, strict=True)
        start, ids = len(tokenizer.prompt(question)), tokenizer.completion(question)
        places += [start + place for place in token_ends(tokenizer, ids, question.completion or "", ends)]
        labels += found
        counts.append(len(ends))
    lengths = torch.tensor(counts)
    return _Steps(torch.tensor(places), torch.tensor(labels), lengths.cumsum(0) - lengths, lengths)


def _tokens(questions: Questions, tokenizer: CompletionTokenizer, field: str, turns: Turns = "last") -> _Rows:
    """Every prompt with its answer, in one array; on the disk if the questions are."""
    tokens, learned = Tape("i", stored=questions.stored), Tape("B", stored=questions.stored)
    ends = array("q")
    for question in questions:
        text = getattr(question, field)
        if not (text if field == "rejected" else question.answered):
            state = "no" if text is None else "an empty"
            raise DataError(
                f"The question {_named(question)} has {state} {field}; give one, or leave the question out."
            )
        ids, mask = _row(question, tokenizer, text if field == "rejected" else None, turns)
        tokens.extend(ids)
        learned.extend(mask)
        ends.append(tokens.count)
    end = torch.tensor(ends, dtype=torch.int64)
    start = torch.cat([end.new_zeros(1), end[:-1]])
    return _Rows(tokens.finish(), learned.finish().view(torch.bool), start, end - start)


def _row(question: Question, tokenizer: CompletionTokenizer, text: str | None, turns: Turns) -> tuple[Any, Any]:
    """The tokens of a question with an answer, and which of them are learned."""
    prompt = tokenizer.prompt(question)
    if not prompt:
        raise DataError(f"The prompt of {_named(question)} has no tokens; a model needs one to begin with.")
    if turns == "all" and question.messages:
        return tokenizer.turns(question)
    answer = tokenizer.completion(question, text)
    return [*prompt, *answer], bytes(len(prompt)) + b"\x01" * len(answer)


def _fit(rows: _Rows, questions: Questions, max_length: int, truncate: bool) -> _Rows:
    """Refuse rows that are too long, or cut them."""
    long = (rows.lengths > max_length).nonzero()[:, 0]
    if not len(long):
        return rows
    if not truncate:
        first = int(long[0])
        raise DataError(
            f"max_length is {max_length}, but {len(long)} of {len(questions)} questions are longer, with their "
            f"completions; the first is {_named(questions[first])}, of {int(rows.lengths[first])} tokens. Use "
            f"max_length={int(rows.lengths.max())}, leave them out, or cut them with truncate=True."
        )
    last = rows.starts + rows.lengths.clamp(max=max_length) - 1
    if not (fits := rows.learned[last]).all():
        question = questions[int((~fits).nonzero()[0])]
        raise DataError(
            f"max_length is {max_length}, which leaves no token of the completion of {_named(question)}; use a larger "
            "one, or leave that question out."
        )
    return _Rows(rows.tokens, rows.learned, rows.starts, rows.lengths.clamp(max=max_length))


def _named(question: Question) -> str:
    return f"{quote(question.prompt)} (id {question.id})"


def _pack(rows: _Rows, ids: Tensor, max_length: int, stored: bool) -> tuple[_Rows, Tensor]:
    """Put several sequences into each row; the result depends on the ids, not on the order."""
    order = torch.argsort(hashing.keyed_hash(ids, 0, "pack"), stable=True)
    order = order[rows.lengths[order].argsort(descending=True, stable=True)]
    bins = best_fit(rows.lengths[order].tolist(), max_length)
    member = order[torch.tensor([position for held in bins for position in held])]
    sizes = torch.tensor([len(held) for held in bins])
    row_ids = hashing.of_bytes(part.numpy().tobytes() for part in ids[member].split(sizes.tolist()))
    owner = torch.arange(len(bins)).repeat_interleave(sizes)
    place = torch.arange(len(member)) - (sizes.cumsum(0) - sizes)[owner]
    widths = torch.zeros(len(bins), dtype=torch.int64).index_add_(0, owner, rows.lengths[member])
    tapes = [Tape(code, stored=stored) for code in "iBi"]
    for part in torch.arange(len(member)).split(_PACKED):
        length = rows.lengths[member[part]]
        ends = length.cumsum(0)
        inner = torch.arange(int(ends[-1])) - (ends - length).repeat_interleave(length)
        source = rows.starts[member[part]].repeat_interleave(length) + inner
        segments = (place[part] + 1).repeat_interleave(length).int()
        for tape, tensor in zip(tapes, (rows.tokens[source], rows.learned[source].byte(), segments), strict=True):
            tape.extend(array(tape.held.typecode, tensor.numpy().tobytes()))
    tokens, learned, segments = (tape.finish() for tape in tapes)
    return _Rows(tokens, learned.view(torch.bool), widths.cumsum(0) - widths, widths, segments), row_ids


def best_fit(lengths: Sequence[int], space: int) -> list[list[int]]:
    """Put things into bins, each where the least space is left that holds it.

    Args:
        lengths: of N things, in the order in which they are put, each from 1 to `space`; longest first wastes least.
        space: of a bin.

    Returns:
        For each bin the positions of what is in it.
    """
    bins: list[list[int]] = []
    free: dict[int, list[int]] = {}
    spaces: list[int] = []
    for position, length in enumerate(lengths):
        found = bisect_left(spaces, length)
        if found == len(spaces):
            number, left = len(bins), space
            bins.append([])
        else:
            left = spaces[found]
            number = free[left].pop()
            if not free[left]:
                spaces.pop(found)
        bins[number].append(position)
        if rest := left - length:
            if not free.get(rest):
                insort(spaces, rest)
            free.setdefault(rest, []).append(number)
    return bins
