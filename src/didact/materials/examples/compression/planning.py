"""A search before it begins: its settings, data and students, checked before anything is computed."""

import copy
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from didact import evaluation, hashing
from didact.errors import ConfigError, DataError, check_choice, check_range
from didact.evaluation import Predictions
from didact.experiment.config import RunConfig
from didact.experiment.material import Evaluation, Objects, Run
from didact.experiment.preparing import prepare
from didact.experiment.reading import SEARCHED
from didact.experiment.running import split_arguments
from didact.materials.examples import teacher_data
from didact.materials.examples.answers import as_learner
from didact.materials.examples.compression import halving
from didact.materials.examples.compression.candidates import Candidate, candidates
from didact.materials.examples.compression.searching import Bench, Goal, Preference
from didact.materials.examples.data import ExampleData, count_labels, extend, open_examples, select_labelled
from didact.memory import SignalCache
from didact.options import convert
from didact.sources import Splits, with_made_up
from didact.teachers import CachedTeacher, TranslatedTeacher
from didact.types import Examples, Scale

PREFERENCES = ("size", "latency")
"""What may be preferred."""
BATCH_SIZE = 256
"""By default: few large steps, as many students are taught."""
MADE_UP, MOST_MADE_UP = 1.0, 200_000
"""Rows of a table that are made up by default, as a multiple of the training rows; and the most."""
LEAST_STEPS, MOST_STEPS = 100, 10_000
"""Of a net in the last round, where the time that there is decides."""
FOR_NETS = 0.5
"""The share of the time that is planned for nets."""
_PROBED = (5, 45)
"""Steps of the two short runs that tell the time of a step."""
FOR_PROBES = 0.1
"""The share of the time after which no further net is timed."""


def goal_of(within: object, minutes: object, prefer: object, seeds: Sequence[int]) -> Goal:
    """What is sought.

    Raises:
        ConfigError: A number or word is none that can be.
    """
    distance, limit = convert("within", within, float), convert("minutes", minutes, float)
    check_range("within", distance, at_least=0, below=100)
    check_range("minutes", limit, above=0, below=math.inf)
    check_choice("prefer", str(prefer), PREFERENCES)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}, but must hold at least one seed, and each once.")
    return Goal(within=distance, minutes=limit, prefer=cast(Preference, prefer), seeds=tuple(seeds))


def config_of(settings: Mapping[str, object], seed: int, command: str = "compress") -> tuple[RunConfig, Objects]:
    """The configuration that all runs of a search share, and its Python objects.

    Args:
        settings: of a run, by their flags.
        seed: of the splits.
        command: which search it is, for messages.

    Raises:
        ConfigError: A setting is the search's own, or the teacher is missing.
    """
    own = [name for name in settings if name in SEARCHED]
    if own:
        remedy = "students names those to try" if own[0] in ("student", "learner") else "leave it out"
        raise ConfigError(f"{own[0]} is {settings[own[0]]!r}, but `{command}` decides that itself; {remedy}.")
    if settings.get("teacher") is None:
        what = "is to be compressed" if command == "compress" else "is to teach"
        raise ConfigError(f"teacher is not given; name what {what}, such as forest.skops or runs/NAME.")
    given = {"batch_size": BATCH_SIZE, "progress": False, **settings}
    return split_arguments(method="distill", seed=seed, **given)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search that can begin."""

    run: Run[ExampleData]
    """Of the teacher; its data have validation rows where its test rows would be, and training rows that were made up
    among the others."""
    data: ExampleData
    """The data with the test rows."""
    judged: Examples
    """The validation rows with the labels that students are judged by: where there are none, the teacher's answers."""
    teacher: CachedTeacher | TranslatedTeacher
    """Gives the teacher's answers to training rows, asked once, in the user's unit."""
    config: RunConfig
    """Of a net's run, but for its method, student, seed and steps."""
    candidates: list[Candidate]

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.data.metrics[0]

    @property
    def measured(self) -> str:
        """What `evaluation.metrics` calls it."""
        return "accuracy" if self.metric == "teacher_agreement" else self.metric

    def judge(self, examples: Examples) -> Examples:
        """Those of some rows that have a label; or all, with the teacher's answers, if nothing has one."""
        if self.data.has_labels:
            return select_labelled(examples)
        asked = evaluation.predict(as_learner(self.run.teachers[0].model), examples)
        return examples.with_tensors(label=asked.logits.argmax(1))

    def tested(self, learner: nn.Module) -> tuple[Examples, Predictions, Predictions, tuple[str, ...]]:
        """The test rows, which nothing has seen before.

        Args:
            learner: the student that is delivered.

        Returns:
            Those of them that count, the student's answers and the teacher's, and what a reader must know of these.
        """
        run, splits = copy.copy(self.run), self.data.splits
        run.data = dataclasses.replace(run.data, splits=Splits(splits.train, splits.validation, splits.test))
        run.data = extend(run)
        test = self.judge(run.data.splits.test)
        mine, theirs = (evaluation.predict(one, test) for one in (learner, as_learner(run.teachers[0].model)))
        count, unseen = teacher_data.describe(teacher_data.find_seen(run, test), mine, theirs)
        found = Evaluation(
            metrics={}, validation={}, teacher=evaluation.metrics(theirs), teacher_seen=count, teacher_unseen=unseen
        )
        notes = [*run.data.notes, *teacher_data.notes(run, found)]
        seen = teacher_data.find_seen(run, self.judged)
        if seen is not None and seen.any():
            notes.append(
                f"The teacher was fitted on {int(seen.sum()):,} of {len(seen):,} validation rows, which flatters it "
                "there: the distance that was asked for is harder to reach."
            )
        return test, mine, theirs, tuple(notes)

    def bench(self, steps: int) -> Bench:
        """What all trials share; asks the teacher about the training rows, if an estimator is to be fitted to them."""
        train = self.run.data.train
        answers = torch.zeros(0, train.outputs)
        if not all(candidate.is_net for candidate in self.candidates):
            answers = evaluation.predict(as_learner(self.teacher), dataclasses.replace(train, scale=None)).logits
            if train.task == "classification":
                answers = answers.double().softmax(1)
            elif train.scale is not None:
                answers = train.scale.apply(answers)
        return Bench(
            config=self.config,
            data=self.run.data,
            judged=self.judged,
            teacher=self.teacher,
            answers=answers.double().numpy(),
            metric=self.measured,
            steps=steps,
        )


