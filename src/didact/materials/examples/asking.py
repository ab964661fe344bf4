"""What to label next, by the student of a finished run, and the answers: files that people and programs share.

In the folder `asked` of the run, `queries.csv` has the rows that wait for a label, `query.json` what they are of, and
`labels.csv` the labels that were taken, each of which was charged once. `labelled.csv` has all rows that have a label,
for the next run: a table with the answers filled in, or the names of images with their labels.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from didact.curricula.acquisition import FOR_NUMBERS, Ask, Seen, choose
from didact.documents import Document, read_object
from didact.errors import ConfigError, DataError, check_choice, check_range, nearest
from didact.evaluation import dropouts, outputs_of
from didact.experiment import records
from didact.files import whole_file
from didact.parts.student import Student
from didact.preprocessing.cells import Column, Frame, word_of, words_of
from didact.sources import arrays, delimited, label_files, tables
from didact.sources.inputs import Inputs
from didact.types import Examples

FOLDER, QUERIES, FACTS, LABELS, ANSWERS, LABELLED = (
    *("asked", "queries.csv", "query.json", "labels.csv", "answers.csv", "labelled.csv"),
)
"""The folder in that of a run, and its files."""
OWN = ("id", "label", "score")
"""Columns of the queries that are not the data's."""
BY = tuple(name for name in get_args(Ask) if name != "average_disagreement")
"""The acquisition functions that a finished student is enough for."""
DRAWS = 10
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Queries:
    """The rows that wait for a label."""

    rows: tuple[dict[str, str], ...]
    """Of the file, without those that have an answer: `id`, what is shown, an empty `label`, `score`."""
    facts: Document
    """`data`, `modality`, `task`, `classes`, `target`, `by` and `budget`."""
    labels: dict[str, str]
    """The labels that were taken, by id, in the order in which they came."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of some answers."""

    fresh: int
    """Labels that were new, and are charged."""
    missing: int
    """Rows of the files without a label."""
    open: int
    """Rows that still wait."""
    total: int
    """Labels that were charged so far."""


def read_queries(run: Path) -> Queries:
    """Read what waits for a label.

    Args:
        run: the directory of a run.

    Raises:
        DataError: nothing was asked yet, or a file is broken.
    """
    folder = run / FOLDER
    try:
        facts, labels = read_object(folder / FACTS), dict(_read(folder / LABELS)) if (folder / LABELS).exists() else {}
        with (folder / QUERIES).open(encoding="utf-8", newline="") as file:
            rows = tuple(row for row in csv.DictReader(file) if row["id"] not in labels)
    except FileNotFoundError:
        raise DataError(f"{run} has asked for nothing yet; ask with `didact query {run} --n 50`.") from None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"The queries of {run} cannot be read: {error}. Remove {folder} to begin anew.") from error
    return Queries(rows=rows, facts=facts, labels=labels)


def take_answers(run: Path, files: Sequence[Path]) -> Taken:
    """Take answers, all or none of them, and charge each row once.

    Args:
        run: the directory of a run that has asked.
        files: CSV files with the columns `id` and `label`; others are ignored, and an empty label is none yet.

    Raises:
        DataError: ids that were not asked for, unknown classes, or different labels of one row.
        ConfigError: more labels than the budget allows.
    """
    asked = read_queries(run)
    given, missing, several = dict[str, str](), 0, list[str]()
    for file in files:
        for name, label in _read(file):
            if not label:
                missing += 1
            elif {**asked.labels, **given}.get(name, label) != label:
                several.append(f"{name!r} ({ {**asked.labels, **given}[name]!r} and {label!r})")
            else:
                given[name] = label
    _refuse("has two labels for", several, "decide for one of them")
    known = {*asked.labels, *(row["id"] for row in asked.rows)}
    odd = [repr(name) for name in given if name not in known]
    _refuse("answers what was not asked:", odd, f"ids are those of {run / FOLDER / QUERIES}")
    _refuse("has labels that are no class:", _unfit(given, asked.facts), _classes(asked.facts))
    fresh = {name: label for name, label in given.items() if name not in asked.labels}
    total = len(asked.labels) + len(fresh)
    if asked.facts["budget"] is not None and total > asked.facts["budget"]:
        raise ConfigError(f"budget is {asked.facts['budget']}, but there are {total} answers; give a larger --budget.")
    _write(run / FOLDER / LABELS, ("id", "label"), [*asked.labels.items(), *fresh.items()])
    left = [row for row in asked.rows if row["id"] not in fresh]
    _write_rows(run / FOLDER / QUERIES, left, list(asked.rows[0]) if asked.rows else [*OWN])
    return Taken(fresh=len(fresh), missing=missing, open=len(left), total=total)


