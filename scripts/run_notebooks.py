"""Runs the notebooks of the documentation, and stores what their cells print.

With `--check`, nothing is written: `make docs` asks whether they run, and print as many lines as is stored.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def run(document: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells of a notebook in one namespace, and replace their outputs by what they print."""
    found: dict[str, Any] = {}
    count = 0
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"{cell['id']} of the notebook", "exec"), found)
        text, count = printed.getvalue().splitlines(keepends=True), count + 1
        cell["execution_count"] = count
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": text}] if text else []
    return document


def lines(document: dict[str, Any]) -> list[int]:
    """The number of lines that each cell with an output prints; figures may differ between machines."""
    return [len(output["text"]) for cell in document["cells"] for output in cell.get("outputs", ())]


def main(words: list[str]) -> None:
    """Run the named notebooks or all, and write them back or check them."""
    paths = [Path(word) for word in words if word != "--check"] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        document = run(json.loads(text))
        if "--check" not in words:
            path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        elif lines(document) != lines(json.loads(text)):
            sys.exit(f"{path} prints other lines than are stored in it; run scripts/run_notebooks.py {path}.")


if __name__ == "__main__":
    main(sys.argv[1:])
