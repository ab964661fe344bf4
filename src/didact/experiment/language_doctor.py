"""Checks of a run of a language model, before any compute is spent on it."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from didact.experiment import language
from didact.experiment.checking import Check, Level, gradient_check, guarded
from didact.experiment.config import RunConfig
from didact.experiment.language import LanguageReady
from didact.experiment.language_data import LanguageData, open_questions
from didact.experiment.language_judging import can_compare, leaks, other_vocabulary
from didact.experiment.memory import Need, needed
from didact.learners.causal import CausalLearner, describe_causal
from didact.loop.devices import find_device, free_memory
from didact.losses.policy.outputs import acted
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select
from didact.rollouts import Writer
from didact.teachers import LanguageTeacher, Verifier
from didact.teachers.verifiers import FunctionVerifier, PythonVerifier, strength, try_verifier
from didact.types import Batch, RolloutFeed, States

TRIED = 4
"""How many questions are asked to see whether everything works together."""
TOLERANCE = 1e-4
"""How far a model may be from itself, in nats a token."""
DRIFT, ROUNDED_DRIFT = 0.01, 0.5
"""How far a token's log-probability may be from that with which it was sampled: in float32, and in half precision."""


def look(config: RunConfig, objects: Any, checks: list[Check]) -> None:
    """Look for what would make the run of a language model fail, or its figures worthless.

    Nothing is trained and nothing is written; a few short answers are sampled.

    Args:
        config: the run's.
        objects: what is given from Python instead.
        checks: gets what was found.
    """
    opened, ready = list[LanguageData](), list[LanguageReady]()
    if not guarded(checks, "data", lambda: _data(config, objects, opened)):
        return
    if not guarded(checks, "set-up", lambda: _set_up(config, objects, opened[0], ready)):
        return
    run = ready[0]
    stages: dict[str, Callable[[LanguageReady], Iterator[Check]]] = {
        "tokenizer": _tokenizer,
        "context": _context,
        "verifier": _verifier,
        "teacher": _teacher,
        "learner": _learner,
        "memory": _memory,
    }
    for name, stage in stages.items():
        guarded(checks, name, lambda stage=stage: stage(run))


def _data(config: RunConfig, objects: Any, opened: list[LanguageData]) -> Iterator[Check]:
    data = open_questions(config, objects.data)
    opened.append(data)
    questions = data.questions
    answers = sum(question.answer is not None for question in questions)
    written = sum(bool(question.completion) for question in questions)
    yield Check(
        "data",
        "ok",
        f"{len(questions):,} questions of {questions.name}, {answers:,} with an answer to compare with and "
        f"{written:,} with a completion to learn from.",
    )
    sizes = ", ".join(f"{len(p):,} {n}" for n, p in zip(_SPLITS, (data.train, data.validation, data.test), strict=True))
    yield Check("splits", "ok", f"{sizes}.")
    if data.duplicates:
        detail = f"{len(data.duplicates)} prompts are in two splits: {data.duplicates[0]} Remove one of each."
        yield Check("duplicates", "warn", detail)
    else:
        yield Check("duplicates", "ok", "No prompt is in two splits.")


_SPLITS = ("training", "validation", "test")


def _set_up(config: RunConfig, objects: Any, data: LanguageData, found: list[LanguageReady]) -> Iterator[Check]:
    ready = language.prepare(config, objects, data=data, train=False)
    found.append(ready)
    limits = ", ".join(f"{amount:g} {axis}" for axis, amount in ready.budget.limits().items())
    yield Check("method", "ok", f"{ready.info.name}: {ready.info.title} Budget: {limits}.")
    judge = ready.judge()
    if not judge.metric:
        yield Check(
            "judging",
            "warn",
            "There is no verifier, not every question has a completion, and there is no teacher to compare with: the "
            "student's answers are kept to be read, but nothing tells how good they are.",
        )
    for leak in leaks(ready):
        yield Check("leakage", "warn", leak)


def _models(ready: LanguageReady) -> dict[str, Any]:
    """The learner and the teachers, by what messages call them."""
    names = ["teacher", *(f"teacher {number}" for number in range(2, len(ready.teachers) + 1))]
    return {"learner": ready.method.learner, **dict(zip(names, ready.teachers, strict=False))}


def _tokenizer(ready: LanguageReady) -> Iterator[Check]:
    for name, model in _models(ready).items():
        if isinstance(model, CausalLearner):
            yield _described(name, model)
    yield _template(ready)
    if not isinstance(ready.teacher, CausalLearner):
        return
    if not can_compare(ready):
        yield Check("tokenizers", "ok", f"The method {ready.info.name} aligns the teacher's tokens with the learner's.")
    elif (words := other_vocabulary(ready)) is not None:
        yield Check("tokenizers", "warn", words)
    else:
        yield Check("tokenizers", "ok", "Learner and teacher make the same token ids of a text.")


