"""The main command: its commands and the format of its help, which is shown before anything else is imported."""

import argparse
from typing import Any, ClassVar, NoReturn

from didact import __version__
from didact.errors import ConfigError

COMMANDS = {
    "list": "show the methods, or the students, teachers, worlds and other parts",
    "show": "describe a method, its departures from the paper, and its options",
    "run": "train a student with a method",
    "distill": "train a student with a teacher (short for `run distill`)",
    "compare": "compare methods at equal budget over seeds, with cheap baselines",
    "replicate": "replicate the claims of methods, and give their verdicts",
    "doctor": "check a set-up before any compute is spent",
    "split": "split a table into files of training, validation and test rows",
    "report": "write the report of a run or a comparison again",
    "resume": "continue a run or a comparison that was stopped",
    "chat": "chat with the language model that a run delivered",
    "predict": "predict new rows with the student of a run",
    "evaluate": "evaluate the student of a run on labelled rows",
    "export": "write the student of a run as safetensors, ONNX or for Hugging Face",
    "completion": "print the completion of bash, zsh or tcsh",
}
"""The commands with their help."""

_EXAMPLES = """examples:
  didact list
  didact list teachers
  didact distill --teacher forest.skops --student mlp:16 --data table.csv
  didact compare supervised distill --teacher cnn:32,64 --data digits
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
    """The parser of `didact` itself, with its commands but without their options."""
    parser = Parser(prog="didact", description="Any student, taught by any teacher.", epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"didact {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, words in COMMANDS.items():
        commands.add_parser(name, help=words, add_help=False)
    return parser
