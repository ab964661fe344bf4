"""Completions that are sampled in segments over several rounds, so that no round waits for the longest of them."""

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from didact import hashing
from didact.documents import State
from didact.errors import check_range
from didact.rollouts.layout import Rollouts
from didact.rollouts.scoring import score_tokens
from didact.rollouts.writer import TURNS, Writer
from didact.types import Batch, Question


@dataclasses.dataclass
class _Begun:
    """A completion that was begun."""

    question: Question
    number: int
    """Its number among those of the question."""
    round: int
    """The round in which it was begun."""
    tokens: list[int]
    finished: bool = False
    """Whether it ended by itself."""
    over: bool = False
    """Whether it ended, by itself or at the largest length."""


class Segments:
    """Samples a segment of each completion in a round; unfinished ones go on in the next (Du et al. 2025, UloRL).

    The completions of a prompt are given together, once all of them have ended. Their log-probabilities are those under
    the present policy, as if it had sampled all segments (the paper's pseudo on-policy importance sampling).

    `Stateful`: what was begun is part of the state.

    Args:
        segments: how many the largest length is divided into, from 1 to 15.
        questions: all training questions, by which a restored state finds its own.

    Raises:
        ConfigError: `segments` is out of its range.
    """

    def __init__(self, segments: int, questions: Iterable[Question]) -> None:
        check_range("segments", segments, at_least=1, below=TURNS)
        self.segments, self.known = segments, {question.id: question for question in questions}
        self.begun: list[_Begun] = []

    def write(self, writer: Writer, questions: Sequence[Question]) -> Rollouts:
        """Sample the first segment of some questions and the next one of what was begun, until a prompt is complete.

        Args:
            writer: samples and verifies.
            questions: at least one.

        Returns:
            Verified completions of those prompts whose completions have all ended; of one at least.
        """
        most = writer.sampling.max_new_tokens
        length = -(-most // self.segments)
        old = [one for one in self.begun if not one.over]
        self._begin(writer, questions, length, most)
        self._go_on(writer, old, length, most, turn=1)
        turn = 2
        while not (done := self._complete()):
            self._go_on(writer, [one for one in self.begun if not one.over], length, most, turn=turn)
            turn += 1
        ready = [one for one in self.begun if (one.question.id, one.round) in done]
        self.begun = [one for one in self.begun if (one.question.id, one.round) not in done]
        return writer.verify(_scored(writer, ready))

    def _begin(self, writer: Writer, questions: Sequence[Question], length: int, most: int) -> None:
        found = writer.write(questions, longest=length, verify=False)
        numbers = [number for _ in questions for number in range(len(found.questions) // len(questions))]
        new = [_Begun(q, number, writer.round, []) for q, number in zip(found.questions, numbers, strict=True)]
        _append(new, found.batch, most)
        self.begun += new

    def _go_on(self, writer: Writer, some: list[_Begun], length: int, most: int, *, turn: int) -> None:
        """Sample another segment of some completions."""
        if not some:
            return
        prompts = [[*writer.learner.tokenizer.prompt(one.question), *one.tokens] for one in some]
        asked = [dataclasses.replace(one.question, id=_draw(one)) for one in some]
        found = writer.write(asked, samples=1, turn=turn, prompts=prompts, longest=length, verify=False)
        _append(some, found.batch, most)

    def _complete(self) -> set[tuple[int, int]]:
        """The prompts, with their rounds, whose completions have all ended."""
        everything = {(one.question.id, one.round) for one in self.begun}
        return everything - {(one.question.id, one.round) for one in self.begun if not one.over}

    def state_dict(self) -> State:
        """What was begun."""
        rows = [[one.question.id, one.number, one.round, int(one.finished), int(one.over)] for one in self.begun]
        return {"begun": rows, "tokens": [list(one.tokens) for one in self.begun]}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.begun = [
            _Begun(self.known[key], number, round_, list(tokens), bool(finished), bool(over))
            for (key, number, round_, finished, over), tokens in zip(state["begun"], state["tokens"], strict=True)
        ]


def _draw(one: _Begun) -> int:
    """The id by which a completion goes on: completions of the same prompt have random numbers of their own."""
    return int(hashing.keyed_hash(torch.tensor(one.question.id), one.number, f"segments/{one.round}"))


def _append(some: Sequence[_Begun], batch: Batch, most: int) -> None:
    """Append the sampled tokens of a batch to completions."""
    for one, ids, mask, finished in zip(
        some, batch["input_ids"], batch["completion_mask"], batch["finished"].tolist(), strict=True
    ):
        one.tokens = [*one.tokens, *ids[mask].tolist()][:most]
        one.finished = finished
        one.over = finished or len(one.tokens) >= most


def _scored(writer: Writer, some: Sequence[_Begun]) -> Rollouts:
    """Completions as rollouts, with their log-probabilities under the present policy."""
    found = writer.lay_out([one.question for one in some], [one.tokens for one in some])
    blank = torch.zeros(found.batch["input_ids"].shape)
    more = {
        "finished": torch.tensor([one.finished for one in some]),
        "log_probs": score_tokens(writer.learner, Batch({**found.batch, "log_probs": blank})),
    }
    return dataclasses.replace(found, batch=Batch({**found.batch, **more}))
