"""Output of the commands, for 80 columns. Importing it does not import torch."""

import dataclasses
import json
import math
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from didact import terminal
from didact.catalogue import CatalogueEntry, MethodInfo
from didact.documents import Values

if TYPE_CHECKING:
    from didact.evaluation import ArmResult
    from didact.experiment.checking import Check
    from didact.experiment.comparing import ComparisonRun
    from didact.experiment.running import RunResult
    from didact.materials.examples.adapting import Adaptation
    from didact.materials.examples.compression.result import Compression
    from didact.materials.examples.compression.trials import Trial
    from didact.materials.examples.recommending.result import Recommendation
    from didact.parts.listing import Entry
    from didact.sources.split_files import SplitFiles
    from didact.types import Cost

_COSTS = ("labels", "teacher_calls", "student_tokens", "sampled_tokens", "steps", "seconds", "peak_memory")
LINE_SECONDS = 10.0
"""The least time between two lines about progress where the output is not a terminal."""
_MARGIN = 9
"""Columns for the names of lines."""
RECALLS = 10
"""The largest number of classes whose recall is shown, the lowest first."""
_WIDE = 110
"""Columns of a terminal that has room for the papers of methods."""
_GAP = 3
"""Columns of a terminal between two columns of a table."""
_LESSONS = {
    "labels": "labels",
    "prompts with completions to learn from": "answers",
    "prompts with a chosen and a rejected completion": "pairs of answers",
    "teacher": "teacher",
    "teacher's features": "teacher's features",
    "further learners": "peers",
    "verifier": "verifier",
}
"""What can be learned from, by what `MethodInfo.needs` calls it."""
_MARKS = {"pass": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


def console() -> Console:
    """A console for the current standard output."""
    return terminal.console()


def write_json(document: object) -> None:
    """Print JSON."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def line(name: str, words: str) -> None:
    """Print a name and its value; a path is never broken."""
    console().print(_named(name, words), soft_wrap=True)


def paragraph(name: str, words: str) -> None:
    """Print a name and a text that may be wrapped."""
    out = console()
    out.print(_wrapped(name, words, out.width))


def _named(name: str, words: str) -> Text:
    return Text.assemble((f"{name:{_MARGIN - 1}} ", "dim"), words)


def _wrapped(name: str, words: str, width: int) -> Text:
    """As `_named`, with the lines after the first below the words."""
    margin = " " * _MARGIN
    lines = textwrap.fill(
        words, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
    return _named(name, lines[_MARGIN:])


def methods(found: Sequence[MethodInfo], verdicts: Sequence[str]) -> None:
    """Print a line for each method, by family: what it learns from, the verdict on its claim, and its paper.

    The paper is there where the terminal is wide, and is cut at its edge.
    """
    out, rows, family = console(), list[tuple[Text, ...]](), ""
    for info, verdict in zip(found, verdicts, strict=True):
        if info.family != family:
            family = info.family
            rows.append((Text(family.replace("_", "-"), style="bold"), *[Text()] * 3))
        words = (", ".join(_lessons(info)), verdict, info.title.rstrip("."))
        rows.append((Text(f"  {info.name}", style="cyan"), *map(Text, words)))
    table = _table("method", "learns from", "its claim")
    used = sum(max(len(row[number]) for row in rows) + _GAP for number in range(3))
    if out.width >= _WIDE:
        table.add_column("what it is")
        for row in rows:
            row[3].truncate(out.width - used, overflow="ellipsis")
    for row in rows:
        table.add_row(*row[: len(table.columns)])
    out.print(table)
    words = sorted({word for word in verdicts if not word.startswith("baseline")}, key=verdicts.count, reverse=True)
    paragraph("claims", ", ".join(f"{verdicts.count(word)} {word}" for word in words))
    line("more", "didact show METHOD")


def recipes(found: Sequence[CatalogueEntry], verdicts: Sequence[str]) -> None:
    """Print a line for each recipe: its kind, the verdict on its claim, and its title."""
    table = _table("recipe", "kind", "its claim", "what it is")
    for one, verdict in zip(found, verdicts, strict=True):
        table.add_row(Text(one.name, style="cyan"), one.kind, verdict, one.title)
    console().print(table)
    line("more", "didact show RECIPE; didact replicate RECIPE")


def systems(found: Sequence[Values]) -> None:
    """Print a line for each covered system: what covers it, and the verdict on its claim; and how many are not."""
    table, covered = _table("system", "covered by", "outcome"), [one for one in found if one["covered_by"]]
    for one in covered:
        outcomes = ", ".join(verdict or "not run" for verdict in one["outcome"].values())
        shown = Text(one["id"], style="cyan", no_wrap=True, overflow="ellipsis")
        table.add_row(shown, ", ".join(one["covered_by"]), outcomes)
    # A long name is cut short, rather than every line broken in two.
    for column in table.columns[1:]:
        column.no_wrap = True
    console().print(table)
    outside = sum(one["kind"] == "outside" for one in found)
    left = len(found) - len(covered) - outside
    paragraph("systems", f"{len(covered)} of {len(found)} are covered, {left} are not yet, {outside} are left out")
    line("more", "didact list systems --json")


def _lessons(info: MethodInfo) -> list[str]:
    """What a method learns from, in a word or two each."""
    words = [words for need, words in _LESSONS.items() if need in info.needs]
    if "teacher's features" in words:
        words.remove("teacher")
    return words or ["itself" if info.feed.get("rewards") == "itself" else "answers"]


def parts(found: Sequence["Entry"], use: str) -> None:
    """Print the kinds of one part: its form and description, and its materials where it is not for all."""
    every = {material for entry in found for material in entry.materials}
    table = _table("form", "what it is")
    for entry in found:
        limits = "" if set(entry.materials) in (set(), every) else f" ({', '.join(entry.materials)})"
        table.add_row(Text(entry.form.replace(" | ", "\n"), style="cyan"), Text.assemble(entry.help, (limits, "dim")))
    console().print(table)
    line("use", use)


def entry(info: CatalogueEntry) -> None:
    """Print the description of a method or recipe."""
    out = console()
    out.print(Text.assemble((info.name, "bold cyan"), f"  {info.family}  {info.path}"), soft_wrap=True)
    out.print()
    out.print(Text(_unwrapped(info.description)))
    out.print()


def method(info: MethodInfo) -> None:
    """Print the description of a method, what it needs, and how it is used."""
    entry(info)
    paragraph("needs", ", ".join(info.needs))
    name = info.name.replace("_", "-") if info.module.startswith("didact.") else info.module
    required = [f"--{need} {need.upper()}" for need in ("teacher", "verifier") if need in info.needs]
    line("use", " ".join(filter(None, [f"didact run {name}", *required, info.use])))


def options(info: MethodInfo) -> None:
    """Print a method's options."""
    if not info.options:
        return
    out = console()
    table = _table("option", "default", "what it does")
    for option in info.options:
        default = "needed" if option.default is None else option.default.strip("'\"") or "none"
        table.add_row(Text("--" + option.name.replace("_", "-"), style="cyan"), default, option.help)
    out.print()
    out.print(table)


def _unwrapped(docstring: str) -> str:
    """A docstring's paragraphs without their line breaks, so that they can be wrapped to the terminal."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in docstring.split("\n\n")]
    return "\n\n".join(paragraphs)


def run(result: "RunResult") -> None:
    """Print the result of a run: figures, cost, paths, and the next commands."""
    from didact.evaluation import phrases, wording

    out = console()
    if result.metrics:
        agreement = {name: value for name, value in result.teacher.items() if name.startswith("teacher_")}
        teacher = {name: value for name, value in result.teacher.items() if name not in agreement}
        others = {"teacher" if result.teacher_seen == 0 else "teacher*": teacher, "constant answer": result.constant}
        columns = {
            "student": {**result.metrics, **agreement},
            **{name: found for name, found in others.items() if found},
        }
        table = _table("on the test examples", *columns)
        for name in columns["student"]:
            cells = (wording.figure(name, found[name]) if name in found else "" for found in columns.values())
            table.add_row(phrases.heading(name), *cells)
        out.print(table)
    if "balanced_accuracy" in list(result.metrics)[:1]:
        lowest = sorted(result.recalls.items(), key=lambda item: item[1])[:RECALLS]
        words = ", ".join(f"{name} {wording.figure('accuracy', recall)}%" for name, recall in lowest)
        out.print(_wrapped("recall", words, out.width))
    out.print(_wrapped("cost", _cost_words(result.cost), out.width))
    if any(result.teacher_cost.as_dict().values()):
        out.print(_wrapped("teacher", f"trained here first: {_cost_words(result.teacher_cost)}", out.width))
    for step, verdict in result.verdicts:
        out.print(Text(f"step {step}: {verdict.monitor}: {verdict.reason}", style="yellow"))
    for note in result.notes:
        out.print(Text(note, style="yellow"))
    if result.status != "done":
        out.print(Text(f"{result.status}: {result.reason}", style="bold yellow"))
    if result.directory is not None:
        _next(result.status, result.directory)


def seeds(results: Sequence["RunResult"], *, as_json: bool) -> None:
    """Print the metrics of one run with several seeds: each mean with its 95% interval, and the directories."""
    from didact.evaluation import estimate, phrases

    names = [name for name in results[0].metrics if all(math.isfinite(one.metrics[name]) for one in results)]
    found = {name: estimate([one.metrics[name] for one in results]) for name in names}
    numbers = [one.config.seed for one in results]
    if as_json:
        runs = [{"directory": str(one.directory), "seed": one.config.seed, **one.as_dict()} for one in results]
        write_json({"seeds": numbers, "summary": {n: dataclasses.asdict(e) for n, e in found.items()}, "runs": runs})
        return
    table = _table("on the test examples", f"mean of {len(results)} seeds")
    for name, one in found.items():
        table.add_row(phrases.heading(name), phrases.mean_text(name, one))
    console().print(table)
    for one in results:
        line(f"seed {one.config.seed}", str(one.directory))


def _next(status: str, directory: Path) -> None:
    if status == "done":
        line("report", str(directory / "report.html"))
        line("student", str(directory / "student"))
        if any((directory / "student" / name).is_file() for name in ("config.json", "adapter_config.json")):
            line("chat", f"didact chat {directory}")
            return
        _next_of_student(directory)
    else:
        line("resume", f"didact resume {directory}")


def _next_of_student(directory: Path) -> None:
    line("predict", f"didact predict {directory} --data FILE --out answers.csv")
    line("export", f"didact export {directory} --to onnx")


def _cost_words(cost: "Cost") -> str:
    from didact.evaluation import wording

    found = {axis: value for axis, value in cost.as_dict().items() if axis in _COSTS and value}
    shown = []
    for axis, value in found.items():
        figure = wording.cost_figure(axis, value)
        shown.append(figure if axis in ("seconds", "peak_memory") else f"{figure} {wording.name_of(axis)}")
    return ", ".join(shown) or "nothing"


def split_files(found: "SplitFiles") -> None:
    """Print the files that a table was split into, and how to use them."""
    for name, path in found.paths.items():
        line(name, f"{path} ({found.sizes[name]:,} rows)")
    if found.untested:
        more = f" and {len(found.untested) - RECALLS} more" if len(found.untested) > RECALLS else ""
        words = f"Too few rows for any in the test: {', '.join(found.untested[:RECALLS])}{more}."
        console().print(Text(words, style="yellow"))
    flags = {"train": "--data", "validation": "--validation", "test": "--test"}
    words = " ".join(f"{flags[name]} {path}" for name, path in found.paths.items())
    line("use", f"didact distill --teacher MODEL {words}")


def comparison(compared: "ComparisonRun", report: Path, place: Path) -> None:
    """Print a comparison: the arms with intervals, their costs, the verdict, and the paths."""
    from didact.evaluation import wording

    found, out = compared.comparison, console()
    rows = found.table()
    costs = {wording.name_of(axis) for axis in found.used_axes()}
    wanted = [wording.name_of(axis) for axis in _COSTS if wording.name_of(axis) in costs]
    out.print(arms([{k: v for k, v in row.items() if k not in costs} for row in rows], found.reference))
    out.print(arms([{"cost": row["arm"], **{k: row[k] for k in wanted}} for row in rows], found.reference))
    out.print(Text(found.sentence(), style="bold"))
    for spec, figures in compared.teachers.items():
        out.print(Text(teacher_words(spec, figures), style="dim"))
    for note in compared.notes:
        out.print(Text(note, style="yellow"))
    if compared.interrupted:
        out.print(Text(f"Interrupted: these are the {len(found.seeds)} seeds that every arm finished.", style="yellow"))
        line("resume", f"didact resume {place}")
    line("results", str(place / "result.json"))
    line("report", str(report))


def teacher_words(spec: str, figures: Mapping[str, float]) -> str:
    """A teacher in a sentence: its metric, and the cost of training it."""
    from didact.evaluation import wording

    metric = next(name for name in ("accuracy", "r2", "rmse", "nll", "length") if name in figures)
    figure = f"{wording.figure(metric, figures[metric])}{wording.unit_of(metric)} {wording.name_of(metric)}"
    words = f"Teacher {spec}: {figure}{'*' if figures['seen'] else ''} on the test examples"
    if not figures["cost/labels"]:
        return f"{words}."
    labels, seconds = (wording.cost_figure(axis, figures[f"cost/{axis}"]) for axis in ("labels", "seconds"))
    return f"{words}; training it took {labels} labels and {seconds}, which are not in the arms' cost."


def arms(rows: Sequence[dict[str, str]], reference: str) -> Table:
    """A table of arms: the reference is dim, better arms are green, worse ones red."""
    first, *others = rows[0]
    table = _table(first, *others, right=True)
    for row in rows:
        style = (
            "dim"
            if row[first] == reference
            else {"better": "green", "worse": "red"}.get(row.get("verdict", "").rstrip("*"), "")
        )
        table.add_row(*(Text(cell) for cell in row.values()), style=style)
    return table


def checks(found: Sequence["Check"]) -> None:
    """Print the checks of the doctor."""
    table = _table("", "check", "what was found")
    for check in found:
        mark, style = _MARKS[check.level]
        table.add_row(Text(f"{mark} {check.level}", style=style), check.name, Text(check.detail))
    out = console()
    out.print(table)
    worst = (
        "fail" if any(c.level == "fail" for c in found) else "warn" if any(c.level == "warn" for c in found) else "pass"
    )
    words = {"pass": "The run is ready.", "warn": "The run would work, but see above.", "fail": "The run would fail."}
    out.print(Text(words[worst], style=_MARKS[worst][1]))


def adaptation(found: "Adaptation") -> None:
    """Print what adaptation changed on its rows, and the next command."""
    from didact.evaluation import wording

    line("rows", f"{found.rows:,}, whose labels were not learned, by {found.by}")
    line("entropy", f"{found.before['entropy']:.3f} nats before, {found.after['entropy']:.3f} after")
    if "accuracy" in found.before:
        before, after = (wording.figure("accuracy", one["accuracy"]) for one in (found.before, found.after))
        line("accuracy", f"{before}% before, {after}% after")
    if found.directory is not None:
        _next_of_student(found.directory)


def compression(found: "Compression") -> None:
    """Print a search: the students of the front and the chosen one, what was found, and the next commands."""
    from didact.evaluation import phrases, wording

    out = console()
    columns = (f"{phrases.heading(found.metric)}, validation", "parameters", "MB", "ms for 1,000 rows", "")
    table = _table("student", *columns, right=True)
    for row in found.rows:
        if row.front or row.name == found.name:
            size, speed = f"{row.megabytes:.3g}", f"{row.milliseconds:.3g}"
            numbers = (wording.figure(found.metric, row.metric), f"{row.parameters:,}", size, speed)
            chosen = row.name == found.name
            table.add_row(row.name, *numbers, "chosen" if chosen else "", style="green" if chosen else "")
    teacher = wording.figure(found.metric, found.teacher_validation), f"{found.teacher_milliseconds:.3g}"
    table.add_row("the teacher", teacher[0], "", "", teacher[1], "", style="dim")
    out.print(table)
    for sentence in found.sentences():
        out.print(Text(sentence, style="bold"))
    for note in found.notes:
        out.print(Text(note, style="yellow"))
    if found.directory is not None:
        line("report", str(found.directory / "report.html"))
        _next_of_student(found.directory)


def recommendation(found: "Recommendation") -> None:
    """Print a race: the finalists, what was found, and the next command."""
    from didact.evaluation import phrases, wording

    out, figure = console(), partial(wording.figure, found.metric)
    table = _table("method", "lr", "validation", "test", "", right=True)
    for one in found.finalists:
        chosen = one.method == found.method
        test = "" if one.test is None else figure(one.test)
        words, style = ("recommended", "green") if chosen else ("", "")
        table.add_row(one.method, f"{one.rate:.3g}", figure(one.validation), test, words, style=style)
    table.add_row("the teacher", "", "", figure(found.teacher), "", style="dim")
    out.print(Text(f"{phrases.heading(found.metric)}, mean of {len(found.seeds)} seeds:"))
    out.print(table)
    for sentence in found.sentences():
        out.print(Text(sentence, style="bold"))
    for note in found.notes:
        out.print(Text(note, style="yellow"))
    if found.directory is not None:
        line("all runs", str(found.directory / "recommend.json"))
        _next_of_student(found.directory)


class Counter:
    """The progress of a comparison or replication: a status line in a terminal, or else a plain line now and then.

    Args:
        checking: what is done before the first result.
        total: the number of results, if it is known.
    """

    def __init__(self, checking: str, total: int | None = None) -> None:
        self._of = "" if total is None else f" of {total}"
        self._out, self._count, self._next = terminal.console(stderr=True), 0, 0.0
        self._status = self._out.status(checking)

    def __enter__(self) -> "Counter":
        if self._out.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def tell(self, what: str, result: "ArmResult") -> None:
        """Count a result, and show it with its first metric."""
        from didact.evaluation import wording

        words = "failed"
        if not result.failed:
            name = next(iter(result.metrics))
            words = f"{wording.figure(name, result.metrics[name])}{wording.unit_of(name)} {wording.name_of(name)}"
        self._show(what, words)

    def tell_trial(self, trial: "Trial") -> None:
        """Count a trial of a search, and show it."""
        words = "failed" if trial.failed else f"{trial.metric:.4f} on validation rows"
        self._show(f"round {trial.number + 1}, seed {trial.seed}: {trial.name}", words)

    def tell_share(self, done: int, total: int) -> None:
        """Show how many of a known number of things are done."""
        self._print(Text(f"{done} of {total} shards"))

    def tell_plan(self, words: str) -> None:
        """Say what will be done."""
        self._out.print(Text(words), soft_wrap=True)

    def _show(self, what: str, words: str) -> None:
        self._count += 1
        self._print(Text(f"{what} {words} ({self._count}{self._of} results)"))

    def _print(self, line: Text) -> None:
        now = time.monotonic()
        if self._out.is_terminal:
            self._status.update(line)
        elif now >= self._next:
            self._next = now + LINE_SECONDS
            self._out.print(line, soft_wrap=True)


def _table(*columns: str, right: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if right and number else "left", overflow="fold")
    return table
