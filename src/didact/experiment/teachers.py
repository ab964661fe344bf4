"""Teachers of a run, by their spec."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from didact import catalogue, trusting
from didact.errors import ConfigError, RunError, TeacherError, nearest
from didact.experiment import students
from didact.experiment.config import RunConfig
from didact.experiment.data import Data, labelled
from didact.learners import KINDS, ModuleLearner, build
from didact.loop import Budget, OptimizerConfig, fit
from didact.sources import BatchSource, add_view
from didact.sources.text import ByteTokenizer
from didact.teachers import (
    PICKLED,
    AdversarialTeacher,
    Committee,
    EstimatorTeacher,
    FrozenTeacher,
    NoisyTeacher,
    OnnxTeacher,
    RandomTeacher,
    align,
)
from didact.types import Batch, Cost, Examples, Features, Labels, Logits, Output, Signal

KINDS_OF_TEACHER = {
    "random": "random answers nothing but chance",
    "noisy": "noisy:0.3:TEACHER errs on 30% of the examples",
    "adversarial": "adversarial:TEACHER is confidently wrong",
    "view": "view:NAME:TEACHER is trained here on the view NAME of the data, which the student does not see",
    "shifted": "shifted:NAME:TEACHER is trained here on the view NAME of the data, and asked about the plain inputs",
    "target": "target:NAME:TEACHER is trained here to tell the tensor NAME of the data, not the label",
    "hf": "hf:DIRECTORY or hf:NAME is a Hugging Face classification model",
    "mlp": "mlp:256,256, cnn:32,64 or transformer:2x64 is trained here first, on all training labels",
}
"""The kinds of spec that begin with a word; others are paths, or package.module:factory."""
VIEW = "teacher"
"""The view of the batch that holds a teacher's own tokens."""
LEAST_STEPS = 500
"""How many steps a teacher that is trained here takes at least."""
_SEED = 500_009
"""Added to the run's seed, so that a teacher of the student's kind begins with other weights."""


@dataclass
class Opened:
    """A teacher that fits the data, and what is still to be done before it can teach."""

    teacher: Any
    spec: str
    control: bool = False
    """Whether it is a deliberately bad one."""
    untrained: tuple[tuple[str, ModuleLearner], ...] = ()
    """Learners that are to be trained first, each with its spec."""
    target: str = ""
    """The tensor of the data that it tells, where that is not the label."""
    tokenizer: Any = None
    """Its own tokenizer, where it reads text in another way than the student."""
    trained_in: tuple[Path, ...] = ()
    """The runs that it came from."""


def open_teacher(given: Any, config: RunConfig, data: Data) -> Opened:
    """Find and load a teacher; nothing is trained yet.

    Args:
        given: its spec, or from Python a teacher, a module, or an estimator.
        config: the run's, for its seed.
        data: whose classes and columns it must have.

    Returns:
        The teacher, its classes in the data's order.

    Raises:
        TeacherError: It cannot be loaded, or does not fit the data.
        ConfigError: The spec is not understood.
    """
    if isinstance(given, str):
        return _from_spec(given, config, data.examples)
    if hasattr(given, "signal"):
        return Opened(given, f"<{type(given).__name__}>")
    if isinstance(given, nn.Module):
        return Opened(FrozenTeacher(students.as_learner(given)), f"<{type(given).__name__}>")
    if hasattr(given, "predict_proba") or hasattr(given, "predict"):
        return Opened(_estimator(given, data.examples), f"<{type(given).__name__}>")
    raise TeacherError(
        f"teacher is {type(given).__name__}, which cannot teach; give a spec, an nn.Module, an estimator with "
        "predict_proba, or an object with signal(batch)."
    )