def _described(name: str, model: CausalLearner) -> Check:
    found = describe_causal(model)
    own, scored = found["tokenizer_vocabulary"], found["head_vocabulary"]
    words = [f"{model.config}: {own:,} token ids"]
    if scored > own:
        words.append(f"{scored - own:,} more are scored and mean nothing")
    same = found["pad"] == found["eos"]
    padding = "which pads them too" if same else f"and are padded with {found['pad']}"
    words.append(f"sequences end with {found['eos']}, {padding}")
    if found["softcap"] is not None:
        words.append(f"scores are capped at {found['softcap']:g}")
    if found["scale"] != 1.0:
        words.append(f"scores are multiplied by {found['scale']:.3g}")
    return Check("tokenizer", "ok", f"{name.capitalize()} {'; '.join(words)}.")


def _template(ready: LanguageReady) -> Check:
    chats = any(question.messages for question in ready.data.train)
    known = ready.method.learner.tokenizer.chat_template
    if chats and not known:
        return Check(
            "chat",
            "warn",
            "The questions are conversations, but the learner's tokenizer has no chat template: it is given lines such "
            "as 'user: ...'.",
        )
    if known and not chats:
        return Check(
            "chat",
            "warn",
            "The learner's tokenizer has a chat template, but the questions are plain prompts, which it is given as "
            "they are; a model that was tuned on conversations wants messages.",
        )
    return Check("chat", "ok", "Conversations go through the chat template." if chats else "Prompts are plain text.")


def _context(ready: LanguageReady) -> Iterator[Check]:
    learner, train = ready.method.learner, ready.data.train
    longest = _longest_prompt(ready)
    if not isinstance(ready.method.feed, RolloutFeed):
        yield Check("context", "ok", f"Prompts of up to {longest} tokens, in a context of {learner.context:,}.")
        return
    new = ready.sampling.max_new_tokens
    words = f"Prompts of up to {longest} tokens and answers of up to {new}, in a context of {learner.context:,}."
    yield Check("context", "ok", words)
    written = [len(learner.tokenizer.completion(q.completion)) for q in train[:1000] if q.completion]
    if cut := sum(length > new for length in written):
        yield Check(
            "answers",
            "warn",
            f"{cut / len(written):.0%} of the data's own answers are longer than max_new_tokens = {new}, so that the "
            f"learner cannot write such answers to their end; the longest has {max(written)} tokens.",
        )


def _longest_prompt(ready: LanguageReady) -> int:
    data = ready.data
    encode = ready.method.learner.tokenizer.prompt
    return max(len(encode(question)) for part in (data.train, data.validation, data.test) for question in part)


def _verifier(ready: LanguageReady) -> Iterator[Check]:
    verifier = ready.verifier
    if verifier is None:
        yield Check("verifier", "ok", "None: answers are not judged, only compared.")
        return
    if any(isinstance(part, PythonVerifier) for part in _parts(verifier)):
        found = strength()
        yield Check("sandbox", "ok" if found.strong else "warn", str(found))
    complaints = try_verifier(verifier, ready.data.train)
    for complaint in complaints:
        yield Check("verifier", "warn", complaint)
    if not complaints:
        yield Check("verifier", "ok", f"{verifier} tells answers that are known to be good from bad ones.")


def _parts(verifier: Verifier) -> Iterator[Verifier]:
    yield verifier
    for part in getattr(verifier, "parts", ()):
        yield from _parts(part)


def _teacher(ready: LanguageReady) -> Iterator[Check]:
    for name, model in _models(ready).items():
        if isinstance(model, CausalLearner):
            yield _self_taught(name, model, ready)
    if (ready.config.teacher or "").startswith("warm:"):
        yield Check("teacher", "ok", f"{ready.config.teacher} will be trained first, on the data's own answers.")


@torch.no_grad()
def _self_taught(name: str, model: CausalLearner, ready: LanguageReady) -> Check:
    questions = ready.data.train[:TRIED]
    texts = [question.completion or question.answer or "1" for question in questions]
    batch = Writer(model, ready.sampling).encode(questions, texts).batch.to(model.device)
    training = model.training
    model.eval()
    rows, again = select(model(batch), batch), select(model(batch), batch)
    model.train(training)
    same = States(hidden=again.hidden, head=again.head)
    apart = abs(float(token_divergence(rows.hidden, rows.head, same, kind="jsd").mean()))
    good = math.isfinite(apart) and apart <= TOLERANCE
    words = f"The {name} is {apart:.1g} from itself"
    return Check("self-taught", "ok" if good else "fail", f"{words}." if good else f"{words}; it must be 0.")


