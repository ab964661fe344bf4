"""The doctor's trials of a run on questions: a few short completions are sampled, and nothing is trained."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import torch

from didact import hashing
from didact.experiment.checking import Check, Level, gradient_check, run_checks
from didact.experiment.material import Run, remarks_of
from didact.learners.causal import CausalLearner, describe_causal
from didact.loop.devices import find_device, free_memory, resident_memory
from didact.losses.policy.outputs import policy_outputs
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import select_tokens
from didact.materials.questions import endings, teaching, texts
from didact.materials.questions.conversations import rendered_example, unread_details
from didact.materials.questions.data import QuestionData
from didact.materials.questions.memory import MemoryEstimate, estimate_memory
from didact.materials.questions.models import model_of, other_vocabulary, same_tokens
from didact.rollouts import Writer
from didact.teachers import FunctionVerifier, LanguageTeacher, Verifier, try_verifier
from didact.teachers.verifiers import PythonVerifier, strength
from didact.types import Batch, RolloutFeed, States

TRIED = 4
"""Questions in a trial."""
TOLERANCE = 1e-4
"""Maximal divergence of a model from itself, in nats per token."""
EXAMPLE = 2000
"""Characters of the rendered example."""
DRIFT, ROUNDED_DRIFT = 0.01, 0.5
"""Maximal deviation of a token's log-probability from that at sampling: in float32, and in half precision."""


def trials(run: Run[QuestionData]) -> Iterator[Check]:
    """Check evaluation, tokenizers, context, verifier, teacher, student and memory."""
    # Building an optimizer loads the libraries that a run has. The trials' freed memory may stay with the process.
    run.config.optimizer.build([torch.nn.Parameter(torch.zeros(1))])
    resident = resident_memory(find_device(run.config.loop.device))
    stages = {
        "evaluation": _evaluation,
        "tokenizer": _tokenizer,
        "texts": texts.checks,
        "ends": endings.checks,
        "context": _context,
        "verifier": _verifier,
        "teacher": _teacher,
        "teaching": teaching.checks,
        "student": _student,
        "memory": lambda run: _memory(run, resident),
    }
    return run_checks(stages, run)


def _evaluation(run: Run[QuestionData]) -> Iterator[Check]:
    if not run.evaluator.metric:
        yield Check(
            "warn",
            "evaluation",
            "There is no verifier, not every question has a completion, and there is no teacher to compare with: the "
            "student's completions are kept for the report, but no metric scores them.",
        )


def _models(run: Run[QuestionData]) -> dict[str, CausalLearner]:
    """The language models by their roles."""
    found = {role: model_of(part.model) for role, part in run.parts.items()}
    return {role: model for role, model in found.items() if model is not None}


def _tokenizer(run: Run[QuestionData]) -> Iterator[Check]:
    for role, model in _models(run).items():
        yield _described(role, model)
    yield _template(run)
    yield Check("pass", "example", f"The first training question, ⟦learned⟧: {_shortened(rendered_example(run))!r}.")
    for sentence in unread_details(run):
        yield Check("warn", "columns", sentence)
    if run.teacher is None:
        return
    if not same_tokens(run):
        yield Check("pass", "tokenizers", f"The method {run.info.name} aligns the teacher's tokens with the student's.")
    elif (words := other_vocabulary(run)) is not None:
        yield Check("warn", "tokenizers", words)
    else:
        yield Check("pass", "tokenizers", "Student and teacher have the same token ids.")


def _shortened(text: str) -> str:
    """A text without its middle, where it is long."""
    half = EXAMPLE // 2
    return text if len(text) <= EXAMPLE else f"{text[:half]} [...] {text[-half:]}"


def _described(role: str, model: CausalLearner) -> Check:
    found = describe_causal(model)
    own, scored = found["tokenizer_vocabulary"], found["head_vocabulary"]
    words = [f"{model.config}: {own:,} token ids"]
    if scored > own:
        words.append(f"{scored - own:,} more in the head are unused")
    ends = [f"{i} ({name})" if (name := model.tokenizer.decode([i], special=True)) else str(i) for i in found["ends"]]
    padding = "which pads them too" if found["ends"] == [found["pad"]] else f"and are padded with {found['pad']}"
    words.append(f"completions end with {' or '.join(ends)}, {padding}")
    if found["softcap"] is not None:
        words.append(f"logits are capped at {found['softcap']:g}")
    if found["scale"] != 1.0:
        words.append(f"logits are multiplied by {found['scale']:.3g}")
    return Check("pass", "tokenizer", f"{role.capitalize()} {'; '.join(words)}.")


