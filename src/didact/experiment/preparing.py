"""Everything of a run before its first step: what does not fit is refused here, before compute is spent."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from didact import catalogue
from didact.catalogue import MethodInfo
from didact.curricula import LabelledMix
from didact.errors import ConfigError, DataError, TeacherError
from didact.evaluation import predict
from didact.experiment import data as data_of
from didact.experiment import students, teachers
from didact.experiment.config import RunConfig
from didact.experiment.data import Data
from didact.experiment.teachers import Opened
from didact.loop import Budget, OptimizerConfig
from didact.loop.devices import find_device
from didact.memory import SignalCache
from didact.sources import BatchSource
from didact.teachers import CachedTeacher, suspicious_order
from didact.types import Batch, Cost, Examples, Method, is_labelled

SAMPLE_SIZE = 8
"""How many training examples a method is given to look at."""
CHECKED = 256
"""On how many labelled training examples a teacher's order of classes is checked."""
CACHE_BYTES = 1 << 30
"""Features that would take more memory than this are asked for again each time."""


@dataclass(frozen=True)
class Objects:
    """What was given from Python in the place of words."""

    data: Any = None
    learner: Any = None
    teacher: Any = None
    verifier: Any = None

    def given(self) -> list[str]:
        """The names of those that are there."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]


@dataclass
class Prepared:
    """A run that is ready to begin."""

    config: RunConfig
    """With everything resolved that was left open."""
    info: MethodInfo
    data: Data
    train: Examples
    """What the student sees: without the unlabelled examples where the method has no use for them."""
    method: Method
    source: BatchSource
    teacher: Any | None
    """Without the cache, for judging it; None where the method takes none."""
    opened: Opened | None
    budget: Budget
    optimizer: OptimizerConfig
    teacher_cost: Cost
    """What training the teacher here has cost."""

    @property
    def spec(self) -> str | None:
        """By which the student can be built again; None where it came from Python."""
        return None if self.config.learner.startswith("<") else self.config.learner


def prepare(
    config: RunConfig,
    objects: Objects | None = None,
    *,
    data: Data | None = None,
    store: Callable[..., Any] | None = None,
    before_compute: Callable[["Prepared"], None] | None = None,
    train_teacher: bool = True,
    progress: bool = False,
) -> Prepared:
    """Open the data, build the student, the teacher and the method, and refuse what cannot work.

    Args:
        config: the run's.
        objects: what is given from Python instead.
        data: the data, where they are open already.
        store: where trained teachers are kept; see `teachers.train`.
        before_compute: called when all is checked, before a teacher is trained here.
        train_teacher: False leaves a teacher that is to be trained here untrained, for a check alone.
        progress: whether to show a progress bar while one is.

    Returns:
        All that the loop needs.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    objects = objects or Objects()
    if is_language(config):
        from didact.experiment import language

        return language.prepare(  # pyright: ignore[reportReturnType]
            config,
            objects,
            data=data,  # pyright: ignore[reportArgumentType]
            store=store,
            before_compute=before_compute,
            train=train_teacher,
            progress=progress,
        )
    if objects.verifier is not None:
        raise ConfigError(
            f"verifier is given, but the method {config.method!r} learns from examples, where nothing is to be judged; "
            "leave it out, or choose a method such as grpo."
        )
    prepared, cached = _put_together(config, objects, data)
    opened = prepared.opened
    if before_compute is not None:
        before_compute(prepared)
    if opened is not None and opened.untrained and train_teacher:
        prepared.teacher_cost = teachers.train(opened, prepared.config, prepared.data, store, progress)
    if opened is not None:
        _forget(opened, cached, prepared.train)
    return prepared


def is_language(config: RunConfig) -> bool:
    """Whether a run is of a language model, taught with questions."""
    return catalogue.find(config.method).method_type.feed.material != "examples"


def _put_together(config: RunConfig, objects: Objects, data: Data | None) -> tuple[Prepared, CachedTeacher | None]:
    """Everything but the training of the teacher, and the cache before it where there is one."""
    find_device(config.device)
    info = catalogue.find(config.method)
    options = catalogue.build_config(info, config.options)
    budget = Budget(**config.budget)  # pyright: ignore[reportArgumentType]
    _check_teacher_is_given(info, config, objects)
    if data is None:
        data = data_of.open_data(config, objects.data, students.tokenizer_of(config.learner, config.max_length))
    _check_task(info, data.examples)
    learner = students.resolve(config.learner, data.examples) if objects.learner is None else objects.learner
    config = _resolved(config, info, options, objects, learner)
    opened = _open_teacher(info, config, objects, data)
    data = data if opened is None else teachers.add_tokens(opened, data)
    train = data.train if info.method_type.feed.unlabelled else data_of.labelled(data.train)
    source = _source(info, train, config)
    _check_batches(info, train, source, config)
    _check_budget(budget, source, opened, data.examples)
    if opened is not None:
        _check_answers(opened, train, info)
    method, cached = _assemble(info, options, learner, opened, train, config, budget)
    if opened is not None and info.method_type.feed.teacher != "features":
        _check_order(opened, train)
    prepared = Prepared(
        config=config,
        info=info,
        data=data,
        train=train,
        method=method,
        source=source,
        teacher=None if opened is None else opened.teacher,
        opened=opened,
        budget=budget,
        optimizer=optimizer_of(config),
        teacher_cost=Cost(),
    )
    return prepared, cached


