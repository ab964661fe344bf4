"""Several teachers: their weighted mean for a method with one teacher, or each of them for a method with several.

The default is the mean of their probabilities. `committee:HOW:A+B` says how, in one word or several with commas:
`logit` averages logits, and `confidence`, `skill`, `agreement` and `learned` weigh the members; a number such as 0.5 is
the largest conflict in a row that the committee still answers. See `didact.teachers.Committee`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from didact.documents import Document
from didact.errors import ConfigError, check_choice
from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import Committee
from didact.teachers.committee import MEASURED
from didact.types import Cost, Examples

FORM = "committee:HOW:TEACHERS | A+B | 0.7*A+0.3*B"
EXAMPLE = "mlp:256,256+cnn:32,64"
HOW: dict[str, Document] = {
    "probability": {},
    "logit": {"space": "logit"},
    "confidence": {"weights": "confidence"},
    "skill": {"weights": "skill"},
    "agreement": {"weights": "agreement"},
    "learned": {"weights": "learned"},
}
"""The arguments of `Committee` for each word."""
ROWS = 256
"""Validation examples that the members are asked about at once."""


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The members, and their committee."""
    how = _how(spec)
    specs = spec.inner[0].members if spec.argument else spec.inner
    if any(one.weight != 1.0 for one in specs):
        if "weights" in how:
            raise spec.error(f"members that are weighted by {how['weights']} take no weights of their own.")
        how["weights"] = [one.weight for one in specs]
    rows = _labelled_rows(how, spec, purpose)
    parts = [purpose.member(i).build(one) for i, one in enumerate(specs)]
    joined = _joined(parts, spec, purpose)
    if isinstance(purpose, ForExamples):
        how["classes"] = len(purpose.examples.classes) or None
    committee = Committee([part.model for part in parts], names=[one.text for one in specs], **how)
    after = () if rows is None else (partial(measure, committee, rows),)
    return replace(joined, model=committee, settles=(*joined.settles, *after))


def measure(committee: Committee, rows: Callable[[], Examples], device: torch.device) -> Cost:
    """Measure the members on labelled validation rows; returns what that cost."""
    examples, before = rows(), committee.to(device).cost
    committee.measure(examples.batch(slice(at, at + ROWS)).to(device) for at in range(0, examples.size, ROWS))
    return spent(committee, before, examples.size)


def spent(committee: Committee, before: Cost, labels: int) -> Cost:
    """The cost of measuring on this many labels, from the members' cost before."""
    now = committee.cost
    found = {axis: getattr(now, axis) - getattr(before, axis) for axis in ("teacher_calls", "teacher_tokens", "money")}
    return Cost(labels=labels, **found)


def _how(spec: Spec) -> Document:
    """The arguments of `Committee` for the words of a spec.

    Raises:
        ConfigError: A word is unknown, or two of them say the same.
    """
    found: Document = {}
    for word in spec.argument.split(",") if spec.argument else ():
        field = f"how, in {spec.field}={spec.text!r},"
        if word[:1].isdigit() or word[:1] == ".":
            said: Document = {"most_conflict": convert(field, word, float)}
        else:
            check_choice(field, word, tuple(HOW))
            said = HOW[word]
        if said.keys() & found.keys():
            raise spec.error(f"{spec.argument!r} says twice how; name one weight and one space at most.")
        found |= said
    return found


def _labelled_rows(how: Document, spec: Spec, purpose: ForExamples | ForQuestions) -> Callable[[], Examples] | None:
    """The labelled validation rows, where the weights are measured on them.

    Raises:
        ConfigError: The weights or the limit of conflict do not fit the data, or there are no such rows.
    """
    weights = how.get("weights")
    if isinstance(purpose, ForQuestions):
        if weights in ("agreement", "learned") or "most_conflict" in how:
            raise spec.error(
                f"{spec.argument!r} is for examples with labels; over tokens, members are weighed by numbers, as in "
                "0.7*A+0.3*B, by confidence, or by skill."
            )
        return None
    regression = purpose.examples.task == "regression"
    if regression and (weights in ("confidence", "agreement", "learned") or "most_conflict" in how):
        raise spec.error(f"{spec.argument!r} needs classes, and the data are a regression; skill is for these too.")
    if weights not in MEASURED:
        return None
    if purpose.validation is None or not purpose.validation().size:
        raise spec.error(
            f"{weights} is measured on validation examples with labels, and there are none; give validation, such as "
            "validation=0.1 (--validation 0.1), or other weights."
        )
    return purpose.validation


def _joined(parts: list[Part], spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The combined properties of the members, as a part whose model is still the first member's."""
    tokenizers = {id(part.tokenizer): part.tokenizer for part in parts if part.tokenizer is not None}
    if len(tokenizers) > 1 and isinstance(purpose, ForExamples):
        raise ConfigError(
            f"{spec.subject}, whose members have tokenizers of their own; a committee over text can hold one such."
        )
    return Part(
        model=parts[0].model,
        spec=spec.text,
        control=any(part.control for part in parts),
        warm_starts=tuple(one for part in parts for one in part.warm_starts),
        target=next((part.target for part in parts if part.target), ""),
        tokenizer=next(iter(tokenizers.values()), None),
        origin=tuple(run for part in parts for run in part.origin),
        settles=tuple(one for part in parts for one in part.settles),
        members=() if spec.argument else tuple(parts),
    )