def plan(config: RunConfig, objects: Objects, *, students: Sequence[str] = (), made_up: float | None = None) -> Plan:
    """Open the data, load the teacher, train it if it is to be, and check every student.

    Args:
        config: from `config_of`.
        objects: from `config_of`.
        students: those that the user names.
        made_up: the share of made-up rows; None for the default.

    Raises:
        DidactError: Something does not fit; no student has been taught.
    """
    data = open_examples(config, objects.data)
    _check_rows(data, config)
    splits, share = data.splits, made_up
    if share is None:
        table = data.examples.modality == "table"
        share = min(MADE_UP, MOST_MADE_UP / data.train.size) if table else 0.0
    train = with_made_up(data.train, share, seed=hashing.stream(config.seed, "made up")) if share else data.train
    kept = dataclasses.replace(data, splits=Splits(splits.train, splits.validation, splits.validation), train=train)
    chosen = candidates(data.examples, students, labelled=data.has_labels)
    run = cast(Run[ExampleData], prepare(config, objects, data=kept))
    asked = CachedTeacher(run.teachers[0].model, SignalCache(run.data.train.tensors["id"]))
    scale = data.examples.scale
    made = Plan(
        run=run,
        data=data,
        judged=splits.validation,
        # It is given to runs as the user's own would be, whose numbers they convert.
        teacher=asked if scale is None else TranslatedTeacher(asked, scale=Scale(0.0, 1.0), own=scale),
        config=config.replace(teacher=None, teacher_data=None),
        candidates=chosen,
    )
    _check_students(made)
    return dataclasses.replace(made, judged=made.judge(run.data.splits.validation))


def _check_rows(data: ExampleData, config: RunConfig) -> None:
    """Refuse data without rows to choose a student by."""
    validation = data.splits.validation
    if not validation.size or (data.has_labels and not count_labels(validation)):
        raise ConfigError(
            f"validation is {config.split.validation!r}, which leaves no row with an answer to choose a student by; "
            "give a fraction such as 0.1, or a file."
        )
    if not data.has_labels and data.examples.task == "regression":
        raise DataError(
            f"No row of {data.examples.name!r} has an answer, so that nobody can tell how far a student is from its "
            "teacher; give some."
        )


def _check_students(made: Plan) -> None:
    """Assemble and check the run of every net."""
    bench = dataclasses.replace(made, candidates=[]).bench(1)
    for candidate in made.candidates:
        if candidate.is_net:
            prepare(bench.run_config(candidate, 1.0, 0), bench.objects(candidate), data=bench.data, teach=False)


def steps_for(made: Plan, goal: Goal) -> int:
    """The steps of a net in the last round, so that all rounds take half of the time that there is.

    Two short runs of each net tell how long a step takes.
    """
    nets = list({one.student: one for one in made.candidates if one.method == "distill"}.values())
    if not nets:
        return LEAST_STEPS
    bench, start, found = made.bench(1), time.perf_counter(), list[float]()
    # The largest first: where there is no time for all, the others are taken to be as slow.
    for net in reversed(nets):
        found.append(seconds_a_step(bench, net))
        if time.perf_counter() - start > FOR_PROBES * 60 * goal.minutes:
            break
    a_step = sum(found) / len(found)
    count, shares = len(made.candidates), halving.shares(len(made.candidates))
    taught = sum(share * halving.keep(count, number) for number, share in enumerate(shares[:-1]))
    taught += halving.keep(count, len(shares) - 1) * len(goal.seeds)
    steps = FOR_NETS * 60 * goal.minutes / (a_step * taught)
    return int(min(max(steps, LEAST_STEPS), MOST_STEPS))


def seconds_a_step(bench: Bench, net: Candidate) -> float:
    """The seconds of an optimizer step of a net, from two short runs."""
    found = []
    for steps in _PROBED:
        start = time.perf_counter()
        dataclasses.replace(bench, steps=steps).teach(net, 1.0, 0)
        found.append(time.perf_counter() - start)
    return max((found[1] - found[0]) / (_PROBED[1] - _PROBED[0]), 1e-5)
