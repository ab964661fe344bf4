"""Checks of a run on questions before any compute is spent on it."""

from collections.abc import Iterator

from didact import catalogue
from didact.errors import ConfigError, DataError, TeacherError
from didact.experiment.checking import Check, run_checks
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.materials.questions.conversations import check_read
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of, same_tokens
from didact.parts.environment import environment_of
from didact.teachers.remote.base import RemoteTeacher
from didact.teachers.remote.judge import JudgeVerifier
from didact.types import Question, RolloutFeed

_ADDED = 64
"""Tokens that a chat template may add to an answer."""
_PROBE = "The 2 quick-brown foxes: 37+85=122, \\boxed{x}.\n\tdef f(n): return 'ß€'"
"""A text that tokenizers split differently."""


def refusals(run: Run[QuestionData]) -> Iterator[Check]:
    """Check the verifier, sampling, the engine and environment, tokenizers, columns, lengths, and completions."""
    stages = {
        "verifier": _verifier,
        "sampling": _sampling,
        "engine": _engine,
        "environment": _environment,
        "server": _servers,
        "tokenizers": _tokenizers,
        "columns": check_read,
        "context": _lengths,
        "completions": _completions,
    }
    return run_checks(stages, run)


def _verifier(run: Run[QuestionData]) -> None:
    """Check that a required verifier is given, and that it can check every question."""
    if run.verifier is None and getattr(run.info.method_type.feed, "rewards", None) == "verifier":
        raise ConfigError(
            f"verifier is not given, but the method {run.info.name!r} learns from rewards; give one, such as exact, "
            "numeric or package.module:function, or from Python a function of a text and a question."
        )
    by_step = isinstance(run.method.feed, RolloutFeed) and run.method.feed.steps
    if by_step and not (run.verifier and run.verifier.by_step):
        raise ConfigError(
            f"supervision is 'process', but the verifier {run.config.verifier or run.verifier} rewards completions as "
            "a whole; give one that rewards steps, such as process:runs/NAME or package.module:function, or leave out "
            "supervision."
        )
    if run.verifier is not None:
        for part in run.data.splits.values():
            run.verifier.check(part)
    for role, part in run.parts.items():
        for warm_start in part.warm_starts:
            if warm_start.goal and not (run.verifier and len(run.data.validation)):
                lacks = "validation questions" if run.verifier else "a verifier"
                raise ConfigError(
                    f"{role} is {warm_start.spec!r}, but without {lacks} nobody can tell when it is right often "
                    "enough; give some, or a number of steps, as in warm:500:decoder:4x128."
                )


def _sampling(run: Run[QuestionData]) -> None:
    """Check that completions of a prompt can differ, for methods that compare them."""
    sampling, name = run.config.sampling, run.info.name
    if not getattr(run.method.feed, "grouped", False):
        return
    if sampling.samples == 1:
        raise ConfigError(
            f"sampling's samples is 1, but the method {name!r} compares completions of the same prompt, so that a "
            "single one teaches nothing; give samples=8 or the like, and a batch_size that is a multiple of it."
        )
    if not sampling.varied:
        values = (f"{option} is {getattr(sampling, option):g}" for option in ("temperature", "top_k", "min_p"))
        raise ConfigError(
            f"sampling's {', '.join(values)}, by which all completions of a prompt are the same, but the method "
            f"{name!r} learns from how they compare; give temperature=1, and leave out top_k and min_p."
        )


def _engine(run: Run[QuestionData]) -> None:
    """Check that the method may learn from rollouts of the engine."""
    engine, feed, name = run.config.engine, run.method.feed, run.info.name
    if engine.exact:
        return
    if not isinstance(feed, RolloutFeed):
        raise ConfigError(f"engine is {engine.kind!r}, but the method {name!r} samples nothing; leave out engine.")
    what = f"engine is {engine.kind!r} with behind={engine.behind}"
    if feed.off_policy == "refused":
        able = [info.name for info in catalogue.listing() if info.feed.get("off_policy") in ("weighted", "free")]
        raise ConfigError(
            f"{what}, whose completions are not exactly the student's, but the method {name!r} does not correct for "
            f"that; leave out engine, or use {' or '.join(able)}."
        )
    if engine.url and engine.reload == "none" and feed.rewards is not None:
        raise ConfigError(
            f"{what} and reload=none, so that the server keeps its first weights, but the method {name!r} learns from "
            "rewards of the present ones; give reload=vllm or reload=sglang."
        )
    if engine.behind and feed.completions:
        raise ConfigError(f"{what}, but the method {name!r} with these options also learns the data's completions.")


