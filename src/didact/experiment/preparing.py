"""Preparation of a run: assembly, checks before any compute is spent, and warm starts."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

from didact import catalogue
from didact.catalogue import MethodInfo
from didact.errors import ConfigError
from didact.experiment import finding, pretraining
from didact.experiment.checking import Check, run_checks
from didact.experiment.config import RunConfig
from didact.experiment.keeping import Keeper
from didact.experiment.material import Data, Objects, Run
from didact.loop.devices import find_device
from didact.loop.fitting import check_place
from didact.loop.ledger import check_budget
from didact.loop.place import find_place
from didact.types.frozen import is_marked

COMPARED = 8
"""The default number of completions per prompt, for methods that compare them."""


def prepare(
    config: RunConfig,
    objects: Objects | None = None,
    *,
    data: Data | None = None,
    keeper: Keeper | None = None,
    directory: Path | None = None,
    begin: Callable[[Run[Data]], None] | None = None,
    teach: bool = True,
) -> Run[Data]:
    """Assemble a run, check it, and train its warm starts.

    Args:
        config: the run's configuration.
        objects: Python objects that replace specs.
        data: the data, if loaded already.
        keeper: stores trained warm starts.
        directory: for checkpoints of the warm starts.
        begin: called after all checks, before anything is trained.
        teach: False skips the warm starts, for a check alone.

    Returns:
        The run, ready for the loop.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    run = assemble(config, objects or Objects(), data)
    for check in refusals(run):
        check.refuse()
    if begin is not None:
        begin(run)
    if teach:
        _teach(run, keeper, directory)
    return run


def assemble(config: RunConfig, objects: Objects, data: Data | None = None) -> Run[Data]:
    """Load the data and build the parts of a run; nothing is trained, and little is checked.

    Args:
        config: the run's configuration.
        objects: Python objects that replace specs.
        data: the data, if loaded already.

    Raises:
        DidactError: Something cannot be loaded or built.
    """
    place = find_place(find_device(config.loop.device))
    info = catalogue.find(config.method)
    material = finding.find(info)
    options = catalogue.build_config(info, config.options)
    finding.check_fields(material, config, objects)
    wanted = _check_teacher(info, config, objects)
    if not config.data.source and objects.data is None and data is None:
        raise ConfigError(
            "data is not given; say what to learn from, such as data='table.csv' (--data table.csv), or one of "
            "`didact list worlds`, such as data='digits'."
        )
    run = Run(
        config=config,
        info=info,
        options=options,
        material=material,
        data=material.open(config, objects.data) if data is None else data,
        objects=objects,
        place=place,
    )
    run.student = material.student(run)
    run.config = _resolved(run)
    if wanted is not None:
        teacher = material.teacher(run)
        run.teachers = tuple(teacher.each()) if wanted == "teachers" else (teacher,)
    run.data = material.extend_data(run)
    run.verifier = material.verifier(run)
    return run


def accepts(info: MethodInfo, name: str) -> bool:
    """Whether a method takes a part of that name, such as `teacher` or `spawn`."""
    return name in inspect.signature(info.method_type.__init__).parameters


def _check_teacher(info: MethodInfo, config: RunConfig, objects: Objects) -> str | None:
    """The parameter for teachers, `teacher` or `teachers`; None if there are none.

    Raises:
        ConfigError: A required teacher is missing, or the method does not use the given one.
    """
    parameters = inspect.signature(info.method_type.__init__).parameters
    wanted = parameters.get("teacher") or parameters.get("teachers")
    given = config.teacher if objects.teacher is None else objects.teacher
    if given is not None and wanted is None:
        raise ConfigError(
            f"teacher is {given!r}, but the method {info.name!r} does not use a teacher; leave it out, or choose a "
            "method such as distill or gkd."
        )
    if given is None and wanted is not None and wanted.default is wanted.empty:
        raise ConfigError(
            f"The method {info.name!r} needs a teacher; give one, such as a .skops or .onnx file, runs/NAME, hf:DIR or "
            "mlp:256,256. `didact list teachers` prints them all."
        )
    return None if wanted is None or given is None else wanted.name