def train(opened: Opened, config: RunConfig, data: Data, store: Callable[..., Any] | None, progress: bool) -> Cost:
    """Train what a teacher still needs, on every training label.

    Args:
        opened: its learners are trained in place.
        config: `teacher_epochs`, and the batch size, seed, device and precision.
        data: the training examples.
        store: `store(name, learner, examples)` puts weights in place if there are some from before and returns their
            cost, else None; `store(name, learner, examples, cost)` keeps them.
        progress: whether to show a progress bar.

    Returns:
        What it cost, which is not part of the student's cost.

    Raises:
        RunError: The training broke down.
    """
    total = Cost()
    for number, (spec, learner) in enumerate(opened.untrained):
        name = f"{number}-{re.sub(r'[^a-zA-Z0-9_]+', '-', spec)}"
        cost = store(name, learner, data.examples) if store is not None else None
        if cost is None:
            cost = _train(spec, learner, config, data, progress)
            if store is not None:
                store(name, learner, data.examples, cost)
        learner.eval().requires_grad_(False)
        total += cost
    return total


def add_tokens(opened: Opened, data: Data) -> Data:
    """Give the data the view that a teacher with a tokenizer of its own looks at."""
    if opened.tokenizer is None:
        return data
    splits = data.splits
    seen = [add_view(e, VIEW, opened.tokenizer) for e in (splits.train, splits.validation, splits.test)]
    tokens = {name: tensor for name, tensor in seen[0].tensors.items() if name.startswith(f"{VIEW}.")}
    splits = replace(splits, train=seen[0], validation=seen[1], test=seen[2])
    return replace(data, splits=splits, train=data.train.with_tensors(**tokens))


def as_learner(teacher: Any) -> Callable[[Batch], Output]:
    """A teacher in the form of a learner, for scoring it: its answers as logits [B, C], or predictions [B, 1]."""

    def answer(batch: Batch) -> Output:
        return Output(logits_of(teacher.signal(batch)))

    return answer


def logits_of(signal: Signal) -> Tensor:
    """The class scores [B, C] in a signal, or its predictions [B, 1].

    Raises:
        TeacherError: The signal holds neither.
    """
    if isinstance(signal, Logits | Features) and signal.logits is not None:
        return signal.logits
    if isinstance(signal, Labels) and signal.labels.ndim == 2:
        return signal.labels.clamp(min=1e-12).log()
    if isinstance(signal, Labels) and signal.labels.is_floating_point():
        return signal.labels.unsqueeze(-1)
    raise TeacherError(
        f"The teacher answers with {type(signal).__name__}, which holds no class scores to be judged by."
    )


def _from_spec(spec: str, config: RunConfig, examples: Examples) -> Opened:
    parts = [spec] if Path(spec).exists() else [part.strip() for part in spec.split("+")]
    opened = [_open_one(part, config, examples, number) for number, part in enumerate(parts)]
    if len(opened) == 1:
        return opened[0]
    views = {id(one.tokenizer) for one in opened if one.tokenizer is not None}
    if len(views) > 1:
        raise ConfigError(
            f"teacher is {spec!r}, whose members have tokenizers of their own; a committee over text can hold one such."
        )
    return Opened(
        Committee([one.teacher for one in opened], classes=len(examples.classes) or None),
        spec,
        control=any(one.control for one in opened),
        untrained=tuple(pair for one in opened for pair in one.untrained),
        target=next((one.target for one in opened if one.target), ""),
        tokenizer=next((one.tokenizer for one in opened if one.tokenizer is not None), None),
        trained_in=tuple(run for one in opened for run in one.trained_in),
    )


def _open_one(spec: str, config: RunConfig, examples: Examples, number: int = 0) -> Opened:
    """A teacher by a spec without `+`."""
    kind, _, rest = spec.partition(":")
    path = Path(spec)
    if kind in ("noisy", "adversarial", "random") and not path.exists():
        return _control(spec, config, examples, number)
    if kind in ("view", "shifted") and not path.exists():
        return _viewing(spec, config, examples, number)
    if kind == "target" and not path.exists():
        return _telling(spec, config, examples, number)
    if kind == "hf":
        return _hugging_face(rest, spec, config, examples)
    if path.suffix == ".safetensors" and path.is_file():
        return _run(path, spec, config, examples)
    if path.suffix in (".skops", ".onnx", ".safetensors", *PICKLED) or path.is_file():
        return Opened(_file(path, config, examples), spec)
    if path.is_dir():
        return _directory(path, spec, config, examples)
    if ":" not in spec and kind not in KINDS:
        known = dict.fromkeys((*KINDS_OF_TEACHER, *KINDS))
        raise TeacherError(
            f"teacher is {spec!r}, which is neither a file or directory here nor a known kind. {nearest(spec, known)} "
            f"It may be a .skops or .onnx file, the directory of a run, or one of: {', '.join(known)}."
        )
    learner = build(spec, examples, seed=config.seed + _SEED + number)
    return Opened(FrozenTeacher(learner), spec, untrained=((spec, learner),) if kind in KINDS else ())