def query(
    run: Path, student: Student, *, n: int, by: str, data: Path | None, budget: int | None, seed: int
) -> tuple[Queries, int]:
    """Choose what to label next, so that `n` rows wait for a label.

    Args:
        run: the directory of a finished run.
        student: that of the run.
        n: how many rows are to wait, with those that wait already.
        by: the acquisition function.
        data: the pool; that of earlier queries, or the run's own data, where None.
        budget: how many labels may be taken in all; that of earlier queries where None.
        seed: of what is drawn.

    Returns:
        The rows that wait, and how many of them are new.

    Raises:
        ConfigError: more than the budget or the pool has, or an acquisition function that does not fit the student.
        DataError: the pool cannot be read, or is another than that of rows that wait.
    """
    check_range("n", n, at_least=1)
    check_choice("by", by, BY)
    before = read_queries(run) if (run / FOLDER / FACTS).exists() else None
    facts = _facts(run, student, by, data, budget, before)
    rows, labels = ((), {}) if before is None else (before.rows, before.labels)
    new = n - len(rows)
    if new > 0:
        _check_budget(facts["budget"], len(labels), len(rows), new)
        pool = _Pool(run, student, facts)
        taken = {*labels, *(row["id"] for row in rows)}
        chosen = pool.choose(by, new, taken, seed)
        rows = (*rows, *pool.shown(chosen))
    (run / FOLDER).mkdir(exist_ok=True)
    records.write_json(run / FOLDER / FACTS, facts)
    if rows:
        _write_rows(run / FOLDER / QUERIES, rows, list(rows[-1]))
    return Queries(rows=rows, facts=facts, labels=labels), max(new, 0)


def write_labelled(run: Path, student: Student) -> Path | None:
    """Write all rows of the pool that have a label, for the next run; the file, or None for arrays.

    Args:
        run: the directory of a run that has asked.
        student: that of the run.
    """
    asked = read_queries(run)
    pool, path = _Pool(run, student, asked.facts), run / FOLDER / LABELLED
    if pool.frame is None and not Path(asked.facts["data"]).is_dir():
        return None
    if pool.frame is None:
        known = {name: label for name, label in pool.labels.items() if label}
        _write(path, ("file", "label"), list({**known, **asked.labels}.items()))
        return path
    target = asked.facts["target"]
    labels = [asked.labels.get(name, pool.labels.get(name, "")) for name in pool.ids]
    filled = pool.frame.assign(**{target: labels})
    with whole_file(path) as partial:
        filled.to_csv(partial, index=False)
    return path


def _facts(
    run: Path, student: Student, by: str, data: Path | None, budget: int | None, before: Queries | None
) -> Document:
    if budget is not None:
        check_range("budget", budget, at_least=1)
    like = student.like
    if like.task == "embedding":
        raise ConfigError(f"{run} taught embeddings, which nobody can label; give a run of classes or numbers.")
    if like.task == "regression" and by not in FOR_NUMBERS:
        raise ConfigError(f"by is {by!r}, but {run} answers with numbers; {', '.join(FOR_NUMBERS)} would work.")
    if by == "bald" and not dropouts(student.learner):
        raise ConfigError("by is 'bald', but the student has no dropout; badge, entropy or kcenter would work.")
    known = None if before is None else Path(before.facts["data"])
    if data is not None and known is not None and data.absolute() != known and (before and before.rows):
        raise ConfigError(f"data is {str(data)!r}, but rows of {known} wait for a label; answer them first.")
    path = (known or _own_data(run)) if data is None else data.absolute()
    return {
        "data": str(path),
        "modality": like.modality,
        "task": like.task,
        "classes": list(like.classes),
        "target": like.target,
        "by": by,
        "budget": budget if budget is not None or before is None else before.facts["budget"],
    }


