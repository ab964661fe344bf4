"""The main command: its commands and the format of its help, which is shown before anything else is imported."""

import argparse
from typing import Any, ClassVar, NoReturn

from didact import __version__
from didact.errors import ConfigError

GROUPS = {
    "See what there is": {
        "list": "show the methods, or the teachers, students and other parts",
        "show": "describe a method, its departures from the paper, its options",
    },
    "Teach": {
        "query": "choose what to label next, and take the answers",
        "label": "label rows by hand on a page in the browser",
        "split": "split a table into training, validation and test files",
        "doctor": "check a set-up before any compute is spent",
        "cache": "store a teacher's answers, and look after them",
        "distill": "train a student with a teacher (short for `run distill`)",
        "run": "train a student with a method",
        "resume": "continue a run or a comparison that was stopped",
    },
    "Find out what works": {
        "compare": "compare methods at equal budget over seeds",
        "compress": "find the smallest or fastest student like its teacher",
        "recommend": "race the methods on your data, and recommend one",
        "report": "write the report of a run or a comparison again",
        "check": "check the mechanism of methods where the truth is known",
        "replicate": "replicate the claims of methods, and give their verdicts",
    },
    "Use the student": {
        "adapt": "adapt the student of a run to rows of another domain",
        "predict": "predict new rows with the student of a run",
        "evaluate": "evaluate the student of a run on labelled rows",
        "export": "write the student as safetensors, ONNX or for Hugging Face",
        "chat": "chat with the language model that a run delivered",
    },
    "Set up": {"completion": "print the completion of bash, zsh or tcsh"},
}
"""The commands with their help, in the groups of the main help; each fits on a line of 80 columns."""
COMMANDS = {name: words for group in GROUPS.values() for name, words in group.items()}
"""The commands with their help."""

_EXAMPLES = """Examples:
  didact distill --teacher forest.skops --student mlp:16 --data table.csv
  didact predict runs/NAME --data new.csv --out answers.csv
  didact compare supervised distill --teacher cnn:32,64 --data digits

`didact COMMAND --help` shows the options of a command.
"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` with the common help format that raises `ConfigError`."""

    def __init__(self, **settings: Any) -> None:
        from rich_argparse import RawDescriptionRichHelpFormatter

        class Formatter(RawDescriptionRichHelpFormatter):
            highlights: ClassVar[list[str]] = []
            group_name_formatter = str.capitalize

            def __init__(self, prog: str, **settings: Any) -> None:
                super().__init__(prog, **{**settings, "max_help_position": 28})

        super().__init__(**{"formatter_class": Formatter, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raise `ConfigError`, where argparse would print the usage and exit."""
        sentence = message[:1].upper() + message[1:]
        raise ConfigError(f"{sentence.rstrip('.')}. `{self.prog} --help` shows the usage.")


def main_parser() -> Parser:
    """The parser of `didact` itself, whose help lists the commands."""
    parser = Parser(
        prog="didact", usage="%(prog)s COMMAND ...", description="Any student, taught by any teacher.", epilog=_EXAMPLES
    )
    parser.add_argument("--version", action="version", version=f"didact {__version__}")
    for title, commands in GROUPS.items():
        parser.add_argument_group(title, "\n".join(f"{name:12}{words}" for name, words in commands.items()))
    return parser