def _control(spec: str, config: RunConfig, examples: Examples, number: int) -> Opened:
    kind, _, rest = spec.partition(":")
    seed = config.seed + _SEED + number
    if examples.task != "classification":
        raise TeacherError(f"teacher is {spec!r}, which errs about classes, but the data are a regression.")
    if kind == "random":
        return Opened(RandomTeacher(len(examples.classes), seed=seed), spec, control=True)
    words, _, inner = rest.partition(":") if kind == "noisy" else ("", "", rest)
    if not inner:
        raise ConfigError(f"teacher is {spec!r}, but {KINDS_OF_TEACHER[kind]}.")
    spoiled = _open_one(inner, config, examples, number)
    classes = len(examples.classes)
    if kind == "noisy":
        from didact.options import convert

        rate = convert("The rate of a noisy teacher", words, float)
        teacher: Any = NoisyTeacher(spoiled.teacher, rate=rate, seed=seed, classes=classes)
    else:
        teacher = AdversarialTeacher(spoiled.teacher, classes=classes)
    return replace(spoiled, teacher=teacher, spec=spec, control=True)


def _viewing(spec: str, config: RunConfig, examples: Examples, number: int) -> Opened:
    """A teacher that is trained here on a view of the data, at which it may go on to look afterwards."""
    kind, _, rest = spec.partition(":")
    name, _, inner = rest.partition(":")
    views = [key.removesuffix(".x") for key in examples.tensors if key.endswith(".x")]
    if name not in views:
        raise TeacherError(
            f"teacher is {spec!r}, but the data have no view {name!r}. {nearest(name, views)} A view is an array such "
            "as privileged.x beside x, in a .npz file or in Examples; the built-in data digits_privileged have one."
        )
    if inner.partition(":")[0] not in KINDS or ":" not in inner:
        raise ConfigError(f"teacher is {spec!r}, but {KINDS_OF_TEACHER[kind]}, such as {kind}:{name}:mlp:256,256.")
    seen = f"{name}.x"
    learner = build(inner, examples.with_tensors(x=examples.tensors[seen]), seed=config.seed + _SEED + number)
    learner.inputs = (seen,) if kind == "view" else None
    return Opened(FrozenTeacher(learner), spec, untrained=((spec, learner),))


def _telling(spec: str, config: RunConfig, examples: Examples, number: int) -> Opened:
    """A teacher that is trained here to tell another tensor of the data than the label."""
    name, _, inner = spec.partition(":")[2].partition(":")
    if inner.partition(":")[0] not in KINDS or ":" not in inner:
        raise ConfigError(f"teacher is {spec!r}, but {KINDS_OF_TEACHER['target']}, such as target:NAME:cnn:16,32.")
    learner = build(inner, on_target(examples, name), seed=config.seed + _SEED + number)
    return Opened(FrozenTeacher(learner), spec, untrained=((spec, learner),), target=name)


def on_target(examples: Examples, name: str, *, like: Examples | None = None) -> Examples:
    """Examples whose label is another of their tensors.

    Args:
        examples: any.
        name: of a tensor of class numbers, int64 [N].
        like: examples that hold every class, where these may lack some.

    Raises:
        TeacherError: there is no such tensor.
    """
    tensors = (like or examples).tensors
    known = [key for key, values in tensors.items() if values.dtype == torch.int64 and values.ndim == 1 and key != "id"]
    if name not in known or int(tensors[name].min()) < 0:
        raise TeacherError(
            f"A teacher is to tell {name!r}, but the data have no such tensor of class numbers. {nearest(name, known)}"
        )
    classes = tuple(map(str, range(int(tensors[name].max()) + 1)))
    return replace(examples.with_tensors(label=examples.tensors[name]), classes=classes, task="classification")


