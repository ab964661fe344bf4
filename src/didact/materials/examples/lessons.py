"""What a model learns before a run on examples: labels, or another tensor of the data."""

import dataclasses
import re

from didact import catalogue, evaluation, hashing
from didact.experiment.config import RunConfig
from didact.experiment.lessons import Lesson, Reached
from didact.experiment.material import Run
from didact.loop import Budget, OptimizerConfig
from didact.materials.examples.data import ExampleData, labelled
from didact.parts.part import Warmup
from didact.sources import BatchSource, fingerprint, switch_target
from didact.types import Examples

LEAST_STEPS = 500
"""How many steps a teacher that is trained here takes at least."""
LIMIT = 5000
"""Steps after which a model that is still not right often enough is given up."""
EVERY = 25
"""Steps between two looks at how often it is right."""
_DRAWN = re.compile(r"((warm:\d+%?|(view|shifted|target):[^:]+):)*(mlp|cnn|transformer)(:.*)?")
"""Specs of models whose weights are drawn."""
SEED = 500_009
"""Added to the run's seed, so that a teacher of the student's kind begins with other weights."""


def lesson_of(run: Run[ExampleData], role: str, warmup: Warmup) -> Lesson:
    """Supervised training: of a teacher on every training label, of a student on those that it may see."""
    config, info = run.config, catalogue.find("supervised")
    train = _train(run.data, role, warmup)
    source = BatchSource(train, batch_size=min(config.batches.size, train.size), seed=config.seed + SEED)
    return Lesson(
        method=info.method_type(info.config_type(), warmup.model.requires_grad_(True)),
        source=source,
        budget=_budget(warmup, source, config),
        optimizer=OptimizerConfig(lr=warmup.rate),
        seed=config.seed + SEED,
        loop=dataclasses.replace(config.loop, clip_norm=None, log_every=EVERY if warmup.goal else None),
        reached=_reached(run.data, warmup) if warmup.goal else None,
        decided_by=_decided_by(run, warmup, train),
    )


def _decided_by(run: Run[ExampleData], warmup: Warmup, train: Examples) -> list[object] | None:
    """All that decides what is learned; None where weights come from elsewhere."""
    if _DRAWN.fullmatch(warmup.spec) is None:
        return None
    config, data = run.config, run.data
    # The inputs are standardised by all that the model was built for.
    parts = [data.examples, train, *([data.splits.validation] if warmup.goal else [])]
    told = [[fingerprint(part), int(hashing.of_bytes([part.tensors["id"].numpy()]))] for part in parts]
    own = [warmup.spec, warmup.seed, warmup.rate, config.teacher_epochs, config.batches.size, config.seed]
    return [*own, config.loop.device, config.loop.precision, told]


def _train(data: ExampleData, role: str, warmup: Warmup) -> Examples:
    train = data.labelled if role == "student" else labelled(data.splits.train)
    if warmup.label:
        train = switch_target(data.splits.train, warmup.label, like=data.examples)
    return train.with_tensors(x=train.tensors[warmup.inputs]) if warmup.inputs else train


def _budget(warmup: Warmup, source: BatchSource, config: RunConfig) -> Budget:
    if warmup.goal or warmup.steps:
        return Budget(steps=warmup.steps or LIMIT)
    # On few examples, so many passes would be too few steps to learn anything in.
    return Budget(epochs=max(config.teacher_epochs, LEAST_STEPS * source.batch_size / source.epoch_size))


def _reached(data: ExampleData, warmup: Warmup) -> Reached:
    validation = labelled(data.splits.validation)
    metric = data.metrics[0]

    def score() -> float:
        return evaluation.metrics(evaluation.predict(warmup.model, validation))[metric]

    return Reached(warmup.goal, score, validation.size)