def _template(run: Run[QuestionData]) -> Check:
    chats = any(question.messages for question in run.data.train)
    known = run.method.learner.tokenizer.chat_template
    if chats and not known:
        return Check(
            "warn",
            "chat",
            "The questions are conversations, but the student's tokenizer has no chat template: the prompt has lines "
            "such as 'user: ...'.",
        )
    if known and not chats:
        return Check(
            "warn",
            "chat",
            "The student's tokenizer has a chat template, but the questions are plain prompts, which are not put into "
            "it; a model that was tuned on conversations needs messages.",
        )
    return Check("pass", "chat", "Conversations go through the chat template." if chats else "Prompts are plain text.")


def _context(run: Run[QuestionData]) -> Iterator[Check]:
    student, longest = run.method.learner, _longest_prompt(run)
    if not isinstance(run.method.feed, RolloutFeed):
        yield Check("pass", "context", f"Prompts of up to {longest} tokens, in a context of {student.context:,}.")
        return
    new = run.config.sampling.max_new_tokens
    words = f"Prompts of up to {longest} tokens and answers of up to {new}, in a context of {student.context:,}."
    yield Check("pass", "context", words)
    written = [len(student.tokenizer.completion(q)) for q in run.data.train[:1000] if q.answered]
    if cut := sum(length > new for length in written):
        yield Check(
            "warn",
            "answers",
            f"{cut / len(written):.0%} of the data's own completions are longer than max_new_tokens = {new}, so the "
            f"student cannot finish such completions; the longest has {max(written)} tokens.",
        )


def _longest_prompt(run: Run[QuestionData]) -> int:
    encode = run.method.learner.tokenizer.prompt
    return max(len(encode(question)) for part in run.data.splits.values() for question in part)


def _verifier(run: Run[QuestionData]) -> Iterator[Check]:
    verifier = run.verifier
    if verifier is None:
        yield Check("pass", "verifier", "None: completions have no reward, and are only compared.")
        return
    if any(isinstance(part, PythonVerifier) for part in _parts(verifier)):
        found = strength()
        yield Check("pass" if found.strong else "warn", "sandbox", str(found))
    complaints = try_verifier(verifier, run.data.train)
    for complaint in complaints:
        words = f"{complaint.words} Correct it, or take another one: a student learns whatever it pays for."
        yield Check("fail" if complaint.grave else "warn", "verifier", words)
    if not complaints:
        yield Check("pass", "verifier", f"{verifier} distinguishes known good answers from bad ones.")


def _parts(verifier: Verifier) -> Iterator[Verifier]:
    yield verifier
    for part in getattr(verifier, "parts", ()):
        yield from _parts(part)


def _teacher(run: Run[QuestionData]) -> Iterator[Check]:
    for adviser in run.advisers:
        yield from (Check("pass", "server", words) for words in remarks_of(adviser))
    for role, model in _models(run).items():
        yield _self_taught(role, model, run)
    for role, part in run.parts.items():
        if part.warm_starts:
            yield Check("pass", role, f"{part.spec} will be trained first, on the data's own completions.")


@torch.no_grad()
def _self_taught(role: str, model: CausalLearner, run: Run[QuestionData]) -> Check:
    questions = run.data.train[:TRIED]
    texts = [question.completion or question.answer or "1" for question in questions]
    batch = Writer(model, run.config.sampling).encode(questions, texts).batch.to(model.device)
    training = model.training
    # A student that keeps its dropout is compared with nobody while it learns.
    learns = role == "student" and run.config.dropout != "on" and not getattr(run.method.feed, "dropout", False)
    model.train(learns)
    rows = select_tokens(model(batch), batch)
    model.eval()
    again = select_tokens(model(batch), batch)
    model.train(training)
    same = States(hidden=again.hidden, head=again.head)
    apart = abs(float(token_divergence(rows.hidden, rows.head, same, kind="jsd").mean()))
    good = math.isfinite(apart) and apart <= TOLERANCE
    words = f"The divergence of the {role}{' in training mode' if learns else ''} from itself is {apart:.1g}"
    advice = "; it must be 0. Look for weights that are not finite, and for dropout or other draws in its code"
    return Check("pass" if good else "fail", "self-taught", f"{words}{'' if good else advice}.")


def _student(run: Run[QuestionData]) -> Iterator[Check]:
    method, writes = run.method, isinstance(run.method.feed, RolloutFeed)
    batch = _trial_batch(run)
    method.learner.train()
    size = sum(p.numel() for p in method.delivered.parameters())
    yield gradient_check(method, batch, f"{run.config.student}, {size:,} parameters")
    if not writes:
        return
    found = _writer(run, run.verifier).write(run.data.train[:TRIED]).batch
    yield _as_sampled(run, found)
    if getattr(method.feed, "rewards", None) == "verifier" and not run.student.warm_starts:
        yield _start(found)