def _file(path: Path, config: RunConfig, examples: Examples) -> Any:
    if path.suffix == ".onnx":
        return OnnxTeacher(path, classes=examples.classes, task=examples.task)
    return EstimatorTeacher.load(
        path, classes=examples.classes, columns=examples.columns, task=examples.task, trust=config.trust
    )


def _estimator(estimator: Any, examples: Examples) -> EstimatorTeacher:
    return EstimatorTeacher(estimator, classes=examples.classes, columns=examples.columns, task=examples.task)


def _directory(path: Path, spec: str, config: RunConfig, examples: Examples) -> Opened:
    if students.is_run(path):
        return _run(path, spec, config, examples)
    try:
        description = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        description = {}
    if "model_type" in description or "architectures" in description:
        return _hugging_face(str(path), spec, config, examples)
    raise TeacherError(
        f"teacher is {spec!r}, a directory that is neither a finished didact run (with student.safetensors) nor a "
        "Hugging Face model (with config.json)."
    )


def _run(path: Path, spec: str, config: RunConfig, examples: Examples) -> Opened:
    saved = students.load(path, trust=config.trust)
    _check_like(saved.like, examples, spec)
    order = align(saved.like.classes, examples.classes) if examples.task == "classification" else None
    text = examples.modality == "text"
    teacher = FrozenTeacher(saved.learner, order=order, view=VIEW if text else None)
    tokenizer = None
    if text:
        with trusting.asked_by(path, config.trust):
            own = students.tokenizer_of(saved.spec, saved.like.shape[0])
        tokenizer = own or ByteTokenizer(saved.like.shape[0])
    return Opened(teacher, spec, tokenizer=tokenizer, trained_in=(path,) if path.is_dir() else ())


def _check_like(like: Examples, examples: Examples, spec: str) -> None:
    """Raise `TeacherError` unless a run's student was taught on examples of the same kind."""
    for field_, theirs, ours in (
        ("task", like.task, examples.task),
        ("kind of data", like.modality, examples.modality),
        ("columns", [c.name for c in like.columns], [c.name for c in examples.columns]),
        ("categories", [c.categories for c in like.columns], [c.categories for c in examples.columns]),
        ("shape of an input", like.shape, examples.shape),
    ):
        if theirs != ours and not (field_ == "shape of an input" and examples.modality == "text"):
            raise TeacherError(
                f"teacher is {spec!r}, whose {field_} was {theirs!r}, but these data have {ours!r}; give a teacher of "
                "data like these."
            )


def _hugging_face(name: str, spec: str, config: RunConfig, examples: Examples) -> Opened:
    from didact.learners import huggingface

    found = huggingface.load_teacher(name, examples, max_length=config.max_length)
    order = align(found.classes, examples.classes) if found.classes else None
    teacher = FrozenTeacher(found.learner, order=order, view=VIEW if found.tokenizer is not None else None)
    return Opened(teacher, spec, tokenizer=found.tokenizer)


def _train(spec: str, learner: ModuleLearner, config: RunConfig, data: Data, progress: bool) -> Cost:
    info = catalogue.find("supervised")
    method = info.method_type(info.config_type(), learner.requires_grad_(True))
    train, (kind, name) = labelled(data.splits.train), (f"{spec}:".split(":")[:2])
    if kind == "target":
        train = on_target(data.splits.train, name, like=data.examples)
    elif kind == "shifted":
        train = train.with_tensors(x=train.tensors[f"{name}.x"])
    source = BatchSource(train, batch_size=min(config.batch_size, train.size), seed=config.seed + _SEED)
    # On few examples, so many passes would be too few steps to learn anything in.
    epochs = max(config.teacher_epochs, LEAST_STEPS * source.batch_size / source.epoch_size)
    result = fit(
        method,
        source,
        budget=Budget(epochs=epochs),
        optimizer=OptimizerConfig(lr=students.rate(re.sub("^(view|shifted|target):[^:]*:", "", spec))),
        seed=config.seed + _SEED,
        device=config.device,
        precision=config.precision,
        progress=progress,
    )
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if result.status != "done":
        raise RunError(f"The training of the teacher {spec!r} was {result.status}: {result.reason}")
    return result.cost
