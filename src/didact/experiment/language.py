"""Runs of language models: questions in the place of examples, attempts, verifiers."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from didact import catalogue
from didact.catalogue import MethodInfo
from didact.errors import ConfigError, nearest
from didact.experiment.config import RunConfig
from didact.experiment.keeping import Keeper
from didact.experiment.language_checks import check_completions, check_lengths, check_tokenizers
from didact.experiment.language_data import LanguageData, open_questions
from didact.experiment.language_judging import LanguageJudge
from didact.experiment.language_models import RATES, Beginning, completions, model_of
from didact.experiment.preparing import optimizer_of
from didact.learners.decoder import Decoder
from didact.loop import Budget, OptimizerConfig
from didact.loop.devices import find_device
from didact.options import convert
from didact.rollouts import Sampling, Writer, rollout_rounds
from didact.teachers import FunctionVerifier, LanguageTeacher, Verifier, verifier_of
from didact.types import CompletionFeed, Cost, Method, RolloutFeed, Source

DEFAULT = "decoder:4x128"
"""The learner that `auto` stands for."""


@dataclass
class LanguageReady:
    """A run of a language model that is ready to begin."""

    config: RunConfig
    """With everything resolved."""
    info: MethodInfo
    options: Any
    """The method's `Config`."""
    data: LanguageData
    sampling: Sampling
    verifier: Verifier | None
    learner: Any
    teachers: tuple[Any, ...]
    """Several for methods that learn from several."""
    budget: Budget
    optimizer: OptimizerConfig
    teacher_cost: Cost = field(default_factory=Cost)
    """What training the teacher and the learner's beginning here has cost."""
    method: Method = field(init=False)
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what the method, its source and the budget do not allow."""
        self.assemble()
        self.budget.check_source(self.source.epoch_size, self.source.labels)
        if self.config.select == "best" and not self.judge().watched:
            raise ConfigError(
                "select is 'best', but there is nothing to judge the learner by while it learns; give a verifier, a "
                "completion for each question, or select='last'."
            )

    def assemble(self) -> None:
        """Make the method and its source of the parts as they are now."""
        self.method = _method(self)
        self.source = _source(self)

    def judge(self) -> "LanguageJudge":
        """Who judges it."""
        return LanguageJudge(self)

    @property
    def teacher(self) -> Any | None:
        """The only one; None where there is none, or several."""
        return self.teachers[0] if len(self.teachers) == 1 else None

    def examiner(self) -> Verifier | None:
        """Who tells how good a model is before the run begins; what it is asked is not counted as the run's."""
        spec = self.data.questions.verifier or self.config.verifier
        if self.verifier is None or spec is None:
            return None
        if not spec.startswith("<"):
            return verifier_of(spec)
        found = copy.copy(self.verifier)
        found.cost = Cost()
        return found

    @cached_property
    def truth(self) -> Verifier | None:
        """The questions' own verifier, whose word is beyond dispute, where another one says what pays."""
        own = self.data.questions.verifier
        return verifier_of(own) if own and self.config.verifier not in (None, own) else None


