"""Flags of the command line, generated from the fields of `RunConfig` and of a method's `Config`."""

import argparse
import ast
import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from didact.documents import Document
from didact.errors import ConfigError, nearest
from didact.experiment.reading import ALIASES
from didact.options import PACKAGE, Option, find_class, read_options

ELSEWHERE = ("method", "options", "budget")
"""The fields of a run that have no flag, or are added separately."""
_BUDGET_HELP = {
    "budget": "when to stop, on one axis or several: steps=500,seconds=60",
    "steps": "stop after N steps",
    "epochs": "stop after N passes over the examples",
    "seconds": "stop after N seconds",
}


@cache
def run_groups() -> dict[str, dict[str, Option]]:
    """The fields of `RunConfig` by flag, grouped by table, read from the source."""
    config = PACKAGE / "experiment" / "config.py"
    groups: dict[str, dict[str, Option]] = {"run": {}}
    for option in read_options(config, "RunConfig"):
        table = find_class(config, option.type) if option.type.isidentifier() else None
        stated = [line for line in table[1].body if isinstance(line, ast.AnnAssign)] if table is not None else []
        flags = [line.value for line in stated if ast.unparse(line.target) == "FLAGS" and line.value is not None]
        if not flags:
            groups["run"][option.name] = option
            continue
        renamed = ast.literal_eval(flags[0])
        groups[option.name] = {renamed.get(one.name, one.name): one for one in read_options(config, option.type)}
    return groups


@cache
def run_options() -> dict[str, Option]:
    """The fields of `RunConfig` and of its tables, by flag."""
    groups = run_groups().values()
    return {flag: dataclasses.replace(option, name=flag) for group in groups for flag, option in group.items()}


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field of `RunConfig`, in a group per table, and those of the budget.

    Args:
        parser: receives the flags; its result contains only those that are given.
    """
    for title, names in run_groups().items():
        group = parser.add_argument_group(title)
        for name in names:
            if name in ELSEWHERE:
                continue
            add_flag(group, run_options()[name], others=[other for other, field in ALIASES.items() if field == name])
        if title == "run":
            for name, words in _BUDGET_HELP.items():
                metavar = "AXIS=N" if name == "budget" else "N"
                group.add_argument(f"--{name}", metavar=metavar, default=argparse.SUPPRESS, help=words)


def hide_flags(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Leave flags out of the help; they are still read, so that whoever gives one can be told why it is refused."""
    for action in parser._actions:
        if action.dest in names:
            action.help = argparse.SUPPRESS


def add_method_flags(parser: argparse.ArgumentParser, title: str, options: Sequence[Option]) -> None:
    """Add a flag for each option of a method, in a group of their own.

    Raises:
        ConfigError: An option has the name of an option of every run.
    """
    if not options:
        return
    group = parser.add_argument_group(title)
    for option in options:
        if option.name in run_options() or option.name in _BUDGET_HELP:
            raise ConfigError(f"The method's option {option.name!r} has the name of an option of every run; rename it.")
        add_flag(group, option, dest=f"options.{option.name}")


def add_flag(group: Any, option: Option, *, others: Sequence[str] = (), dest: str | None = None) -> None:
    """Add the flag of one option; its value stays a string, which is converted and checked later."""
    names = ["--" + name.replace("_", "-") for name in (option.name, *others)]
    words = _help(option)
    if option.type == "bool":
        group.add_argument(
            *names,
            action=argparse.BooleanOptionalAction,
            dest=dest or option.name,
            default=argparse.SUPPRESS,
            help=words,
        )
        return
    action = "append" if option.type.startswith("tuple[str") else _StoreByOneName if others else "store"
    group.add_argument(
        *names, action=action, metavar=_metavar(option), dest=dest or option.name, default=argparse.SUPPRESS, help=words
    )


class _StoreByOneName(argparse.Action):
    """Keeps the value of a flag that has several names; a `ConfigError` where it is given by two of them."""

    given_by: str | None = None

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        self.given_by = self.given_by or option_string
        if option_string != self.given_by:
            raise ConfigError(
                f"{self.given_by} and {option_string} are both given, but mean the same; give only "
                f"{self.option_strings[0]}."
            )
        setattr(namespace, self.dest, values)


def add_run_flag(parser: argparse.ArgumentParser, name: str) -> None:
    """Add one flag of a run, such as `trust`, to a command without the others."""
    add_flag(parser, run_options()[name])


def trusted_names(namespace: argparse.Namespace) -> tuple[str, ...]:
    """The names in `--trust`, which may be repeated or contain commas."""
    words = ",".join(getattr(namespace, "trust", ()))
    return tuple(word.strip() for word in words.split(",") if word.strip())


def flag_values(namespace: argparse.Namespace) -> Document:
    """The values of the given flags, by field; a method's own options under `options`."""
    values: Document = {}
    options: Document = {}
    for name, given in vars(namespace).items():
        # A flag that may be repeated gives a list.
        value = ",".join(given) if isinstance(given, list) else given
        if name.startswith("options."):
            options[name.removeprefix("options.")] = value
        elif name in run_options() or name in _BUDGET_HELP:
            values[name] = value
    return {**values, "options": options} if options else values


def refuse_unknown(extras: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Raise `ConfigError` for the first unknown argument, with the nearest flags."""
    word = next((extra for extra in extras if extra.startswith("-")), extras[0]).partition("=")[0]
    if not word.startswith("-"):
        raise ConfigError(f"The argument {word!r} is one too many. `{parser.prog} --help` shows the usage.")
    known: Iterable[str] = (flag for action in parser._actions for flag in action.option_strings)
    offer = nearest(word, [flag for flag in known if flag.startswith("--")])
    if offer.startswith("Known"):
        offer = f"`{parser.prog} --help` lists them all."
    raise ConfigError(f"There is no option {word}. {offer}")


def _help(option: Option) -> str:
    default = option.default
    empty = default is None or default in ("None", "False", "()", "''") or default.startswith("field(")
    plain = "" if default is None or empty else "on" if default == "True" else default.strip("'\"")
    shown = f" ({plain})" if plain else ""
    return f"{option.help}{shown}".replace("%", "%%")


def _metavar(option: Option) -> str:
    if "Literal[" in option.type:
        choices = option.type.split("Literal[", 1)[1].split("]", 1)[0]
        return "|".join(choice.strip(" '\"") for choice in choices.split(","))
    if "int" in option.type.split(" | ") or "float" in option.type.split(" | "):
        return "N"
    return option.name.rpartition("_")[2].upper()
