"""Training before a run on examples: on labels, or on another tensor of the data."""

import dataclasses
import re

from didact import catalogue, evaluation, hashing
from didact.experiment.config import RunConfig
from didact.experiment.material import Run
from didact.experiment.pretraining import Pretraining, StopAtGoal
from didact.loop import Budget, OptimizerConfig
from didact.materials.examples.data import ExampleData, select_labelled
from didact.parts.part import WarmStart
from didact.sources import BatchSource, fingerprint, switch_target
from didact.sources.masks import switch_masks
from didact.types import Examples

LEAST_STEPS = 500
"""Minimal number of steps of a teacher that is trained here."""
LIMIT = 5000
"""Steps after which a model that has not reached its accuracy is given up."""
EVERY = 25
"""Steps between two measurements of the accuracy."""
_DRAWN = re.compile(
    r"((warm:\d+%?|(view|shifted|target):[^:]+|first:[^:]+:\d+):)*(mlp|cnn|bn_cnn|fcn|transformer)(:.*)?"
)
"""Specs of models with random initial weights."""


def pretraining_of(run: Run[ExampleData], role: str, warm_start: WarmStart) -> Pretraining:
    """Supervised training of a teacher on every training label, of a student on the labels that it may see."""
    config, info = run.config, catalogue.find("supervised")
    train = _train(run.data, role, warm_start)
    order = hashing.stream(warm_start.seed, "order")
    source = BatchSource(train, batch_size=min(config.batches.size, train.size), seed=order)
    return Pretraining(
        method=run.data.method_type(info.method_type)(info.config_type(), warm_start.model),
        source=source,
        budget=_budget(warm_start, source, config),
        optimizer=OptimizerConfig(lr=warm_start.rate),
        seed=hashing.stream(warm_start.seed, "training"),
        loop=dataclasses.replace(config.loop, clip_norm=None, log_every=EVERY if warm_start.goal else None),
        goal=_goal(run.data, warm_start) if warm_start.goal else None,
        cache_key=_cache_key(run, warm_start, train),
    )


def _cache_key(run: Run[ExampleData], warm_start: WarmStart, train: Examples) -> list[object] | None:
    """Everything that determines the trained weights; None if the initial weights come from elsewhere."""
    if _DRAWN.fullmatch(warm_start.spec) is None:
        return None
    config, data = run.config, run.data
    # The inputs are standardised by the data that the model was built for.
    parts = [data.examples, train, *([data.splits.validation] if warm_start.goal else [])]
    data_keys = [[fingerprint(part), int(hashing.of_bytes([part.tensors["id"].numpy()]))] for part in parts]
    own = [warm_start.spec, warm_start.seed, warm_start.rate, config.teacher_epochs, config.batches.size]
    return [*own, config.loop.device, config.loop.precision, data_keys]


def _train(data: ExampleData, role: str, warm_start: WarmStart) -> Examples:
    train = data.labelled if role == "student" else select_labelled(data.splits.train)
    if warm_start.label and train.task == "segmentation":
        train = switch_masks(data.splits.train, warm_start.label)
    elif warm_start.label:
        train = switch_target(data.splits.train, warm_start.label, like=data.examples)
    return train.with_tensors(x=train.tensors[warm_start.inputs]) if warm_start.inputs else train


def _budget(warm_start: WarmStart, source: BatchSource, config: RunConfig) -> Budget:
    if warm_start.goal or warm_start.steps:
        return Budget(steps=warm_start.steps or LIMIT)
    # On few examples, `teacher_epochs` passes would be too few steps to learn anything.
    return Budget(epochs=max(config.teacher_epochs, LEAST_STEPS * source.batch_size / source.epoch_size))


def _goal(data: ExampleData, warm_start: WarmStart) -> StopAtGoal:
    validation = select_labelled(data.splits.validation)
    metric = "r2" if data.examples.task == "regression" else "accuracy"

    def score() -> float:
        return evaluation.metrics(evaluation.predict(warm_start.model, validation))[metric]

    return StopAtGoal(warm_start.goal, score, validation.size)
