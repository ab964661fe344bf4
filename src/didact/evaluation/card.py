"""The model card of a delivered student: what it is, how it was trained, how well it does, and on what."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from didact.documents import Document, Values
from didact.evaluation import sections
from didact.files import whole_file

FILE = "README.md"
"""The name of the card, as model hubs expect it."""
_PREDICT = (
    "```python",
    "import didact",
    "",
    'student = didact.load("DIRECTORY")  # the one that holds this file',
    "answers = student.predict(rows)  # as they come: gaps and new categories are treated as in training",
    "```",
)
_CHAT = (
    "```console",
    "$ didact chat DIRECTORY",
    "```",
    "",
    "The directory that holds this file is one that transformers' `AutoModelForCausalLM.from_pretrained` loads.",
)
"""How a student is used."""


def write_card(path: Path, config: Values, result: Values) -> None:
    """Write the card of a run's student.

    Args:
        path: the file.
        config: the contents of the run's `config.json`.
        result: the contents of its `result.json`.
    """
    with whole_file(path) as partial:
        partial.write_text("\n".join(_lines(config, result)) + "\n", encoding="utf-8")


def _lines(config: Values, result: Values) -> Iterator[str]:
    settings, data = config["config"], config["data"]
    yield from ("---", "library_name: didact", "tags: [distillation, didact]", "---", "")
    yield from (f"# {_plain(settings['student'])} taught by {_plain(settings['method'])}", "")
    yield from ("A student that didact trained. Its measured answers, cost and data are below.", "")
    yield from ("## What", "")
    task = {"student": settings["student"], "parameters": f"{result['parameters']:,}", "task": data.get("task")}
    inputs = {"modality": data.get("modality"), "shape": data.get("shape"), "classes": data.get("classes")}
    yield from _items({**task, **inputs})
    yield from ("## How", "")
    teacher = {"method": settings["method"], "teacher": settings["teacher"], "verifier": settings["verifier"]}
    yield from _items({**teacher, "options": settings["options"], "budget": settings["budget"]})
    training = {name: settings["optimizer"][name] for name in ("name", "lr", "weight_decay", "schedule")}
    chosen = {"batch size": settings["batches"]["size"], "weights": settings["select"], "seed": settings["seed"]}
    yield from _items({**{f"optimizer {name}": value for name, value in training.items()}, **chosen})
    yield from _items({**config["versions"], "commit": config["commit"]})
    yield from ("## Use", "", *(_CHAT if data.get("task") == "questions" else _PREDICT), "")
    yield from (
        "## Metrics",
        "",
        "On test examples that no training has read, unless a limit below says otherwise.",
        "",
    )
    columns = {"student": result["metrics"], "teacher": result["teacher"], "constant answer": result.get("constant")}
    measured = {name: found for name, found in columns.items() if found}
    yield from _table("", sections.figures_table(measured)) if measured else ("None were measured.", "")
    # Without time and memory, which differ between equal runs: their students have equal files.
    costs = {
        name: {axis: spent for axis, spent in cost.items() if axis not in ("seconds", "peak_memory")}
        for name, cost in (("the student", result["cost"]), ("the teacher, trained here", result["teacher_cost"]))
    }
    yield from ("## Cost of training", "")
    yield from _table("", sections.costs_table({name: cost for name, cost in costs.items() if any(cost.values())}))
    yield from ("## Data", "")
    yield from _items({name: data.get(name) for name in ("name", "fingerprint", "sizes", "labels")})
    yield from ("## Limits", "")
    yield from (f"- {_plain(note)}" for note in result["notes"])
    yield "- The metrics are those of one run, and hold for rows like those of the test examples."
    yield "- They say nothing about rows from another source, another time, or groups that the data hardly have."


def _items(values: Values) -> Iterator[str]:
    """A list of the values that are given, with an empty line after it."""
    found = {name: value for name, value in values.items() if value not in (None, "", {}, [])}
    yield from (f"- {name}: {_words(value)}" for name, value in found.items())
    yield ""


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    return _plain(sections.format_value(value))


def _table(corner: str, table: Document) -> Iterator[str]:
    columns: Sequence[str] = table["columns"]
    yield f"| {' | '.join([corner, *columns])} |"
    yield f"|{' --- |' * (1 + len(columns))}"
    for name, cells in table["rows"]:
        yield f"| {' | '.join(_plain(cell) for cell in (name, *cells))} |"
    yield ""


def _plain(text: object) -> str:
    """Text on one line that neither ends a cell nor becomes markup: names come from the data."""
    marks = {mark: f"\\{mark}" for mark in "\\`*[]<>|"}
    return " ".join(str(text).split()).translate(str.maketrans(marks))
