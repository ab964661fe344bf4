"""The command line itself: its commands and the look of its help, which is shown before anything else is imported."""

import argparse
from typing import ClassVar, NoReturn

from didact import __version__
from didact.errors import ConfigError

COMMANDS = {
    "list": "show the methods, or the students, teachers, worlds and other parts",
    "show": "describe a method, how it departs from its paper, and its options",
    "run": "teach a student by a method",
    "distill": "teach a student by a teacher (`run distill` by its everyday name)",
    "compare": "compare methods at equal budget over seeds, with cheap baselines",
    "replicate": "run the claims of methods again, and give their verdicts",
    "doctor": "check a set-up before any compute is spent",
    "report": "write the report of a run or a comparison anew",
    "resume": "go on with a run that was stopped",
    "chat": "talk to the language model that a run delivered",
    "export": "write the student of a run as safetensors, ONNX or for Hugging Face",
}
"""The commands, with what each does."""

_EXAMPLES = """examples:
  didact list
  didact list teachers
  didact distill --teacher forest.skops --student mlp:16 --data table.csv
  didact compare supervised distill --teacher cnn:32,64 --labels 100
"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaints are `ConfigError`s."""

    def error(self, message: str) -> NoReturn:
        """Raise `ConfigError`; argparse would print the usage and leave."""
        sentence = message[:1].upper() + message[1:]
        raise ConfigError(f"{sentence.rstrip('.')}. `{self.prog} --help` shows how it is used.")


def new_parser(prog: str, description: str, epilog: str | None = None) -> Parser:
    """An empty parser in the house's look."""
    from rich_argparse import RawDescriptionRichHelpFormatter

    class Formatter(RawDescriptionRichHelpFormatter):
        highlights: ClassVar[list[str]] = []
        group_name_formatter = str.capitalize

        def __init__(self, prog: str, **settings: object) -> None:
            super().__init__(prog, **{**settings, "max_help_position": 28})  # pyright: ignore[reportArgumentType]

    return Parser(prog=prog, description=description, epilog=epilog, formatter_class=Formatter, allow_abbrev=False)


def main_parser() -> Parser:
    """The parser of `didact` itself: its commands, and nothing about them."""
    parser = new_parser("didact", "Any student, taught by any teacher.", _EXAMPLES)
    parser.add_argument("--version", action="version", version=f"didact {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, words in COMMANDS.items():
        commands.add_parser(name, help=words, add_help=False)
    return parser