def _trial_batch(run: Run[QuestionData]) -> Batch:
    """A training batch of a few rows, on the device of the student; the widest of four, if the data give them."""
    method = run.method
    if not isinstance(method.feed, RolloutFeed):
        widest = max(itertools.islice(run.source, 4), key=lambda batch: batch["input_ids"].shape[1])
        return widest.split(TRIED)[0].to(method.learner.device)
    # Rollouts of equal reward give no gradient, so every second one is rewarded here, whatever it is.
    reward = itertools.cycle((1.0, 0.0))
    coin = FunctionVerifier(lambda _text, _question: next(reward)) if run.verifier is not None else None
    return method.collect(run.data.train[:TRIED], _writer(run, coin)).check().to(method.learner.device)


def _writer(run: Run[QuestionData], verifier: Verifier | None) -> Writer:
    return Writer(
        run.method.learner, run.config.sampling, verifier, seed=hashing.stream(run.config.order_seed, "samples")
    )


@torch.no_grad()
def _as_sampled(run: Run[QuestionData], found: Batch) -> Check:
    """Check that the model gives its own rollouts, in training mode, their log-probabilities when they were sampled."""
    student = run.method.learner
    batch = found.to(student.device)
    training = student.training
    student.train()
    tokens = policy_outputs(student(batch), batch)
    student.train(training)
    apart = float((tokens.log_probs - tokens.old_log_probs).abs().max())
    good = apart <= (DRIFT if student.head.weight.dtype == torch.float32 else ROUNDED_DRIFT)
    words = f"Rollouts were sampled with the log-probabilities that the student gives them, to {apart:.1g}"
    advice = " Leave out dropout=on." if run.config.dropout == "on" else ""
    return Check(
        "pass" if good else "warn", "sampling", f"{words}." if good else f"{words}; their gradient is biased.{advice}"
    )


def _start(found: Batch) -> Check:
    """Check that the rewards of the student's first rollouts differ, since equal rewards give no gradient."""
    reward = found["reward"]
    if float(reward.max()) > float(reward.min()):
        right = int(found["correct"].sum())
        return Check("pass", "start", f"{right} of the student's first {found.size} rollouts are right.")
    return Check(
        "warn",
        "start",
        f"All of the student's first {found.size} rollouts have the reward {float(reward[0]):g}, and equal rewards "
        "give no gradient. Train it by sft first, as warm:STEPS:SPEC does, or use easier questions.",
    )


def _memory(run: Run[QuestionData], resident: int) -> Iterator[Check]:
    device, sampling, batch = find_device(run.config.loop.device), run.config.sampling, _trial_batch(run)
    writes = isinstance(run.method.feed, RolloutFeed)
    longest = _longest_prompt(run) + sampling.max_new_tokens if writes else batch["input_ids"].shape[1]
    run.method.learner.train()
    need = estimate_memory(
        run.method,
        batch,
        others=_others(run),
        optimizer=run.config.optimizer.name,
        rows=run.config.loop.micro_batch or run.config.batches.size,
        length=min(longest, run.method.learner.context),
        slots=sampling.slots if writes else 0,
        summed=(run.config.loop.micro_batch or run.config.batches.size) < run.config.batches.size,
        resident=resident,
    )
    there = free_memory(device)
    words = f"About {_size(need.total)} are needed: {_shares(need)}"
    if there is None:
        yield Check("pass", "memory", f"{words}. How much is free on {device} is not known.")
        return
    # What this process has already is not free, but is needed.
    there += resident
    level: Level = "fail" if need.total > 1.5 * there else "warn" if need.total > 0.8 * there else "pass"
    advice = " Lower micro_batch, slots or max_new_tokens, or train a smaller model or lora:8:hf:DIR."
    yield Check(level, "memory", f"{words}; {_size(there)} are there on {device}.{'' if level == 'pass' else advice}")


def _others(run: Run[QuestionData]) -> list[torch.nn.Module]:
    """The models used for inference only: teachers and references, each once."""
    found = [part.learner for part in run.method.parts().values() if isinstance(part, LanguageTeacher)]
    return list({id(model): model for model in found}.values())


def _shares(need: MemoryEstimate) -> str:
    parts = {f.name: getattr(need, f.name) for f in dataclasses.fields(need)}
    return ", ".join(f"{name} {_size(amount)}" for name, amount in parts.items() if amount)


def _size(amount: float) -> str:
    return f"{amount / (1 << 30):.1f} GiB" if amount >= 1 << 30 else f"{amount / (1 << 20):.1f} MiB"
