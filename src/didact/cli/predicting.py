"""`didact predict` and `didact evaluate`: a student in use on a file, a part of it at a time."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from didact.cli import show
from didact.errors import import_optional
from didact.evaluation import phrases, wording
from didact.evaluation.measures import metrics
from didact.files import whole_file
from didact.parts import saved
from didact.parts.student import Answers, add_counts, join_answers
from didact.sources import delimited


def predict(run: str, data: str, out: str | None, trust: tuple[str, ...]) -> None:
    """Write a student's answers as CSV.

    Args:
        run: of the student.
        data: of the rows.
        out: the file that is written, as a whole or not at all; None prints the answers. A student of masks writes a
            folder of them, as PNG.
        trust: see `saved.load`.

    Raises:
        DidactError: the student or the rows cannot be used.
    """
    student = saved.load(run, trust)
    parts = student.predict_parts(data)
    if out is not None and student.like.task == "segmentation":
        _write_masks(parts, Path(out))
        return
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


def _write_masks(parts: Iterable[Answers], folder: Path) -> None:
    """Write masks whose pixels are the numbers of classes, each under the name of its image."""
    pillow = import_optional("PIL.Image", "vision", "Writing masks", "pillow")
    count = 0
    for part in parts:
        for name, mask in zip(part.ids, part.masks, strict=True):
            path = (folder / str(name)).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                pillow.fromarray(mask.astype("uint8")).save(partial, format="PNG")
            count += 1
    show.line("masks", f"{count:,} masks, written to {folder}")


def evaluate(run: str, data: str, trust: tuple[str, ...], *, as_json: bool) -> None:
    """Print the metrics of a student's answers to rows with answers; see `predict` for the arguments."""
    student = saved.load(run, trust)
    if student.like.task in ("embedding", "segmentation"):
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