def _environment(run: Run[QuestionData]) -> None:
    """Check that the method can have turns."""
    kind, feed = run.config.environment.kind, run.method.feed
    if not kind:
        return
    environment_of(kind)
    if isinstance(feed, RolloutFeed) and feed.steps:
        raise ConfigError(
            f"environment is {kind!r} and supervision 'process', but steps are those of completions of one turn; leave "
            "out one of the two."
        )
    if not isinstance(feed, RolloutFeed) or feed.completions:
        raise ConfigError(
            f"environment is {kind!r}, but the method {run.info.name!r} with these options learns completions of the "
            "data, which have one turn; leave out environment, or use grpo."
        )
    if not run.config.engine.exact:
        raise ConfigError(
            f"environment is {kind!r} and engine {run.config.engine.kind!r}, but only the student itself can take "
            "turns with an environment yet; leave out engine."
        )


def _servers(run: Run[QuestionData]) -> None:
    """Check that teachers and judges behind servers are there."""
    for part in run.advisers:
        if isinstance(part, RemoteTeacher | JudgeVerifier):
            part.connect()


def _tokenizers(run: Run[QuestionData]) -> None:
    """Check that the teachers' tokenizers are the student's, or that the method can align them."""
    mine = run.student.model.tokenizer
    for teacher in () if same_tokens(run) else run.teachers:
        if model_of(teacher.model) is None:
            raise ConfigError(
                f"teacher is {teacher.spec!r}, but the method {run.info.name!r} reads the teacher's own tokens, which "
                "only a model can be asked about, and no cache, server or control; give the model itself, such as "
                "hf:DIRECTORY, or the method taid with a cache of the student's tokens."
            )
    for teacher in run.teachers if same_tokens(run) else ():
        model = model_of(teacher.model)
        if model is None:
            continue
        theirs = model.tokenizer
        if mine.encode(_PROBE) != theirs.encode(_PROBE) or mine.eos != theirs.eos:
            raise TeacherError(
                "The student and the teacher have different tokenizers, so that their token ids mean different things; "
                f"the method {run.info.name!r} needs the same one. Choose a teacher of the student's family"
                f"{_aligning()}."
            )


def _aligning() -> str:
    """The methods that work with any tokenizer, as advice."""
    found = [info.name for info in catalogue.listing() if info.feed.get("tokenizers") == "any"]
    return f", or the method {' or '.join(found)}" if found else ""


def _lengths(run: Run[QuestionData]) -> None:
    """Check that prompts leave room for a completion, and that training completions fit after them."""
    feed = run.method.feed
    new = run.config.sampling.max_new_tokens if isinstance(feed, RolloutFeed) else 1
    learned = not isinstance(feed, RolloutFeed) or feed.completions
    for role, part in run.parts.items():
        model = model_of(part.model)
        if model is not None:
            _check_room(role, model, new)
            for question in (question for split in run.data.splits.values() for question in split):
                _check_length(role, model, question, new, learned)


def _check_room(role: str, model: CausalLearner, new: int) -> None:
    if model.context <= new:
        raise ConfigError(
            f"sampling's max_new_tokens is {new}, but the {role} reads {model.context} tokens at most, the prompt "
            f"included; lower it, or give a {role} with a longer context."
        )


def _check_length(role: str, model: CausalLearner, question: Question, new: int, learned: bool) -> None:
    """Refuse a prompt that leaves no room for `new` tokens, or for its completion in the data."""
    length = len(model.tokenizer.prompt(question))
    if length > model.context - new:
        raise DataError(
            f"The prompt {question.prompt[:60]!r} has {length} tokens, but the {role} reads {model.context} at most "
            f"and {new} of them are for the answer; leave such prompts out, or give a {role} with a longer context."
        )
    for text in (question.completion or "", question.rejected or "") if learned else ():
        # No tokenizer makes more tokens than bytes, and templates add few, so most completions need not be encoded.
        if length + len(text.encode(errors="replace")) + _ADDED <= model.context:
            continue
        whole = length + len(model.tokenizer.completion(question, text))
        if whole > model.context:
            raise DataError(
                f"The prompt {question.prompt[:60]!r} has {whole} tokens with its answer, but the {role} reads "
                f"{model.context} at most; leave such questions out, or give a {role} with a longer context."
            )


def _completions(run: Run[QuestionData]) -> None:
    """Check that every question has a completion, if a part of the run learns from them."""
    feed, data = run.method.feed, run.data
    users = [f"The {role} is trained first on" for role, part in run.parts.items() if part.warm_starts]
    splits = [data.train]
    if isinstance(feed, RolloutFeed) and feed.completions:
        users.append(f"The method {run.info.name!r}, with these options, learns from")
    if not isinstance(feed, RolloutFeed):
        users.append(f"The method {run.info.name!r} learns from, and is evaluated on,")
        splits += [data.validation, data.test]
    lacking = next((question for part in splits for question in part if not question.answered), None)
    if users and lacking is not None:
        state = "no" if lacking.completion is None else "an empty"
        raise DataError(
            f"{users[0]} the data's own answers, but the question {lacking.prompt[:60]!r} has {state} completion; give "
            "each question one, or leave that question out."
        )
