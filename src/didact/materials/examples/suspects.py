"""The training labels that a run doubts, as a ranked list for people."""

import csv
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from didact.evaluation.suspects import Suspects, find_suspects
from didact.experiment.material import Run
from didact.files import whole_file
from didact.materials.examples.data import ExampleData
from didact.materials.examples.source import train_of
from didact.memory import JudgesLabels, LabelEvidence
from didact.preprocessing import Rows
from didact.types import Examples, is_labelled

FILE = "suspects.csv"
"""Its name in a run's directory."""


def note(run: Run[ExampleData]) -> str:
    """How many labels are suspects, and what says so, as a sentence."""
    _, rows, evidence = _labelled(run)
    count = int(_find(run, rows, evidence).suspect.sum())
    return (
        f"{count:,} of {len(rows):,} training labels are suspects, by confident learning on {evidence.source}; "
        f"in a run with a directory, {FILE} lists them."
    )


def write(run: Run[ExampleData], path: Path) -> None:
    """Write the training labels as CSV, the most doubtful first.

    The columns are `row` (its number in the data, from 0), `given` and `suggested` (classes), `self_confidence`,
    `normalised_margin` and `suspect` (see `didact.evaluation.suspects.find_suspects`), the method's own scores, where
    cleanlab is installed `cleanlab_rank` (from 1, by its `find_label_issues` on the same probabilities; empty for
    labels that it trusts), and where labels were redrawn `in_data`, the label before that.

    Args:
        run: one that is done, whose method has `label_evidence`.
        path: the file, which is replaced as a whole.
    """
    examples, rows, evidence = _labelled(run)
    found = _find(run, rows, evidence)
    label, classes = examples.tensors["label"][rows], examples.classes
    columns: dict[str, list[object]] = {
        "row": _numbers(run, examples)[rows].tolist(),
        "given": [classes[k] for k in label.tolist()],
        "suggested": [classes[k] for k in found.suggested.tolist()],
        "self_confidence": _rounded(found.self_confidence),
        "normalised_margin": _rounded(found.margin),
        "suspect": ["yes" if one else "no" for one in found.suspect.tolist()],
        **{name: _rounded(score[rows]) for name, score in evidence.scores.items()},
        **dict(_by_cleanlab(label, evidence.probs[rows])),
    }
    if run.config.data.redraw_labels:
        columns["in_data"] = [classes[k] for k in _before(run, examples)[rows].tolist()]
    if examples.texts:
        columns["text"] = [examples.texts[row] for row in rows.tolist()]
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["rank", *columns])
        for rank, place in enumerate(found.order.tolist(), 1):
            out.writerow([rank, *(column[place] for column in columns.values())])


def _labelled(run: Run[ExampleData]) -> tuple[Examples, Tensor, LabelEvidence]:
    """The method's examples, the positions of those that have a label and were predicted, and what says so."""
    examples, method = train_of(run), run.method
    assert isinstance(method, JudgesLabels)
    evidence = method.label_evidence()
    seen = evidence.seen.cpu()
    evidence = evidence._replace(
        probs=evidence.probs.cpu(), seen=seen, scores={name: score.cpu() for name, score in evidence.scores.items()}
    )
    return examples, (is_labelled(examples.tensors["label"]) & seen).nonzero()[:, 0], evidence


def _find(run: Run[ExampleData], rows: Tensor, evidence: LabelEvidence) -> Suspects:
    return find_suspects(train_of(run).tensors["label"][rows], evidence.probs[rows])


def _numbers(run: Run[ExampleData], examples: Examples) -> Tensor:
    """The numbers of examples in the data as they were read, int64 [N]."""
    if isinstance(examples.rows, Rows):
        return examples.rows.positions
    ids, order = run.data.opened.tensors["id"].sort(stable=True)
    return order[torch.searchsorted(ids, examples.tensors["id"])]


def _before(run: Run[ExampleData], examples: Examples) -> Tensor:
    """The labels of examples in the data, int64 [N]."""
    train = run.data.splits.train
    ids, order = train.tensors["id"].sort(stable=True)
    return train.tensors["label"][order[torch.searchsorted(ids, examples.tensors["id"])]]


def _by_cleanlab(labels: Tensor, probs: Tensor) -> Iterator[tuple[str, list[object]]]:
    """The column of cleanlab's ranks, where it is installed."""
    if importlib.util.find_spec("cleanlab") is None:
        return
    found = importlib.import_module("cleanlab.filter").find_label_issues(
        labels.numpy(), probs.double().numpy(), return_indices_ranked_by="self_confidence", n_jobs=1
    )
    ranks: list[object] = [""] * len(labels)
    for rank, place in enumerate(found.tolist(), 1):
        ranks[place] = rank
    yield "cleanlab_rank", ranks


def _rounded(numbers: Tensor) -> list[object]:
    return [f"{number:.4g}" for number in numbers.tolist()]
