"""What is refused of a run of a language model before any compute is spent on it."""

from collections.abc import Sequence
from typing import Any

from didact import catalogue
from didact.catalogue import MethodInfo
from didact.errors import ConfigError, DataError, TeacherError
from didact.experiment.language_data import LanguageData
from didact.learners import causal
from didact.rollouts import Sampling
from didact.types import Question, RolloutFeed

_TOKENIZER_PROBE = "The 2 quick-brown foxes: 37+85=122, \\boxed{x}.\n\tdef f(n): return 'ß€'"


def check_lengths(
    name: str, model: Any, data: LanguageData, sampling: Sampling, info: MethodInfo, options: Any
) -> None:
    """Refuse prompts that leave no room for an answer, and answers to learn from that do not fit."""
    if not isinstance(model, causal.CausalLearner):
        return
    attempts = isinstance(info.method_type.feed, RolloutFeed)
    learned = not attempts or _keeps_answers(options)
    room = model.context - (sampling.max_new_tokens if attempts else 1)
    if room < 1:
        raise ConfigError(
            f"sampling's max_new_tokens is {sampling.max_new_tokens}, but the {name} reads {model.context} tokens at "
            f"most, the prompt included; lower it, or give a {name} with a longer context."
        )
    for part in (data.train, data.validation, data.test):
        for question in part:
            length = len(model.tokenizer.prompt(question))
            if length > room:
                raise DataError(
                    f"The prompt {question.prompt[:60]!r} has {length} tokens, but the {name} reads {model.context} "
                    f"at most and {model.context - room} of them are for the answer; leave such prompts out, or give "
                    f"a {name} with a longer context."
                )
            if learned:
                _check_answers(name, model, question, length)


def _keeps_answers(options: Any) -> bool:
    """Whether a method that learns from attempts learns from the data's answers too."""
    return getattr(options, "on_policy", 1.0) < 1.0 or getattr(options, "supervised", 0.0) > 0.0


def _check_answers(name: str, model: Any, question: Question, length: int) -> None:
    """Refuse an answer to learn from that does not fit behind its prompt of so many tokens."""
    for text in (question.completion or "", question.rejected or ""):
        # No tokenizer makes more tokens than there are bytes, so that most answers need not be looked at.
        if length + len(text.encode(errors="replace")) + 1 <= model.context:
            continue
        whole = length + len(model.tokenizer.completion(text))
        if whole > model.context:
            raise DataError(
                f"The prompt {question.prompt[:60]!r} has {whole} tokens with its answer, but the {name} reads "
                f"{model.context} at most; leave such questions out, or give a {name} with a longer context."
            )


def check_completions(data: LanguageData, info: MethodInfo, options: Any, taught: Sequence[str]) -> None:
    """Refuse questions without an answer to learn from, where a part of the run learns from the data's answers.

    Args:
        data: the run's.
        info: of the method.
        options: its `Config`.
        taught: the roles of models that are trained first.
    """
    users = [f"The {role} is trained first on" for role in taught]
    parts = [data.train]
    if _keeps_answers(options):
        name = "on_policy" if hasattr(options, "on_policy") else "supervised"
        users.append(f"{name} is {getattr(options, name):g}, so that the run learns from")
    if not isinstance(info.method_type.feed, RolloutFeed):
        users.append(f"The method {info.name!r} learns from, and is judged by,")
        parts += [data.validation, data.test]
    lacking = next((question for part in parts for question in part if not question.completion), None)
    if users and lacking is not None:
        state = "no" if lacking.completion is None else "an empty"
        raise DataError(
            f"{users[0]} the data's own answers, but the question {lacking.prompt[:60]!r} has {state} completion; give "
            "each question one, or leave that question out."
        )


def check_tokenizers(learner: Any, teacher: Any, info: MethodInfo) -> None:
    """Refuse a teacher whose ids mean something else, unless the method aligns them."""
    mine, theirs = learner.tokenizer, getattr(teacher, "tokenizer", None)
    if theirs is None:
        raise TeacherError(f"teacher is a {type(teacher).__name__}, which has no tokenizer; give a CausalLearner.")
    if info.method_type.feed.tokenizers == "any":
        return
    if mine.encode(_TOKENIZER_PROBE) != theirs.encode(_TOKENIZER_PROBE) or mine.eos != theirs.eos:
        others = [n for n in catalogue.names() if catalogue.find(n).family == "language"]
        aligning = [name for name in others if catalogue.find(name).method_type.feed.tokenizers == "any"]
        raise TeacherError(
            "The learner and the teacher have different tokenizers, so that their token ids mean different things; "
            f"the method {info.name!r} needs the same one. Choose a teacher of the learner's family"
            + (f", or the method {' or '.join(aligning)}." if aligning else ".")
        )
