"""How long `didact --help` takes, next to importing a common pair of terminal packages."""

import contextlib
import io
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import partial

import harness

HELP = "import sys; sys.argv = ['didact', '--help']; from didact.cli import main; sys.exit(main())"
IMPORTS = "import typer, rich"


def _python(code: str, _: None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def _alone(code: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        exec(code, {})


def _check(results: Mapping[str, subprocess.CompletedProcess[str]]) -> None:
    for name, result in results.items():
        assert result.returncode == 0, f"{name} failed: {result.stderr}"
    assert "usage" in results["didact --help"].stdout.lower(), "didact --help printed no usage"


def cases(_: Namespace) -> list[harness.Case]:
    """One case: both sides start an interpreter of their own."""
    sides = {
        "didact --help": harness.Side(run=partial(_python, HELP), alone=partial(_alone, HELP)),
        IMPORTS: harness.Side(run=partial(_python, IMPORTS), alone=partial(_alone, IMPORTS)),
    }
    targets = {"didact --help": 1.3}
    return [harness.Case(name="start", sides=sides, bound=IMPORTS, check=_check, targets=targets)]


if __name__ == "__main__":
    sys.exit(harness.main("startup", harness.arguments(__doc__ or ""), cases))