def _own_data(run: Path) -> Path:
    stored = records.read_config(run)
    source = str((stored["config"].get("data") or {}).get("source", ""))
    with records.working_folder(run, stored):
        path = Path(source).absolute()
    if not path.exists():
        raise ConfigError(
            f"{run} was taught on {source!r}, which is no file here; name the rows to ask for with --data."
        )
    return path


def _check_budget(budget: int | None, taken: int, waiting: int, new: int) -> None:
    left = math.inf if budget is None else budget - taken - waiting
    if new > left:
        raise ConfigError(
            f"budget is {budget}, of which {taken} labels were taken and {waiting} rows wait for one, so that {new} "
            f"more are too many; n={waiting + max(int(left), 0)} or a larger budget would work."
        )


class _Pool:
    """The rows that can be asked for, and what they look like."""

    def __init__(self, run: Path, student: Student, facts: Document) -> None:
        self.student, self.facts = student, facts
        self.path, self.like = Path(facts["data"]), student.like
        self.frame: Frame | None = None
        if self.path.is_file() and self.path.suffix.lower() == ".txt" and self.like.modality == "text":
            self.frame = tables.read_texts(self.path).rename(columns={"text": self.columns[0]})
        elif self.path.is_file() and tables.is_table(self.path):
            self.frame = tables.read(self.path)[0]
        self.parts = list(self._parts())
        self.ids = [name for part, _ in self.parts for name in self._ids(part)]
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise DataError(f"{self.path.name} has the id {twice[0]!r} more than once; ids must all be different.")
        self.labels = dict(zip(self.ids, self._labels(run), strict=True))

    @property
    def columns(self) -> list[str]:
        """The columns that the student reads."""
        known: Any = self.like.preprocessing
        if self.like.modality == "text":
            return [known.column]
        columns = getattr(known, "columns", ())
        return [getattr(column, "name", column) for column in columns]

    def _parts(self) -> Iterator[tuple[Inputs, Examples]]:
        self._start = 0
        return self.student.read_parts(self.path if self.frame is None else self.frame)

    def _ids(self, part: Inputs) -> list[str]:
        column = self.like.id_column
        if column and self.frame is not None and column not in self.frame.columns:
            raise DataError(
                f"{self.path.name} has no column {column!r}, which names the rows of the run. "
                f"{nearest(column, map(str, self.frame.columns))}"
            )
        first, self._start = self._start, self._start + len(part.ids)
        named = bool(column) or (self.like.modality == "image" and self.path.is_dir())
        return [str(word_of(one)) if named else str(first + place) for place, one in enumerate(part.ids)]

    def _labels(self, run: Path) -> list[str]:
        """What each row says of its label: empty where there is none."""
        own = records.read_config(run)["config"].get("data") or {}
        if isinstance(own.get("labels"), str) and self.path == _own_data(run):
            with records.working_folder(run, records.read_config(run)):
                return _words(label_files.read(Path(own["labels"]), self.ids, self.path.name)[1])
        found = list[str]()
        for part, _ in self.parts:
            if part.answers is None:
                found += [""] * len(part.ids)
                continue
            # A folder that is no class holds images without one.
            folders = self.like.modality == "image" and self.path.is_dir()
            said = _words(part.answers)
            found += ["" if folders and word not in self.like.classes else word for word in said]
        return found

    def choose(self, by: str, count: int, taken: set[str], seed: int) -> list[tuple[int, float]]:
        """The positions of the rows to ask for, with their scores."""
        known = torch.tensor([bool(self.labels[name]) or name in taken for name in self.ids])
        if count > int((~known).sum()):
            raise ConfigError(
                f"n asks for {count} more rows, but {self.path.name} has {int((~known).sum())} of {len(known)} without "
                "a label; ask for fewer, or name other rows with --data."
            )
        learner = self.student.learner
        looked = [outputs_of(learner, examples) for _, examples in self.parts]
        hidden = [found for _, found in looked if found is not None]
        members = None
        if by == "bald":
            members = torch.stack([self._draw(seed + draw) for draw in range(DRAWS)])
        seen = Seen(
            logits=torch.cat([logits for logits, _ in looked]),
            hidden=torch.cat(hidden) if len(hidden) == len(looked) else None,
            known=known,
            members=members,
        )
        found = choose(cast(Ask, by), seen, count, torch.Generator().manual_seed(seed))
        return list(zip(found.rows.tolist(), found.scores.tolist(), strict=True))

    def _draw(self, seed: int) -> Tensor:
        learner = self.student.learner
        return torch.cat([outputs_of(learner, examples, dropout=seed)[0] for _, examples in self.parts])

    def shown(self, chosen: Sequence[tuple[int, float]]) -> list[dict[str, str]]:
        """The lines of `queries.csv` for some rows."""
        cells = self._cells([row for row, _ in chosen])
        found = []
        for (row, score), shown in zip(chosen, cells, strict=True):
            own = {(f"{name} (data)" if name in OWN else name): cell for name, cell in shown.items()}
            found.append({"id": self.ids[row], **own, "label": "", "score": f"{score:.6g}"})
        return found

    def _cells(self, rows: Sequence[int]) -> list[dict[str, str]]:
        if self.frame is not None and self.like.modality == "series":
            values = self.frame[self.columns].iloc[list(rows)].to_numpy(dtype=np.float64, na_value=np.nan)
            return [{"series": _series(one[None])} for one in values]
        if self.frame is not None:
            hidden = {self.facts["target"], self.like.id_column}
            columns = [name for name in self.frame.columns if name not in hidden]
            columns = [name for name in columns if name in self.columns] if self.like.modality == "text" else columns
            part = {str(name): _words(self.frame[name].iloc[list(rows)]) for name in columns}
            return [{name: words[place] for name, words in part.items()} for place in range(len(rows))]
        if self.like.modality == "image":
            return [{"file": self.ids[row]} for row in rows]
        x = arrays.read(self.path)
        x = x["x" if "x" in x else "X"]
        if self.like.modality == "series":
            return [{"series": _series(np.atleast_2d(np.asarray(x[row], dtype=np.float64)))} for row in rows]
        return [{f"x{place}": f"{value:g}" for place, value in enumerate(np.ravel(x[row]))} for row in rows]