def _open_teacher(info: MethodInfo, config: RunConfig, objects: Objects, data: Data) -> Opened | None:
    given = config.teacher if objects.teacher is None else objects.teacher
    return teachers.open_teacher(given, config, data) if takes(info, "teacher") and given is not None else None


def takes(info: MethodInfo, name: str) -> bool:
    """Whether a method takes a part of that name: `teacher`, `sample`, `spawn` or `seed`."""
    return name in inspect.signature(info.method_type.__init__).parameters


def optimizer_of(config: RunConfig) -> OptimizerConfig:
    """The optimizer of a configuration whose learning rate is settled."""
    assert config.lr is not None
    return OptimizerConfig(
        name=config.optimizer,  # pyright: ignore[reportArgumentType]
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        schedule=config.schedule,
        warmup=config.warmup,
    )


def _check_teacher_is_given(info: MethodInfo, config: RunConfig, objects: Objects) -> None:
    given = objects.teacher if objects.teacher is not None else config.teacher
    part = inspect.signature(info.method_type.__init__).parameters.get("teacher")
    if part is not None and part.default is part.empty and given is None:
        raise ConfigError(
            f"The method {info.name!r} needs a teacher; give one, such as a .skops or .onnx file, runs/NAME, hf:DIR or "
            "mlp:256,256."
        )
    if part is None and given is not None:
        raise ConfigError(
            f"teacher is {given!r}, but the method {info.name!r} has no use for a teacher; leave it out, or choose a "
            "method such as distill."
        )


def _check_task(info: MethodInfo, examples: Examples) -> None:
    tasks = info.method_type.feed.tasks
    if examples.task not in tasks:
        raise ConfigError(
            f"The method {info.name!r} is for {' and '.join(tasks)}, but the data {examples.name!r} "
            f"are a {examples.task}; choose another method, or say task='{tasks[0]}' if they are one."
        )


def _check_batches(info: MethodInfo, train: Examples, source: BatchSource, config: RunConfig) -> None:
    """Refuse batches in which there is nothing to compare, such as a single example that is left over in each pass."""
    least, left = info.method_type.feed.least_batch, train.size % source.batch_size
    whole = isinstance(source.curriculum, LabelledMix) or not left
    if source.batch_size >= least and (whole or left >= least):
        return
    sizes = range(max(least, config.batch_size), train.size)
    fits = next((size for size in sizes if train.size % size not in range(1, least)), train.size)
    few = "is too few" if source.batch_size < least else f"leaves {left} over at the end of each pass"
    raise ConfigError(
        f"batch_size is {config.batch_size}, which {few} of {train.size} training examples: the method {info.name!r} "
        f"compares the examples of a batch, and needs {least} or more; {fits} would work."
    )


def _check_budget(budget: Budget, source: BatchSource, opened: Opened | None, examples: Examples) -> None:
    """Refuse a budget on an axis along which this run never moves."""
    budget.check_source(source.epoch_size, source.labels)
    still = {"env_steps"}
    still |= set() if opened is not None else {"teacher_calls"}
    still |= set() if examples.modality == "text" else {"tokens"}
    axes = set(budget.limits())
    if axes <= still | {"labels"}:
        raise ConfigError(
            f"The budget is counted in {', '.join(sorted(axes))}, which this run never uses up; give it in steps too."
        )


def _resolved(config: RunConfig, info: MethodInfo, options: Any, objects: Objects, learner: Any) -> RunConfig:
    """The configuration with what was left open filled in, as it is stored."""
    names = {name: f"<{_name_of(getattr(objects, name))}>" for name in objects.given()}
    filled = {"learner": learner, **names} if isinstance(learner, str) else names
    settled = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    rate = students.rate(learner) if config.lr is None else config.lr
    return dataclasses.replace(config, options=settled, lr=rate, **filled)


def _name_of(thing: Any) -> str:
    return getattr(thing, "name", "") or getattr(thing, "__name__", "") or type(thing).__name__


def _check_answers(opened: Opened, train: Examples, info: MethodInfo) -> None:
    """Ask the teacher about two examples, so that a misfit shows before anything is trained; nothing is counted."""
    if opened.target and info.method_type.feed.teacher != "features":
        raise TeacherError(
            f"teacher is {opened.spec!r}, which tells {opened.target}, but the method {info.name!r} needs a teacher of "
            f"the data's own classes; give one, such as {opened.spec.split(':', 2)[-1]}."
        )
    kept = opened.teacher.cost
    signal = opened.teacher.signal(train.batch(slice(0, 2)))
    opened.teacher.cost = Cost() if kept is opened.teacher.cost else kept
    if info.method_type.feed.teacher == "features":
        return
    width = teachers.logits_of(signal).shape[-1] if not _is_hard(signal) else None
    wanted = len(train.classes) if train.task == "classification" else 1
    if width is not None and width != wanted:
        raise TeacherError(
            f"teacher is {opened.spec!r}, which gives {width} numbers for an example, but the data have "
            + (f"{wanted} classes: {', '.join(train.classes)}." if wanted > 1 else "one number to predict.")
            + " Give a teacher of the same classes."
        )


