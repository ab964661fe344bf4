"""Checks of what models and methods read of the data, and a rendered example."""

from collections.abc import Iterator, Sequence

from didact.errors import ConfigError, DataError
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.learners.tokenizers import HubTokens, Tokens, answer_message
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of
from didact.types import CompletionFeed, Question, RolloutFeed

DETAILS = ("name", "tool_call_id", "id")
"""Keys of messages that chat templates may ignore; this is noted, not refused."""


def check_read(run: Run[QuestionData]) -> None:
    """Refuse data with meaningful parts that a model or the method would not read.

    Raises:
        DataError: a chat template drops tools, tool calls, reasoning or messages; the method would learn undesirable
            completions; or it needs prompts, and the data are texts.
        ConfigError: an option of the data that the method cannot use.
    """
    _check_options(run)
    feed = run.method.feed
    warmed = any(part.warm_starts for part in run.parts.values())
    learned = not isinstance(feed, RolloutFeed) or feed.completions or warmed
    reads_labels = isinstance(feed, RolloutFeed) and feed.unpaired and not warmed
    reads_steps = isinstance(feed, CompletionFeed) and feed.steps and not warmed
    for question in (question for part in run.data.splits.values() for question in part):
        if learned and question.label is False and not reads_labels:
            raise DataError(
                f"The question {question.prompt[:60]!r} has a completion whose label is false, but the method "
                f"{run.info.name!r} would learn it as a good one; remove such rows, or use kto, without a warm "
                "start."
            )
        if learned and not reads_steps and any(label < 1 for _, label in question.steps):
            raise DataError(
                f"The question {question.prompt[:60]!r} has a completion with wrong steps, but the method "
                f"{run.info.name!r} would learn them as good ones; remove such rows, or use reward_model with "
                "supervision=process, without a warm start."
            )
        if question.reply and not isinstance(feed, CompletionFeed) and learned:
            raise DataError(
                f"The completion of {question.prompt[:60]!r} has {' and '.join(question.reply)}, which the method "
                f"{run.info.name!r} would not learn; use sft, or remove such rows."
            )
        if not question.prompt and not question.messages and isinstance(feed, RolloutFeed):
            raise DataError(
                f"The data are texts without prompts, but the method {run.info.name!r} samples completions of prompts; "
                "give prompts or messages."
            )
    for role, name, question in _unread(run):
        if name not in DETAILS:
            raise DataError(
                f"The question {question.prompt[:60]!r} has {name}, which the {role} {_config(run, role)!r} would not "
                "read: it has no chat template that renders them. Use a model whose chat template does, or remove them "
                "from the data."
            )


def _check_options(run: Run[QuestionData]) -> None:
    data, feed, name = run.config.data, run.method.feed, run.info.name
    alone = isinstance(feed, CompletionFeed) and not (feed.pairs or feed.steps) and feed.tokenizers == "same"
    if data.turns == "all" and not alone:
        raise ConfigError(f"turns is 'all', but the method {name!r} learns only the last turn; leave out turns.")
    if data.packing is not None and not (alone and not feed.coupled):
        raise ConfigError(
            f"packing is {data.packing}, but the method {name!r} needs a row for each completion; leave out packing."
        )
    if data.packing is not None and any(question.weight != 1.0 for question in run.data.train):
        raise ConfigError(
            f"packing is {data.packing}, but packed rows cannot be sampled by the shares of the data; leave out "
            "packing, or the shares."
        )


def unread_details(run: Run[QuestionData]) -> Iterator[str]:
    """Sentences on rejected completions that the method does not read, and on what a chat template ignores."""
    feed = run.method.feed
    if isinstance(feed, CompletionFeed) and not feed.pairs and any(q.rejected is not None for q in run.data.train):
        yield f"The method {run.info.name} learns the chosen completions; the rejected ones are not read."
    for role, name, _ in _unread(run):
        if name in DETAILS:
            yield f"The {role}'s chat template does not render the {name!r} of messages."


def _config(run: Run[QuestionData], role: str) -> str:
    model = model_of(run.parts[role].model)
    return "" if model is None else model.config


def _unread(run: Run[QuestionData]) -> Iterator[tuple[str, str, Question]]:
    """What each model would not read, with the first question that has it; one question of each kind is tried."""
    kinds: dict[frozenset[str], Question] = {}
    for part in run.data.splits.values():
        for question in part:
            kinds.setdefault(_kind(question), question)
    for role, part in run.parts.items():
        if (model := model_of(part.model)) is None:
            continue
        seen = set[str]()
        for question in kinds.values():
            for name in _left_out(model.tokenizer, question):
                if name not in seen:
                    seen.add(name)
                    yield role, name, question


def _kind(question: Question) -> frozenset[str]:
    """The roles and keys of the messages of a conversation, and whether it has tools."""
    messages = [*question.messages, *([answer_message(question)] if question.answered else [])]
    found = {f"{message['role']}.{key}" for message in messages if question.messages for key in message}
    return frozenset(found | ({"tools"} if question.tools else set()) | ({"reply"} if question.reply else set()))


def _left_out(tokenizer: Tokens, question: Question) -> tuple[str, ...]:
    answer = answer_message(question) if question.answered else None
    if isinstance(tokenizer, HubTokens) and tokenizer.template is not None:
        return tokenizer.template.unread(question, answer) if question.messages else ()
    keys = {key for one in (*question.messages, answer or {}) for key in one} - {"role", "content"}
    return (*(["tools"] if question.tools else []), *sorted(keys))


def rendered_example(run: Run[QuestionData]) -> str:
    """The first training question as the student reads it, with the learned tokens between ⟦ and ⟧."""
    model: CausalLearner = run.student.model
    question: Question = run.data.train[0]
    feed = run.method.feed
    if isinstance(feed, RolloutFeed) and not (feed.completions and question.answered):
        return mark_learned(model.tokenizer, model.tokenizer.prompt(question), [])
    if run.config.data.turns == "all":
        return mark_learned(model.tokenizer, *model.tokenizer.turns(question))
    prompt, answer = model.tokenizer.prompt(question), model.tokenizer.completion(question)
    return mark_learned(model.tokenizer, [*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


def mark_learned(tokenizer: Tokens, ids: Sequence[int], learned: Sequence[bool]) -> str:
    """Tokens as text, with special tokens, and with ⟦ and ⟧ around those that are learned.

    Args:
        tokenizer: their tokenizer.
        ids: the ids, T of them.
        learned: for each whether it is learned; if shorter, the remaining ones are not.
    """
    flags = [*learned, *[False] * (len(ids) - len(learned))]
    words, start = "", 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or flags[place] != flags[start]:
            text = tokenizer.decode(ids[start:place], special=True)
            words += f"⟦{text}⟧" if flags[start] else text
            start = place
    return words