def prepare(
    config: RunConfig,
    objects: Any,
    *,
    data: LanguageData | None = None,
    store: Keeper | None = None,
    before_compute: Callable[[Any], None] | None = None,
    train: bool = True,
    progress: bool = False,
) -> LanguageReady:
    """Open the questions, build the learner, the teacher and the method, and refuse what cannot work.

    Args:
        config: the run's.
        objects: what is given from Python instead.
        data: the questions, where they are open already.
        store: where models that are trained here are kept.
        before_compute: called when all is checked, before anything is trained.
        train: False leaves models that are to be trained here untrained, for a check alone.
        progress: whether to show a progress bar while one is.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    ready, beginnings = _put_together(config, objects, data)
    if before_compute is not None:
        before_compute(ready)
    untrained = [beginning for beginning in beginnings if beginning.needed]
    if not train or not untrained:
        return ready
    for beginning in untrained:
        ready.teacher_cost += beginning.teach(ready, store, progress)
    # Made anew: a reference is a copy of the learner at its beginning, and a teacher is frozen by its role.
    ready.assemble()
    return ready


def _put_together(
    config: RunConfig, objects: Any, data: LanguageData | None
) -> tuple[LanguageReady, tuple[Beginning, ...]]:
    """Everything but the training of models that are to be trained first."""
    find_device(config.device)
    info = catalogue.find(config.method)
    options = catalogue.build_config(info, config.options)
    data = open_questions(config, objects.data) if data is None else data
    sampling = sampling_of(config.sampling)
    verifier = _verifier(config, info, data, objects.verifier)
    beginning, teachers = _learner(config, objects), _teachers(config, objects, info)
    learner = beginning.model
    check_lengths("learner", learner, data, sampling, info, options)
    for teacher in teachers:
        check_tokenizers(learner, teacher.model, info)
        check_lengths("teacher", teacher.model, data, sampling, info, options)
    check_completions(data, info, options, [one.role for one in (beginning, *teachers) if one.needed])
    config = _resolved(config, info, options, objects, learner, sampling)
    ready = LanguageReady(
        config=config,
        info=info,
        options=options,
        data=data,
        sampling=sampling,
        verifier=verifier,
        learner=learner,
        teachers=tuple(teacher.model for teacher in teachers),
        budget=Budget(**config.budget),  # pyright: ignore[reportArgumentType]
        optimizer=optimizer_of(config),
    )
    for one in (beginning, *teachers):
        one.check(ready)
    return ready, (beginning, *teachers)


def sampling_of(table: Mapping[str, Any]) -> Sampling:
    """How answers are drawn, from words or values by name.

    Raises:
        ConfigError: A name is unknown, or a value cannot be.
    """
    hints = {f.name: f.type for f in dataclasses.fields(Sampling)}
    for name in table:
        if name not in hints:
            raise ConfigError(f"sampling has no {name!r}. {nearest(name, hints)}")
    return Sampling(**{name: convert(f"sampling's {name}", value, hints[name]) for name, value in table.items()})


def _verifier(config: RunConfig, info: MethodInfo, data: LanguageData, given: Any) -> Verifier | None:
    spec = config.verifier or data.questions.verifier
    if given is None and not spec:
        if getattr(info.method_type.feed, "judged", None) == "verifier":
            raise ConfigError(
                f"verifier is not given, but the method {info.name!r} learns from rewards; give one, such as exact, "
                "numeric or package.module:function, or from Python a function of a text and a question."
            )
        return None
    judge = verifier_of(spec) if given is None else given
    verifier = judge if isinstance(judge, Verifier) else FunctionVerifier(judge)
    for part in (data.train, data.validation, data.test):
        verifier.check(part)
    return verifier


def _learner(config: RunConfig, objects: Any) -> Beginning:
    if objects.learner is not None:
        return Beginning("learner", "", objects.learner)
    return model_of("learner", DEFAULT if config.learner == "auto" else config.learner, config.seed)


def _teachers(config: RunConfig, objects: Any, info: MethodInfo) -> tuple[Beginning, ...]:
    """The teachers that a method is to have: one, or several where it learns from several."""
    parameters = inspect.signature(info.method_type.__init__).parameters
    wanted = parameters.get("teacher") or parameters.get("teachers")
    given = objects.teacher if objects.teacher is not None else config.teacher
    if wanted is None:
        if given is not None:
            raise ConfigError(
                f"teacher is {given!r}, but the method {info.name!r} has no use for a teacher; leave it out, or choose "
                "a method such as gkd."
            )
        return ()
    if given is None:
        if wanted.default is not wanted.empty:
            return ()
        raise ConfigError(
            f"The method {info.name!r} needs a teacher; give one, such as hf:DIR, runs/NAME or warm:1000:decoder:4x128."
        )
    found = _opened(given, config.seed + 1)
    if len(found) > 1 and wanted.name == "teacher":
        raise ConfigError(
            f"teacher is {given!r}, which are {len(found)}, but the method {info.name!r} learns from one; give one, or "
            "choose a method that learns from several, such as ampo."
        )
    return found


def _opened(given: Any, seed: int) -> tuple[Beginning, ...]:
    """Models by their specs with + between them, or as they are given from Python: one, or a list of them."""
    if not isinstance(given, str):
        models = given if isinstance(given, list | tuple) else [given]
        return tuple(Beginning("teacher", "", model) for model in models)
    specs = [given] if Path(given).exists() else [spec.strip() for spec in given.split("+")]
    roles = ["teacher", *(f"teacher {number}" for number in range(2, len(specs) + 1))]
    return tuple(
        model_of(role, spec, seed + place) for place, (role, spec) in enumerate(zip(roles, specs, strict=True))
    )


def _source(ready: LanguageReady) -> Source:
    config, method, learner, questions = ready.config, ready.method, ready.learner, ready.data.train
    if isinstance(method.feed, CompletionFeed):
        kind: dict[str, Any] = {"pairs": method.feed.pairs}
        if method.feed.tokenizers == "any":
            kind |= {"teacher": ready.teacher.tokenizer, "teacher_length": ready.teacher.context}  # pyright: ignore[reportOptionalMemberAccess]
        return completions(ready, learner, config.batch_size, **kind)
    assert isinstance(method.feed, RolloutFeed)
    return rollout_rounds(
        questions,
        Writer(learner, ready.sampling, ready.verifier, truth=ready.truth, seed=config.seed),
        method.collect,
        batch_size=min(config.batch_size, len(questions) * ready.sampling.samples),
        feed=method.feed,
        seed=config.seed,
    )


def _method(ready: LanguageReady) -> Method:
    info = ready.info
    parts = {
        "learner": ready.learner,
        "teacher": None if ready.teacher is None else LanguageTeacher(ready.teacher),
        "teachers": [LanguageTeacher(teacher) for teacher in ready.teachers],
        "questions": ready.data.train,
        "seed": ready.config.seed,
    }
    wanted = list(inspect.signature(info.method_type.__init__).parameters.values())[2:]
    for parameter in wanted:
        if parameter.name not in parts and parameter.default is parameter.empty:
            raise ConfigError(
                f"The method {info.name!r} asks for {parameter.name!r}, which a run of a language model does not have; "
                f"it has {', '.join(parts)}."
            )
    given = {p.name: parts[p.name] for p in wanted if p.name in parts and parts[p.name] is not None}
    return info.method_type(ready.options, **given)


def rate(learner: Any, info: MethodInfo) -> float:
    """The learning rate for a learner where none is given."""
    adapted = any(".lora_" in name for name, _ in learner.named_parameters())
    found = RATES["decoder" if isinstance(learner.module, Decoder) else "lora" if adapted else "hf"]
    return found * getattr(info.method_type.feed, "rate", 1.0)


def _resolved(
    config: RunConfig, info: MethodInfo, options: Any, objects: Any, learner: Any, sampling: Sampling
) -> RunConfig:
    names = {name: f"<{type(getattr(objects, name)).__name__}>" for name in objects.given()}
    spec = names.get("learner", DEFAULT if config.learner == "auto" else config.learner)
    settled = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    drawn = {f.name: getattr(sampling, f.name) for f in dataclasses.fields(sampling)}
    lr = rate(learner, info) if config.lr is None else config.lr
    return dataclasses.replace(config, options=settled, lr=lr, sampling=drawn, **{**names, "learner": spec})
