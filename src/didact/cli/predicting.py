"""`didact predict` and `didact evaluate`: a student in use on a file, a part of it at a time."""

import sys
from collections.abc import Mapping
from pathlib import Path

from didact.cli import show
from didact.evaluation import phrases, wording
from didact.evaluation.measures import metrics
from didact.files import whole_file
from didact.parts import saved
from didact.parts.student import add_counts, join_answers
from didact.sources import delimited


def predict(run: str, data: str, out: str | None, trust: tuple[str, ...]) -> None:
    """Write a student's answers as CSV.

    Args:
        run: of the student.
        data: of the rows.
        out: the file that is written, as a whole or not at all; None prints the answers.
        trust: see `saved.load`.

    Raises:
        DidactError: the student or the rows cannot be used.
    """
    parts = saved.load(run, trust).predict_parts(data)
    if out is None:
        for start, part in enumerate(parts):
            sys.stdout.write(delimited.text_of(part.to_frame(), names=not start))
        return
    counts = []
    with whole_file(Path(out)) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        for start, part in enumerate(parts):
            file.write(delimited.text_of(part.to_frame(), names=not start))
            counts.append((len(part.ids), part.unknown, part.missing))
    show.line("answers", f"{sum(size for size, _, _ in counts):,} rows, written to {out}")
    _print_counts(*(add_counts(count[place] for count in counts) for place in (1, 2)))


def evaluate(run: str, data: str, trust: tuple[str, ...], *, as_json: bool) -> None:
    """Print the metrics of a student's answers to rows with answers; see `predict` for the arguments."""
    student = saved.load(run, trust)
    if student.like.task == "embedding":
        found = student.evaluate(data)
        if as_json:
            show.write_json({"metrics": found})
        for name, value in found.items() if not as_json else ():
            show.line(wording.figure(name, value), phrases.heading(name))
        return
    answers = join_answers(student.predict_parts(data, labelled=True))
    found = metrics(answers.predictions)
    if as_json:
        odd = {"unknown": dict(answers.unknown), "missing": dict(answers.missing)}
        show.write_json({"rows": answers.predictions.labelled().size, "metrics": found, **odd})
        return
    show.line("rows", f"{answers.predictions.labelled().size:,} with an answer, of {len(answers.ids):,}")
    for name, value in found.items():
        show.line(wording.figure(name, value), phrases.heading(name))
    _print_counts(answers.unknown, answers.missing)


def _print_counts(unknown: Mapping[str, int], missing: Mapping[str, int]) -> None:
    for title, counts, words in (
        ("unknown", unknown, "categories that training rows hardly had"),
        ("missing", missing, "empty cells, filled as in training"),
    ):
        if counts:
            show.line(title, f"{words}: " + ", ".join(f"{count:,} in {name!r}" for name, count in counts.items()))
