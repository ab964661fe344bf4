"""Tell which share of the package's annotations say `Any`, and fail where it is too large.

`python scripts/check_any.py [FOLDER]` prints the share and the files with the most; it exits with 1 from `LIMIT` on. It
reads the source and imports nothing. Counted are the annotations of arguments, results and variables; one that has an
`Any` anywhere in it counts as one.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "didact"
LIMIT = 0.05
"""The share from which on it is too large."""
SHOWN = 10
"""How many files are named."""


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Every annotation in a file, in no order.

    Args:
        tree: the parsed file.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns


def says_any(annotation: ast.expr) -> bool:
    """Whether `Any` stands in an annotation, in quotes too."""
    quoted = " ".join(
        node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return "Any" in names or "Any" in quoted.replace("[", " ").replace("]", " ").replace(",", " ").split()


def count(package: Path) -> tuple[Counter[Path], int]:
    """How many annotations say `Any`, by file, and how many there are in all.

    Args:
        package: its folder.
    """
    found, total = Counter[Path](), 0
    for path in sorted(package.rglob("*.py")):
        for annotation in annotations(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            total += 1
            found[path] += says_any(annotation)
    return found, total


def main() -> int:
    """Print the share; 1 where it is too large."""
    found, total = count(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    share = found.total() / max(total, 1)
    sys.stdout.write(f"{found.total()} of {total} annotations say Any: {share:.1%}, and {LIMIT:.0%} is too many.\n")
    if share < LIMIT:
        return 0
    for path, number in found.most_common(SHOWN):
        sys.stdout.write(f"{number:5} {path}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
