"""Has a model behind a server write completions of prompts, which are then data like any others."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from didact import catalogue, hashing
from didact.documents import Document
from didact.errors import ConfigError, TeacherError
from didact.experiment import finding
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import assemble
from didact.files import whole_file
from didact.memory import signal_store
from didact.memory.coding import Form, columns_of, encode
from didact.memory.signal_store import Rows
from didact.parts import parse
from didact.teachers import identity
from didact.teachers.remote.asking import Asker
from didact.teachers.remote.config import RemoteConfig
from didact.teachers.remote.prompts import WordIds, padded
from didact.teachers.remote.writing import Writing, Written, unpack
from didact.teachers.stored import TOKEN
from didact.types import Ledger, Question, TopK

COMPLETIONS = "completions.jsonl"
"""The file of completions in the directory."""
AT_ONCE = 256
"""Completions that are asked for at once."""


@dataclass(slots=True)
class Result:
    """What was written."""

    path: Path
    written: int = 0
    """Completions in the file."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Answers that are no completions, by reason."""
    aligned: int = 0
    """Completions of which the likeliest tokens are stored."""
    remarks: Sequence[str] = ()
    """What it took."""


def write_completions(
    config: RunConfig, directory: Path, *, top_k: int = 0, on_part: Callable[[int, int], None] | None = None
) -> Result:
    """Have a teacher behind a server write completions of all prompts of the data.

    What was answered is stored, so that a call that is killed is repeated for nothing. With `top_k`, the likeliest
    tokens at each place of a completion are stored for `cache:DIRECTORY`, where the server's tokens are the student's.

    Args:
        config: its teacher is `server:URL`; `data`, `sampling` and, for `top_k`, `student` count too.
        directory: where `completions.jsonl` is written, and the store.
        top_k: how many of the likeliest tokens are asked for; 0 for none.
        on_part: called now and then with the number of answers that are there, and that of all.

    Raises:
        ConfigError: the teacher is no server, or the data are not prompts.
        EngineError: the server failed, or the budget is spent.
    """
    spec = parse(config.teacher or "", "teacher")
    if spec.kind != "server":
        raise ConfigError(f"teacher is {config.teacher!r}, but completions are written by server:URL here.")
    remote = RemoteConfig.read(spec.argument, spec.field)
    asker, ledger = Asker(remote, "The teacher"), Ledger()
    config = dataclasses.replace(config, method="sft", teacher=None)
    run = assemble(config, Objects()) if top_k else None
    data: Any = run.data if run is not None else finding.find(catalogue.find("sft")).open(config, None)
    questions, sampling = data.questions, config.sampling.settled()
    writing = Writing(
        max_tokens=sampling.max_new_tokens, temperature=sampling.temperature, top_p=sampling.top_p, top_k=top_k,
        chat=remote.chat,
    )  # fmt: skip
    wanted = [(question, sample) for question in questions for sample in range(sampling.samples)]
    result = Result(directory / COMPLETIONS)
    store = None if run is None else _Store(directory, spec.text, asker, run.student.model, top_k)
    with whole_file(result.path) as partial, partial.open("w", encoding="utf-8") as file:
        for at in range(0, len(wanted), AT_ONCE):
            part = wanted[at : at + AT_ONCE]
            requests = [
                writing.request(one, hashing.stream(config.seed, f"{one.id} {n}") & 0x7FFFFFFF) for one, n in part
            ]
            answers = map(unpack, asker.gather(asker.ask(requests), ledger, "teacher"))
            whole = list(_whole(zip((question for question, _ in part), answers, strict=True), result))
            file.writelines(f"{json.dumps(_record(*one), ensure_ascii=False)}\n" for one in whole)
            if store is not None:
                result.aligned += store.add(whole, f"{at // AT_ONCE:06d}")
            if on_part is not None:
                on_part(at + len(part), len(wanted))
    result.remarks = asker.remarks()
    return result


def _whole(found: Iterable[tuple[Question, Written]], result: Result) -> Iterator[tuple[Question, Written]]:
    """The whole completions; the others are counted."""
    for question, written in found:
        if written.reason:
            result.left_out[written.reason] += 1
        else:
            result.written += 1
            yield question, written


