"""What each member of a committee taught, and what it is worth: the figures without it, on validation examples."""

from collections.abc import Iterator

import torch
from torch import Tensor

from didact import evaluation
from didact.documents import Document, Values
from didact.evaluation import wording
from didact.experiment.material import Run
from didact.materials.examples.answers import logits_of, without_labels
from didact.materials.examples.data import ExampleData, select_labelled
from didact.teachers import Committee, committees
from didact.teachers.base import ask
from didact.types import Batch, Cost, Examples, Signal

ROWS = 256
"""Validation examples that the members are asked about at once."""


def committee_of(run: Run[ExampleData]) -> Committee | None:
    """The outermost committee of a run whose members can be told apart by their figures; None if there is none.

    None, too, where a member's answers cost something: nobody pays for an evaluation.
    """
    if len(run.teachers) != 1 or run.data.examples.task == "embedding" or run.priced:
        return None
    found = next(committees(run.teachers[0].model), None)
    # One that chooses among its members has no figures without one of them.
    return found if type(found) is Committee and len(found.teachers) > 1 else None


@torch.no_grad()
def describe(run: Run[ExampleData]) -> Document:
    """The members of the run's committee in figures, from the validation examples with a label.

    Returns:
        `rows`, the number of these examples; `metric`; `committee`, its metric; for classes `conflict`, the mean
        `Committee.conflict`, and `disagreement`, the share of rows in which not all members that answered name the same
        class; and `members`: for each its `name`, its metrics `alone` and `without` it, its `worth`, which is that of
        the committee less that without it; for classes `nll_worth`, the loss that it saves, `share`, the mean share of
        it in the probability of the committee's answers, and `most_for`, the class where that is largest; and
        `spent`, what its signals cost. Empty without a committee, or without such examples.
    """
    committee, examples = committee_of(run), select_labelled(run.data.splits.validation)
    if committee is None or not examples.size:
        return {}
    told = [_answers(committee, examples.batch(slice(at, at + ROWS))) for at in range(0, examples.size, ROWS)]
    figures = [_figures(committee, told, examples, without) for without in (None, *range(len(committee.names)))]
    metric = run.data.metrics[0]
    if not all(metric in one for one in figures):
        return {}
    whole, rest = figures[0], figures[1:]
    alone = [_alone(told, examples, number).get(metric) for number in range(len(committee.names))]
    members = [
        {
            "name": name,
            "alone": alone[number],
            "without": rest[number][metric],
            "worth": whole[metric] - rest[number][metric],
            **({"nll_worth": rest[number]["nll"] - whole["nll"]} if "nll" in whole else {}),
            "spent": getattr(committee.teachers[number], "cost", Cost()).spent(),
        }
        for number, name in enumerate(committee.names)
    ]
    if examples.task == "classification":
        shares = torch.cat([_shares(committee, signals, batch) for batch, signals in told])
        answers = torch.cat([logits_of(committee.mean(signals, batch)).argmax(-1) for batch, signals in told])
        for number, member in enumerate(members):
            member |= _taught(shares[:, number], answers, examples)
    return {
        "rows": examples.size,
        "metric": metric,
        "committee": whole[metric],
        **(_conflict(committee, told) if examples.task == "classification" else {}),
        "members": members,
    }


def notes(found: Values) -> Iterator[str]:
    """A sentence on how far the members disagree, and on what leaving each one out would cost.

    Args:
        found: the result of `describe`.
    """
    if not found:
        return
    metric, unit = found["metric"], " points" if wording.is_percent(found["metric"]) else ""
    worth = ", ".join(
        f"{one['name']} {wording.figure(metric, one['worth'], sign=True)}{unit}" for one in found["members"]
    )
    rows = f"{found['rows']} validation examples"
    if "disagreement" in found:
        yield (
            f"The committee's members name different classes in {found['disagreement']:.1%} of the {rows}. Each one's "
            f"worth there, in {wording.name_of(metric)}, by leaving it out: {worth}."
        )
    else:
        yield f"Each teacher's worth on the {rows}, in {wording.name_of(metric)}, by leaving it out: {worth}."


Told = tuple[Batch, list[Signal]]
"""A batch, with the members' signals."""


def _answers(committee: Committee, batch: Batch) -> Told:
    """The members' signals for a batch, which is shown to nobody with its labels."""
    seen = without_labels(batch)
    pending = [ask(one, seen) for one in committee.teachers]
    return seen, [one.get() for one in pending]


def _figures(committee: Committee, told: list[Told], examples: Examples, without: int | None) -> dict[str, float]:
    found = [logits_of(committee.mean(signals, batch, without=without)) for batch, signals in told]
    return evaluation.metrics(evaluation.predictions_of(torch.cat(found).float().cpu(), examples))


def _alone(told: list[Told], examples: Examples, number: int) -> dict[str, float]:
    single = Committee([None], classes=len(examples.classes) or None)
    found = [logits_of(single.mean([signals[number]], batch)) for batch, signals in told]
    return evaluation.metrics(evaluation.predictions_of(torch.cat(found).float().cpu(), examples))


def _shares(committee: Committee, signals: list[Signal], batch: Batch) -> Tensor:
    """Each member's share in the probability of the committee's answer: float [B, M]."""
    answer = logits_of(committee.mean(signals, batch)).argmax(-1)
    probs = committee.log_probs(signals).exp()
    own = probs.gather(-1, answer[None, :, None].expand(len(signals), -1, 1))[..., 0].T
    said = committee.shares(signals, batch) * own
    return said / said.sum(-1, keepdim=True).clamp(min=torch.finfo(said.dtype).tiny)


def _taught(share: Tensor, answers: Tensor, examples: Examples) -> Document:
    """The mean share of a member, and the class of answers in which it is largest."""
    counts = answers.bincount(minlength=len(examples.classes))
    by_class = torch.zeros(len(counts)).index_add(0, answers.cpu(), share.float().cpu()) / counts.cpu().clamp(min=1)
    best = int(by_class.argmax())
    return {"share": float(share.mean()), "most_for": examples.classes[best], "share_there": float(by_class[best])}


def _conflict(committee: Committee, told: list[Told]) -> Document:
    conflict = torch.cat([committee.conflict(signals) for _, signals in told])
    apart = torch.cat([committee.disagrees(signals) for _, signals in told])
    return {"conflict": float(conflict.mean()), "disagreement": float(apart.float().mean())}