def _learner(ready: LanguageReady) -> Iterator[Check]:
    method, attempts = ready.method, isinstance(ready.method.feed, RolloutFeed)
    # Rollouts that are worth nothing teach nothing, so that here half of them are said to be right, whatever they are.
    worth = itertools.cycle((1.0, 0.0))
    coin = FunctionVerifier(lambda _text, _question: next(worth)) if ready.verifier is not None else None
    asked = ready.data.train[:TRIED]
    batch = (
        method.collect(asked, _writer(ready, coin)).check() if attempts else next(iter(ready.source)).split(TRIED)[0]
    )
    method.learner.train()
    size = sum(p.numel() for p in method.delivered.parameters())
    yield gradient_check(method, batch.to(method.learner.device), f"{ready.config.learner}, {size:,} parameters")
    if attempts:
        found = _writer(ready, ready.verifier).write(asked).batch
        yield _as_sampled(ready, found)
        if getattr(ready.method.feed, "judged", None) == "verifier" and not ready.config.learner.startswith("warm:"):
            yield _start(found)


def _writer(ready: LanguageReady, verifier: Verifier | None) -> Writer:
    return Writer(ready.method.learner, ready.sampling, verifier, seed=ready.config.seed)


@torch.no_grad()
def _as_sampled(ready: LanguageReady, found: Batch) -> Check:
    """Whether the model gives its own attempts the log-probabilities with which they were sampled."""
    learner = ready.method.learner
    batch = found.to(learner.device)
    training = learner.training
    learner.eval()
    tokens = acted(learner(batch), batch)
    learner.train(training)
    apart = float((tokens.log_probs - tokens.old_log_probs).abs().max())
    good = apart <= (DRIFT if learner.head.weight.dtype == torch.float32 else ROUNDED_DRIFT)
    words = f"Rollouts were sampled with the log-probabilities that the learner gives them, to {apart:.1g}"
    return Check("sampling", "ok" if good else "warn", f"{words}." if good else f"{words}; what they teach is off.")


def _start(found: Batch) -> Check:
    """Whether the learner's first attempts are of different worth, without which nothing is learned from them."""
    reward = found["reward"]
    if float(reward.max()) > float(reward.min()):
        right = int(found["correct"].sum())
        return Check("start", "ok", f"{right} of the learner's first {found.size} attempts are right.")
    return Check(
        "start",
        "warn",
        f"All of the learner's first {found.size} attempts are worth {float(reward[0]):g}, and attempts that are worth "
        "the same teach nothing. Teach it by sft first, as warm:STEPS:SPEC does, or ask easier questions.",
    )


def _memory(ready: LanguageReady) -> Iterator[Check]:
    device = find_device(ready.config.device)
    need = needed(
        ready.method.learner,
        others=_others(ready),
        optimizer=ready.optimizer.name,
        rows=ready.config.micro_batch or ready.config.batch_size,
        length=min(_longest_row(ready), ready.method.learner.context),
        slots=ready.sampling.slots if isinstance(ready.method.feed, RolloutFeed) else 0,
    )
    there = free_memory(device)
    words = f"About {_size(need.total)} are needed: {_shares(need)}"
    if there is None:
        yield Check("memory", "ok", f"{words}. How much is free on {device} is not known.")
        return
    level: Level = "fail" if need.total > 1.5 * there else "warn" if need.total > 0.8 * there else "ok"
    advice = " Lower micro_batch, slots or max_new_tokens, or teach a smaller model or lora:8:hf:DIR."
    yield Check("memory", level, f"{words}; {_size(there)} are free on {device}.{'' if level == 'ok' else advice}")


def _others(ready: LanguageReady) -> list[torch.nn.Module]:
    """The models that are only asked: teachers and references, each once."""
    found = [part.learner for part in ready.method.parts().values() if isinstance(part, LanguageTeacher)]
    return list({id(model): model for model in found}.values())


def _longest_row(ready: LanguageReady) -> int:
    if isinstance(ready.method.feed, RolloutFeed):
        return _longest_prompt(ready) + ready.sampling.max_new_tokens
    batches = itertools.islice(ready.source, 4)
    return max(batch["input_ids"].shape[1] for batch in batches)


def _shares(need: Need) -> str:
    parts = {f.name: getattr(need, f.name) for f in dataclasses.fields(need)}
    return ", ".join(f"{name} {_size(amount)}" for name, amount in parts.items() if amount)


def _size(amount: float) -> str:
    return f"{amount / (1 << 30):.1f} GiB" if amount >= 1 << 30 else f"{amount / (1 << 20):.1f} MiB"