def _resolved(run: Run[Data]) -> RunConfig:
    """The configuration with defaults filled in, as it is stored."""
    config, named, feed, own = run.config, run.objects.names(), run.info.method_type.feed, run.material
    rate = run.student.rate * getattr(feed, "rate", 1.0)
    optimizer, loop, sampling = config.optimizer, config.loop, config.sampling
    lr = rate if optimizer.lr is None else optimizer.lr
    decay = own.weight_decay if optimizer.weight_decay is None else optimizer.weight_decay
    # A step takes all completions of its prompts.
    most = next(n for n in range(COMPARED, 0, -1) if config.batches.size % n == 0)
    samples = sampling.samples or (most if getattr(feed, "grouped", False) else 0)
    return dataclasses.replace(
        config,
        options={f.name: getattr(run.options, f.name) for f in dataclasses.fields(run.options)},
        sampling=dataclasses.replace(sampling, samples=samples),
        optimizer=dataclasses.replace(optimizer, lr=lr, weight_decay=decay),
        loop=dataclasses.replace(loop, clip_norm=own.clip_norm if loop.clip_norm is None else loop.clip_norm),
        data=dataclasses.replace(config.data, source=named.get("data", config.data.source)),
        student=named.get("student", run.student.spec),
        teacher=named.get("teacher", config.teacher),
        verifier=named.get("verifier", config.verifier),
    )


def refusals(run: Run[Data]) -> Iterator[Check]:
    """The checks before every run.

    Args:
        run: the assembled run.

    Yields:
        The checks; those after a failed one are meaningless.
    """
    yield from run.material.refusals(run)
    spending = {"budget": lambda run: check_budget(run.config.budget, run.method, run.source)}
    yield from run_checks({**spending, "method": _method}, run)


def _method(run: Run[Data]) -> Iterator[Check]:
    """Check that the method accepts its parts, and that there is a metric if the best weights are selected."""
    if not run.evaluator.validates and run.config.select == "best":
        raise ConfigError(
            "select is 'best', but the student cannot be evaluated during training; give validation data, a "
            "verifier, a completion for each question, or select='last'."
        )
    if run.config.loop.patience is not None and not run.evaluator.validates:
        raise ConfigError(
            f"patience is {run.config.loop.patience}, but the student cannot be evaluated during training; give "
            "validation data, a verifier, a completion for each question, or leave patience out."
        )
    check_place(run.method, run.place, run.config.loop.micro_batch)
    limits = ", ".join(f"{amount:g} {axis}" for axis, amount in run.config.budget.limits().items())
    yield Check("pass", "method", f"{run.info.name}: {type(run.method).__name__}, {run.info.title} Budget: {limits}.")


def _teach(run: Run[Data], keeper: Keeper | None, directory: Path | None) -> None:
    """Train the warm starts, settle the teachers, then rebuild the method, whose reference may be a copy."""
    warm_starts = [(role, warm_start) for role, part in run.parts.items() for warm_start in part.warm_starts]
    for number, (role, warm_start) in enumerate(warm_starts):
        if warm_start.freeze:
            # A teacher is frozen when it is built, but for the base of its adapters, which was frozen before.
            for parameter in warm_start.model.parameters():
                parameter.requires_grad_(not is_marked(parameter))
        training = run.material.pretraining(run, role, warm_start)
        name, words = pretraining.file_name(f"{number}-{role}-{warm_start.spec}"), f"{role} is {warm_start.spec!r}"
        run.teacher_cost += pretraining.pretrain(
            training, warm_start.model, name, words, place=run.place, keeper=keeper, directory=directory
        )
        if warm_start.freeze:
            warm_start.model.eval().requires_grad_(False)
    settles = [settle for part in run.teachers for settle in part.settles]
    for settle in settles:
        run.teacher_cost += settle(run.place.device)
    if warm_starts or settles:
        run.reassemble()