def _is_hard(signal: Any) -> bool:
    labels = getattr(signal, "labels", None)
    return labels is not None and labels.ndim == 1 and not labels.is_floating_point()


def _assemble(
    info: MethodInfo,
    options: Any,
    learner: Any,
    opened: Opened | None,
    train: Examples,
    config: RunConfig,
    budget: Budget,
) -> tuple[Method, CachedTeacher | None]:
    """The method with its parts; the teacher behind a cache where its answers can be used again."""

    def make(teacher: Any) -> Method:
        spawn = students.Spawn(learner, train, config.seed)
        parts = {
            "learner": spawn.first(),
            "teacher": teacher,
            "sample": _sample(info, train, config),
            "size": train.size,
            "spawn": spawn,
            "seed": config.seed,
        }
        wanted = list(inspect.signature(info.method_type.__init__).parameters.values())[2:]
        unknown = [p.name for p in wanted if p.name not in parts and p.default is p.empty]
        if unknown:
            raise ConfigError(
                f"The method {info.name!r} asks for {', '.join(unknown)}; a method can have {', '.join(parts)}."
            )
        return info.method_type(options, **{p.name: parts[p.name] for p in wanted if _offered(p, parts)})

    if opened is None or not _reusable(opened, info, config, budget):
        return make(None if opened is None else opened.teacher), None
    cached = CachedTeacher(opened.teacher, SignalCache(train.tensors["id"]))
    method = make(cached)
    if _feature_bytes(opened, train) > CACHE_BYTES:
        return make(opened.teacher), None
    return method, cached


def _offered(parameter: inspect.Parameter, parts: Mapping[str, Any]) -> bool:
    return parameter.name in parts and not (parts[parameter.name] is None and parameter.default is not parameter.empty)


def _source(info: MethodInfo, train: Examples, config: RunConfig, *, batch_size: int | None = None) -> BatchSource:
    """The batches of a run; a batch size above the number of examples means all of them."""
    if not train.size:
        raise DataError(
            f"None of the training examples of {train.name!r} has a label, without which {info.name!r} cannot learn."
        )
    known = is_labelled(train.tensors["label"])
    share = config.labelled_share or info.method_type.feed.labelled_share
    mixed = share is not None and batch_size is None and not bool(known.all())
    return BatchSource(
        train,
        batch_size=min(batch_size or config.batch_size, train.size),
        seed=config.seed,
        curriculum=LabelledMix(known, share, config.seed) if mixed and share is not None else None,
        views=info.method_type.feed.views,
        augment=config.augment,
    )


def _sample(info: MethodInfo, train: Examples, config: RunConfig) -> Batch:
    """A few training examples, with the views that the batches will have."""
    return next(iter(_source(info, train, config, batch_size=SAMPLE_SIZE)))


def _reusable(opened: Opened, info: MethodInfo, config: RunConfig, budget: Budget) -> bool:
    """Whether the teacher says the same about an example each time."""
    views = info.method_type.feed.views
    changing = config.augment != "none" or bool(views) or not getattr(opened.teacher, "frozen", False)
    # Answers from the cache cost no calls, so that a budget of calls alone would never be used up.
    return not changing and set(budget.limits()) != {"teacher_calls"}


def _feature_bytes(opened: Opened, train: Examples) -> int:
    learner = getattr(opened.teacher, "learner", None)
    if learner is None or not getattr(learner, "taps", ()):
        return 0
    with torch.no_grad():
        features = learner(train.batch(slice(0, 2))).features
    return sum(tensor[0].numel() * tensor.element_size() for tensor in features.values()) * train.size


def _forget(opened: Opened, cached: CachedTeacher | None, train: Examples) -> None:
    """Drop what the teacher said while the run was put together: it may not have been trained yet."""
    opened.teacher.cost = Cost()
    if cached is not None:
        cached.cache, cached.hits = SignalCache(train.tensors["id"]), 0


def _check_order(opened: Opened, train: Examples) -> None:
    """Refuse a teacher whose outputs fit the labels far better in another order of classes."""
    if opened.control or opened.untrained or train.task != "classification":
        return
    known = data_of.labelled(train)
    known = known.select(torch.arange(min(CHECKED, known.size)))
    scores = predict(teachers.as_learner(opened.teacher), known, batch_size=CHECKED).logits  # pyright: ignore[reportArgumentType]
    opened.teacher.cost = Cost()
    complaint = suspicious_order(scores, known.tensors["label"], train.classes)
    if complaint is not None:
        raise TeacherError(f"teacher is {opened.spec!r}. {complaint}")