def _words(column: Column) -> list[str]:
    """The cells of a column as words, empty where they are missing."""
    codes, words = words_of(column)
    return [[*map(str.strip, words), ""][code] for code in codes.tolist()]


def _series(values: np.ndarray) -> str:
    return " ; ".join(" ".join(f"{value:.6g}" for value in channel) for channel in values)


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and labels of a CSV file, as they are written."""
    try:
        dialect = delimited.find_dialect(path, ".csv")
        table = delimited.read_words(path, dialect, gaps=False)
        if absent := [name for name in ("id", "label") if name not in dialect.names]:
            raise DataError(f"{path} has no column {absent[0]!r}. {nearest(absent[0], dialect.names)}")
        cells = [table.column(name).to_pylist() for name in ("id", "label")]
    except DataError as error:
        if "has no rows" in str(error):
            return
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    for name, label in zip(*cells, strict=True):
        yield name.strip(), label.strip()


def _unfit(given: dict[str, str], facts: Document) -> list[str]:
    if facts["task"] == "classification":
        return sorted({repr(label) for label in given.values() if label not in facts["classes"]})
    return sorted({repr(label) for label in given.values() if not _is_number(label)})


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _classes(facts: Document) -> str:
    classes = facts["classes"]
    return f"classes are {', '.join(classes[:20])}" if facts["task"] == "classification" else "labels are numbers"


def _refuse(what: str, found: Sequence[str], remedy: str) -> None:
    if found:
        more = ", ..." if len(found) > _NAMED else ""
        shown = ", ".join(found[:_NAMED]) + more
        raise DataError(f"The file of answers {what} {shown} ({len(found)} in all); {remedy}. Nothing was taken.")


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file, all of it or nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    with whole_file(path) as partial:
        partial.write_text(file.getvalue(), encoding="utf-8")


def _write_rows(path: Path, rows: Sequence[dict[str, str]], names: Sequence[str]) -> None:
    _write(path, names, [[row.get(name, "") for name in names] for row in rows])