def _record(question: Question, written: Written) -> Document:
    """A question with its completion, as a line of a file."""
    known = {name: value for name, value in question.data.items() if name not in ("prompt", "messages", "completion")}
    answer = {} if question.answer is None else {"answer": question.answer}
    if question.messages:
        turn = {"role": "assistant", "content": written.text}
        tools = {"tools": list(question.tools)} if question.tools else {}
        return {**known, **answer, "messages": [*question.messages, turn], **tools}
    return {**known, **answer, "prompt": question.prompt, "completion": written.text}


class _Store:
    """The likeliest tokens of written completions, as a cache of a teacher.

    Args:
        directory: the cache's.
        spec: the teacher's.
        asker: of the server.
        model: the student, for its tokenizer.
        top_k: how many are kept.
    """

    def __init__(self, directory: Path, spec: str, asker: Asker, model: Any, top_k: int) -> None:
        self.directory, self.model, self.top_k = directory, model, top_k
        self.asker, self.spec, self.ids = asker, spec, WordIds(model.tokenizer)
        self.form = Form("top_k", top_k, 16)

    def add(self, found: Sequence[tuple[Question, Written]], name: str) -> int:
        """Store a shard; returns of how many completions the server's tokens are the student's."""
        if not found:
            return 0
        keys, first, length, signals, aligned = [], [], [], [], 0
        for question, written in found:
            question = dataclasses.replace(question, completion=written.text, reply={})
            prompt, answer = self.model.tokenizer.prompt(question), self.model.tokenizer.completion(question)
            whole = torch.tensor([*prompt, *answer])
            keys.append(hashing.of_sequences(whole, torch.arange(len(whole)), torch.zeros_like(whole), 1))
            first.append(len(prompt) - 1)
            length.append(len(answer))
            signal, fits = self._signal(answer, written)
            signals.append(signal)
            aligned += fits
        if not aligned:
            raise TeacherError(
                f"The server {self.asker.client.root} told no likeliest tokens that are the student's own; leave out "
                "top_k, and learn from the completions alone."
            )
        signal = TopK(
            **{
                name: torch.cat([getattr(one, name) for one in signals])
                for name in ("ids", "log_probs", "tail", "trust")
            }
        )
        outcomes = self.model.head.vocabulary
        columns = columns_of(signal, self.form, outcomes)
        signal_store.begin(self.directory, self._facts(columns, outcomes))
        rows = Rows(
            torch.cat(keys).numpy(), np.array(first, np.int32), np.array(length, np.int32), encode(signal, columns)
        )
        signal_store.write_shard(self.directory, name, rows, {})
        return aligned

    def _signal(self, answer: Sequence[int], written: Written) -> tuple[TopK, bool]:
        """The likeliest tokens at each place of a completion, not trusted where they are not told; and if any are."""
        own = [self.ids(word) for word, _ in written.tops]
        # What ends a completion is no part of its text, and its place is not told by every server.
        told = len(own) if own and own == list(answer[: len(own)]) else 0
        rows = [{self.ids(word): value for word, value in tops.items()} for _, tops in written.tops[:told]]
        rows += [{}] * (len(answer) - told)
        for row in rows:
            row.pop(-1, None)
        tops = [padded(row, self.top_k) for row in rows]
        log_probs = torch.tensor([values for _, values in tops])
        return TopK(
            ids=torch.tensor([ids for ids, _ in tops]),
            log_probs=log_probs,
            tail=(1.0 - log_probs.exp().sum(-1)).clamp(0.0, 1.0),
            trust=(torch.arange(len(answer)) < told).float(),
        ), bool(told)

    def _facts(self, columns: Any, outcomes: int) -> Document:
        return {
            "teacher": {"spec": self.spec, "weights": self.asker.identity("written", self.top_k)},
            "data": {"name": COMPLETIONS, "fingerprint": ""},
            "tokenizer": identity.of_tokenizer(self.model.tokenizer),
            "unit": TOKEN,
            "kind": "TopK",
            "outcomes": outcomes,
            "form": dataclasses.asdict(self.form),
            "columns": signal_store.column_facts(columns),
            "shard": AT_ONCE,
        }
