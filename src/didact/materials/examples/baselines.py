"""The cheap baselines of runs on examples, evaluated like students."""

import time

from didact import evaluation, hashing
from didact.evaluation import ArmResult
from didact.experiment.config import RunConfig
from didact.materials.examples.data import ExampleData, count_labels, select_labelled
from didact.types import Cost


def applicable(data: ExampleData, config: RunConfig) -> tuple[str, ...]:
    """The baselines that fit the training examples, the cheapest first."""
    return evaluation.baselines_for(data.train) if data.has_labels else ()


def evaluate(name: str, data: ExampleData, config: RunConfig) -> ArmResult:
    """Fit a baseline on the labels that a student may see, and score it on the test examples."""
    start = time.perf_counter()
    test = select_labelled(data.splits.test)
    answers = evaluation.baseline_predictions(name, data.train, test, seed=hashing.stream(config.seed, "baseline"))
    cost = Cost(labels=count_labels(data.train), seconds=time.perf_counter() - start)
    cost.examples = data.train.size if name == "label_spreading" else cost.labels
    return ArmResult(data.order_metrics(evaluation.metrics(answers)), cost, evaluation.diagnostics(answers))
