"""`didact label`: people label rows on a page in the browser."""

import re
import sys
from pathlib import Path

from didact.cli import show
from didact.errors import ConfigError
from didact.labelling.answers import Answers
from didact.labelling.rows import QUERIES, open_pool
from didact.labelling.server import LabelServer

_NAME = re.compile(r"[\w-]{1,40}")


def label(
    data: Path,
    *,
    out: Path | None,
    classes: str,
    people: str,
    overlap: float,
    port: int,
    modality: str | None = None,
    images_in: Path | None = None,
    target: str | None = None,
    id_column: str | None = None,
    text_column: str | None = None,
) -> None:
    """Serve the page until the command is interrupted.

    Args:
        data: see `open_pool`, also for the last five.
        out: the CSV of the labels; by default `labels.csv`, or `answers.csv` beside the queries of a run.
        classes: their names, with commas; by default those that the data know of.
        people: how many label, or their names, with commas.
        overlap: the share of the rows that several people all label.
        port: of the page.
        modality: see `open_pool`.
        images_in: see `open_pool`.
        target: see `open_pool`.
        id_column: see `open_pool`.
        text_column: see `open_pool`.

    Raises:
        DidactError: there is nothing to label, or an option that cannot work.
    """
    names, shown = parse_people(people), ("image" if images_in else None) if modality is None else modality
    pool = open_pool(
        data, target=target, id_column=id_column, text_column=text_column, modality=shown, images_in=images_in
    )
    out = out or (data / QUERIES.with_name("answers.csv") if (data / QUERIES).is_file() else Path("labels.csv"))
    answers = Answers(
        out,
        [row.id for row in pool.rows],
        parse_classes(classes) or check_classes(pool.classes),
        names,
        overlap if len(names) > 1 else 0.0,
    )
    try:
        server = LabelServer(pool, answers, port)
        left_out = f", {pool.labelled:,} more have a label" if pool.labelled else ""
        show.line("rows", f"{len(pool.rows):,} of {pool.name}{left_out}")
        if answers.gone:
            show.line("gone", f"{answers.gone:,} earlier acts are of rows or people that are not here now")
        for person, url in server.urls.items():
            show.line("page" if len(names) == 1 else person, url)
        show.line("answers", f"{out}; Ctrl-C ends, and the same command goes on")
        sys.stdout.flush()
        server.run()
        for person in names:
            done = answers.progress(person)
            show.line("labelled" if len(names) == 1 else person, f"{done['answered']:,} of {done['total']:,}")
        for pair in answers.agreement():
            show.paragraph("agree", _agreement(pair["people"], pair["rows"], pair["raw"], pair["kappa"]))
    finally:
        answers.close()


def parse_people(words: str) -> tuple[str, ...]:
    """The people that `--annotators` names or counts.

    Raises:
        ConfigError: fewer than one or more than 99, or a name that is unfit for a file or comes twice.
    """
    if re.fullmatch(r"-?\d+", words):
        if not 1 <= int(words) <= 99:
            raise ConfigError(f"annotators is {words}, but must be 1 to 99, or names with commas.")
        return tuple(str(number + 1) for number in range(int(words)))
    names = tuple(name.strip() for name in words.split(","))
    if odd := [name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1]:
        raise ConfigError(f"annotators has {odd[0]!r}; names are of letters, digits, _ and -, and all different.")
    return names


def parse_classes(words: str) -> tuple[str, ...]:
    """The classes that `--classes` names, at least two if any.

    Raises:
        ConfigError: fewer, or one that comes twice or is empty.
    """
    return check_classes(tuple(name.strip() for name in words.split(","))) if words else ()


def check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes as they came.

    Raises:
        ConfigError: fewer than two, or one that comes twice or is empty.
    """
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise ConfigError(
            f"classes is {','.join(names)!r}, but must be two names or more, all different: --classes a,b"
        )
    return names


def _agreement(people: list[str], rows: int, raw: float | None, kappa: float | None) -> str:
    who = " and ".join(people)
    if raw is None:
        return f"{who} have labelled no row in common yet"
    return f"{who}: {raw:.1%} of {rows:,} rows alike, Cohen's kappa {'undefined' if kappa is None else f'{kappa:.3f}'}"
