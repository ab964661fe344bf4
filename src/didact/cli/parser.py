"""What the command line accepts. Nothing here imports torch."""

import argparse

from didact import catalogue
from didact.cli import flags
from didact.cli.top import COMMANDS, Parser, new_parser
from didact.parts.listing import LISTINGS


def command_parser(command: str, words: list[str]) -> Parser:
    """The parser of one command.

    Args:
        command: one of `COMMANDS`.
        words: what follows it; a method among them brings its own options.

    Returns:
        A parser for `words`.

    Raises:
        ConfigError: A method is named that does not exist.
    """
    parser = new_parser(f"didact {command}", COMMANDS[command][:1].upper() + COMMANDS[command][1:] + ".")
    _BUILDERS[command](parser, words)
    # The whole list of flags says less than the groups below it do.
    takes = [f"{a.metavar}{' ...' if a.nargs in ('+', '*') else ''}" for a in parser._get_positional_actions()]
    parser.usage = " ".join(["%(prog)s", *takes, "[options]"])
    return parser


def _list(parser: Parser, _words: list[str]) -> None:
    parser.add_argument(
        "parts", metavar="PARTS", nargs="?", default="methods", help=f"what to list: {', '.join(LISTED)} (methods)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    _add_store(parser)


def _show(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("method", metavar="METHOD", help="its name, package.module, or the path of its file")
    _add_store(parser)


def _run(parser: Parser, words: list[str]) -> None:
    # Without a method, its file of configuration names it, so a missing word is not yet an error.
    parser.add_argument("method", metavar="METHOD", nargs="?", default=argparse.SUPPRESS, help=_METHOD)
    _add_run(parser)
    _add_method(parser, words)


def _distill(parser: Parser, _words: list[str]) -> None:
    _add_run(parser)
    info = catalogue.find("distill")
    flags.add_method_flags(parser, "options of distill", info.options)
    group = parser.add_argument_group("language models")
    group.add_argument(
        "--on-policy",
        metavar="SHARE",
        nargs="?",
        type=float,
        const=1.0,
        help="teach a language model by gkd, with this share of the questions answered by the student itself (1)",
    )
    for option in catalogue.find("gkd").options:
        if option.name != "on_policy":
            flags.add_flag(group, option, dest=f"options.{option.name}")


def _doctor(parser: Parser, words: list[str]) -> None:
    parser.add_argument("method", metavar="METHOD", nargs="?", default=argparse.SUPPRESS, help=_METHOD)
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)
    _add_method(parser, words)


def _compare(parser: Parser, _words: list[str]) -> None:
    parser.add_argument(
        "arms",
        metavar="METHOD",
        nargs="+",
        help="a method, with settings of its own after commas (distill,temperature=4,teacher=random); or a baseline: "
        "label_spreading, logistic_regression, boosted_trees",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument("--seeds", metavar="SEEDS", default="0-4", help="such as 0-4 or 1,2,5 (0-4)")
    group.add_argument("--reference", metavar="METHOD", help="what the others are compared with (supervised, if there)")
    group.add_argument("--metric", metavar="METRIC", help="what is compared (accuracy, or r2 for a regression)")
    group.add_argument(
        "--baselines", metavar="NAMES", default="auto", help="cheap baselines: auto, none or names (auto)"
    )
    group.add_argument("--json", metavar="FILE", help="write the results here too")
    group.add_argument("--report", metavar="FILE", help="write the report here")
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)


def _replicate(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("methods", metavar="METHOD", nargs="*", help=_METHOD)
    parser.add_argument("--family", metavar="FAMILY", help="all methods of a family that claim something")
    parser.add_argument("--all", action="store_true", help="every method that claims something")
    parser.add_argument("--stale", action="store_true", help="only where the stored result is missing or stale")
    parser.add_argument("--seeds", metavar="SEEDS", help="others than the claim's, such as 200-204; not stored")
    parser.add_argument("--world", metavar="WORLD", help="another than the claim's; not stored")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes of one thread each (1)")
    _add_store(parser)


def _add_store(parser: Parser) -> None:
    parser.add_argument("--store", metavar="DIR", help="where results are kept (claims/results in the repository)")


def _report(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run or of a comparison")
    parser.add_argument("--out", metavar="FILE", help="where to write it (report.html in that directory)")


def _resume(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    flags.add_run_flag(parser, "progress")
    flags.add_run_flag(parser, "trust")


def _chat(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("model", metavar="RUN", help="the directory of a run or of a model, or hf:NAME")
    parser.add_argument("--temperature", metavar="N", type=float, default=0.7, help="0 answers greedily (0.7)")
    parser.add_argument("--max-new-tokens", metavar="N", type=int, default=256, help="the longest answer (256)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws (0)")


def _export(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    parser.add_argument("--to", metavar="safetensors|onnx|hf", default="safetensors", help="the format (safetensors)")
    parser.add_argument("--out", metavar="PATH", help="where to write it (beside the run's other files)")
    flags.add_run_flag(parser, "trust")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    parser.add_argument("--out", metavar="DIR", help="the run's directory (a new one under runs/)")
    flags.add_run_flags(parser)


def _add_method(parser: Parser, words: list[str]) -> None:
    """Add the options of the method that the words name, or that their file of configuration does."""
    first = _method_in(words)
    if first is None:
        return
    info = catalogue.find(first)
    flags.add_method_flags(parser, f"options of {info.name}", info.options)


def _method_in(words: list[str]) -> str | None:
    """The method that the words name, or that their file of configuration does."""
    if words and not words[0].startswith("-"):
        return words[0]
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("method", nargs="?")
    _add_run(finder)
    # The flags of any method must be known before a method among the words can be told from their values.
    for option in {option.name: option for info in catalogue.listing() for option in info.options}.values():
        flags.add_flag(finder, option)
    found = finder.parse_known_args(words)[0]
    if found.method is not None or found.config is None:
        return found.method
    from didact.experiment.reading import read_file

    method = read_file(found.config).get("method")
    return method if isinstance(method, str) else None


LISTED = ("methods", *LISTINGS)
"""What `didact list` prints."""
_METHOD = "a method's name (see `didact list`), package.module, or the path of its file"
_BUILDERS = {
    "list": _list,
    "show": _show,
    "run": _run,
    "distill": _distill,
    "compare": _compare,
    "replicate": _replicate,
    "doctor": _doctor,
    "report": _report,
    "resume": _resume,
    "chat": _chat,
    "export": _export,
}
