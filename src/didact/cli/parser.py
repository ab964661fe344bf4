"""Parsers of the commands. Nothing here imports torch."""

import argparse
from collections.abc import Mapping

from didact import catalogue
from didact.cli import flags
from didact.cli.top import COMMANDS, Parser
from didact.experiment.reading import SEARCHED
from didact.parts.listing import LISTINGS


def command_parser(command: str, words: list[str]) -> Parser:
    """The parser of one command.

    Args:
        command: one of `COMMANDS`.
        words: the arguments after it; a method among them adds its own options.

    Returns:
        A parser for `words`.

    Raises:
        ConfigError: A method is unknown.
    """
    parser = Parser(prog=f"didact {command}", description=COMMANDS[command][:1].upper() + COMMANDS[command][1:] + ".")
    _BUILDERS[command](parser, words)
    # The groups of flags below replace the long list in the usage.
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
    # A configuration file may name the method, so a missing argument is not yet an error.
    parser.add_argument("method", metavar="METHOD", nargs="?", default=argparse.SUPPRESS, help=_METHOD)
    _add_output(parser)
    _add_method(parser, words)
    flags.add_run_flags(parser)


def _distill(parser: Parser, _words: list[str]) -> None:
    _add_output(parser)
    info = catalogue.find("distill")
    flags.add_method_flags(parser, "options of distill", info.options)
    group = parser.add_argument_group("language models")
    group.add_argument(
        "--on-policy",
        metavar="SHARE",
        nargs="?",
        type=float,
        const=1.0,
        help="distil a language model by gkd, with on-policy completions of the student for this share of prompts (1)",
    )
    embedding = parser.add_argument_group("embeddings")
    embedding.add_argument(
        "--embeddings",
        action="store_true",
        help="learn the embeddings of a teacher that is an encoder, such as hf:DIRECTORY; short for --task embedding",
    )
    for option in catalogue.find("gkd").options:
        if option.name != "on_policy":
            flags.add_flag(group, option, dest=f"options.{option.name}")
    flags.add_run_flags(parser)


def _doctor(parser: Parser, words: list[str]) -> None:
    parser.add_argument("method", metavar="METHOD", nargs="?", default=argparse.SUPPRESS, help=_METHOD)
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    _add_method(parser, words)
    flags.add_run_flags(parser)


def _cache(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("action", metavar="build|write|info|verify|merge|prune", help="what to do")
    parser.add_argument("directory", metavar="DIR", help="the cache's directory; build makes it")
    parser.add_argument("others", metavar="OTHER", nargs="*", help="merge: the caches whose shards are copied")
    group = parser.add_argument_group("build")
    group.add_argument(
        "--method", metavar="METHOD", help="the method whose teacher it is (distill, or taid for language data)"
    )
    kept = group.add_mutually_exclusive_group()
    kept.add_argument(
        "--top-k", metavar="N", type=int, help="keep the N likeliest tokens or classes, and the rest's sum"
    )
    kept.add_argument("--draws", metavar="N", type=int, help="keep N tokens or classes drawn by their probabilities")
    group.add_argument("--bits", metavar="8|16|32", type=int, help="of each number (8 with --top-k and --draws)")
    group.add_argument("--features", metavar="NAMES", help="also store the outputs of these modules, with commas")
    group.add_argument("--json", action="store_true", help="print what there is as JSON")
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)


def _compare(parser: Parser, _words: list[str]) -> None:
    parser.add_argument(
        "arms",
        metavar="METHOD",
        nargs="+",
        help="a method, with its own settings after commas (distill,temperature=4,teacher=random); or a baseline: "
        "label_spreading, logistic_regression, boosted_trees",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument("--seeds", metavar="SEEDS", default="0-4", help="such as 0-4 or 1,2,5 (0-4)")
    group.add_argument(
        "--reference", metavar="METHOD", help="the arm that the others are compared with (supervised, if given)"
    )
    group.add_argument("--metric", metavar="METRIC", help="the metric to compare (accuracy, or r2 for a regression)")
    group.add_argument(
        "--smallest-effect",
        metavar="X",
        type=float,
        help="the smallest effect of interest, in the metric's unit (0.01 is a point of accuracy): arms that differ by "
        "less are equivalent; without it, what is not better or worse is undecided",
    )
    group.add_argument(
        "--baselines", metavar="NAMES", default="auto", help="cheap baselines: auto, none or names (auto)"
    )
    group.add_argument("--out", metavar="DIR", help="the comparison's directory (a new one under runs/)")
    group.add_argument("--json", metavar="FILE", help="also write the results to this file")
    group.add_argument("--report", metavar="FILE", help="write the report to this file")
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)


def _compress(parser: Parser, _words: list[str]) -> None:
    group = parser.add_argument_group("search")
    group.add_argument("--within", metavar="N", default="1", help="the largest distance, in points of the metric (1)")
    group.add_argument("--minutes", metavar="N", default="5", help="how long the search may take (5)")
    group.add_argument(
        "--prefer",
        metavar="size|latency",
        default="size",
        help="the smallest file, or the fastest for 1,000 rows",
    )
    group.add_argument(
        "--students",
        metavar="STUDENT",
        nargs="+",
        default=(),
        help="the nets to try, and of a table linear, tree:LEAVES and boosted:TREES (those that fit the data)",
    )
    group.add_argument("--seeds", metavar="SEEDS", default="0-2", help="of the last round (0-2)")
    group.add_argument("--out", metavar="DIR", help="the search's directory (a new one under runs/)")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)
    flags.hide_flags(parser, SEARCHED)


def _recommend(parser: Parser, _words: list[str]) -> None:
    group = parser.add_argument_group("race")
    group.add_argument("--minutes", metavar="N", default="10", help="how long the race may take (10)")
    group.add_argument(
        "--smallest-effect",
        metavar="N",
        default="1",
        help="the smallest difference of interest, in points of the metric (1)",
    )
    group.add_argument("--seeds", metavar="SEEDS", default="1-5", help="of the last round (1-5)")
    group.add_argument("--out", metavar="DIR", help="the race's directory (a new one under runs/)")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    flags.add_run_flags(parser)
    flags.hide_flags(parser, ["made_up", *(name for name in SEARCHED if name not in ("student", "learner"))])


def _check(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("methods", metavar="METHOD", nargs="*", help="names of methods (all that have a check)")


def _replicate(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("methods", metavar="METHOD", nargs="*", help=_METHOD)
    parser.add_argument("--family", metavar="FAMILY", help="all methods of a family that have a claim")
    parser.add_argument("--all", action="store_true", help="all methods that have a claim")
    parser.add_argument("--pilot", action="store_true", help="only the tuning seeds: choose settings, count the seeds")
    parser.add_argument("--stale", action="store_true", help="only claims whose stored result is missing or stale")
    parser.add_argument("--seeds", metavar="SEEDS", help="other seeds than the claim's, such as 200-204; not stored")
    parser.add_argument("--world", metavar="WORLD", help="another world than the claim's; not stored")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes of one thread each (1)")
    parser.add_argument("--ray", metavar="ADDRESS", help="the address of a Ray cluster to run them on, or: local, auto")
    _add_store(parser)


def _add_store(parser: Parser) -> None:
    parser.add_argument(
        "--store", metavar="DIR", help="where results are stored (claims/results), instead of in the package"
    )


def _report(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run or of a comparison")
    parser.add_argument("--out", metavar="FILE", help="where to write it (report.html in that directory)")


def _split(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("data", metavar="FILE", help="a .csv, .tsv, .parquet or .jsonl file")
    parser.add_argument("--out", metavar="DIR", required=True, help="a new folder for train.csv, test.csv and so on")
    parser.add_argument("--validation", metavar="N", type=float, default=0.1, help="fraction of the rows (0.1)")
    parser.add_argument("--test", metavar="N", type=float, default=0.2, help="fraction of the rows (0.2)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the hash of each row (0)")
    for name in ("target", "id_column", "group_column", "time_column"):
        flags.add_run_flag(parser, name)


def _label(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("data", metavar="PATH", help="a folder of images or texts, a file, or a run with open queries")
    parser.add_argument("--classes", metavar="NAMES", help="the classes, with commas, in the order of their keys")
    parser.add_argument("--out", metavar="FILE", help="the CSV of the labels (labels.csv, or answers.csv of a run)")
    parser.add_argument(
        "--modality", metavar="table|image|text|series", help="how rows are shown (what they are taken for)"
    )
    parser.add_argument("--images", metavar="DIR", help="the folder of the images that a column of a table names")
    parser.add_argument(
        "--annotators", metavar="N|NAMES", default="1", help="how many people label, or their names with commas (1)"
    )
    parser.add_argument(
        "--overlap", metavar="N", type=float, default=0.1, help="share of the rows that several all label (0.1)"
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=8765, help="port of the page; 0 takes a free one (8765)"
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column of labels; rows that have one are left out")
    parser.add_argument("--id-column", metavar="COLUMN", help="what names each row (id, or else its number from 0)")
    parser.add_argument("--text-column", metavar="COLUMN", help="the only column that is shown, as text")


def _resume(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run or of a comparison")
    flags.add_run_flag(parser, "progress")
    flags.add_run_flag(parser, "trust")


def _chat(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("model", metavar="RUN", help="the directory of a run or of a model, or hf:NAME")
    parser.add_argument(
        "--temperature", metavar="N", type=float, default=0.7, help="sampling temperature; 0 is greedy (0.7)"
    )
    parser.add_argument(
        "--max-new-tokens", metavar="N", type=int, default=256, help="maximal length of an answer (256)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of sampling (0)")


def _adapt(parser: Parser, words: list[str]) -> None:
    _add_student(parser)
    parser.add_argument("--by", metavar="METHOD", default="tent", help="the method: one that adapts (tent)")
    parser.add_argument("--out", metavar="DIR", help="the adapted student's directory (a new one under runs/)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--epochs", metavar="N", type=float, default=1.0, help="how often to go through the rows (1)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=64, help="rows in a step (64)")
    parser.add_argument("--lr", metavar="N", type=float, default=1e-3, help="the learning rate, constant (0.001)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the order of the rows (0)")
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--by", default="tent")
    info = catalogue.find(finder.parse_known_args(words)[0].by)
    flags.add_method_flags(parser, f"options of {info.name}", info.options)


def _query(parser: Parser, _words: list[str]) -> None:
    parser.add_argument(
        "run", metavar="RUN", help="the directory of a finished run on a table, images, texts or series"
    )
    parser.add_argument("--n", metavar="N", type=int, help="how many rows are to wait for a label (50)")
    parser.add_argument(
        "--by",
        metavar="NAME",
        default="badge",
        help="badge, kcenter, typicality, entropy, margin, least_confidence, bald, probability_kcenter, minimax, "
        "leverage or random (badge)",
    )
    parser.add_argument("--data", metavar="PATH", help="the rows to choose from (those of the run without a label)")
    parser.add_argument("--budget", metavar="N", type=int, help="how many labels may be taken in all")
    parser.add_argument(
        "--answers",
        metavar="FILE",
        nargs="*",
        help="take the labels of these .csv files, with columns id and label (what `didact label RUN` wrote)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of what is drawn (0)")
    flags.add_run_flag(parser, "trust")


def _predict(parser: Parser, _words: list[str]) -> None:
    _add_student(parser)
    parser.add_argument("--out", metavar="FILE", help="a .csv file for the answers (they are printed)")


def _evaluate(parser: Parser, _words: list[str]) -> None:
    _add_student(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_student(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run, or a student that was exported")
    parser.add_argument("--data", metavar="PATH", required=True, help="a table, images, or whatever it was taught on")
    flags.add_run_flag(parser, "trust")


def _export(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    parser.add_argument("--to", metavar="safetensors|onnx|hf", default="safetensors", help="the format (safetensors)")
    parser.add_argument("--out", metavar="PATH", help="where to write it (in the run's directory)")
    parser.add_argument("--logits", action="store_true", help="onnx: answer with logits beside probabilities")
    flags.add_run_flag(parser, "trust")


def _completion(parser: Parser, _words: list[str]) -> None:
    parser.add_argument("shell", metavar="SHELL", help="bash, zsh or tcsh")


def whole_parser(files: Mapping[str, str]) -> Parser:
    """One parser with all commands and their options, but those of methods, for the completion of shells.

    Args:
        files: what shtab completes paths with.
    """
    parser = Parser(prog="didact", description="")
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    for name, words in COMMANDS.items():
        own = command_parser(name, [])
        for action in own._actions:
            if action.metavar in PATHS:
                vars(action)["complete"] = files
        commands.add_parser(name, help=words, add_help=False, parents=[own])
    return parser


PATHS = ("CONFIG", "DATA", "DIR", "FILE", "PATH", "RUN")
"""The names of values that are paths, for the completion of shells."""


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON with any of these options; flags override it")
    parser.add_argument("--out", metavar="DIR", help="the run's directory (a new one under runs/)")
    parser.add_argument("--seeds", metavar="SEEDS", help="run with each seed, such as 0-4, each in a folder of its own")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_method(parser: Parser, words: list[str]) -> None:
    """Add the options of the method that the arguments or their configuration file name."""
    first = _method_in(words)
    if first is None:
        return
    info = catalogue.find(first)
    flags.add_method_flags(parser, f"options of {info.name}", info.options)


def _method_in(words: list[str]) -> str | None:
    """The method that the arguments or their configuration file name."""
    if words and not words[0].startswith("-"):
        return words[0]
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("method", nargs="?")
    _add_output(finder)
    flags.add_run_flags(finder)
    # All methods' flags are needed to tell the name of a method from the value of a flag.
    for option in {option.name: option for info in catalogue.listing() for option in info.options}.values():
        flags.add_flag(finder, option)
    found = finder.parse_known_args(words)[0]
    if found.method is not None or found.config is None:
        return found.method
    from didact.experiment.reading import read_file

    method = read_file(found.config).get("method")
    return method if isinstance(method, str) else None


LISTED = ("methods", "recipes", "systems", *LISTINGS)
"""The choices of `didact list`."""
_METHOD = "a method's name (see `didact list`), package.module, or the path of its file"
_BUILDERS = {
    "list": _list,
    "show": _show,
    "run": _run,
    "cache": _cache,
    "distill": _distill,
    "compare": _compare,
    "compress": _compress,
    "recommend": _recommend,
    "check": _check,
    "replicate": _replicate,
    "doctor": _doctor,
    "report": _report,
    "split": _split,
    "label": _label,
    "resume": _resume,
    "chat": _chat,
    "adapt": _adapt,
    "query": _query,
    "predict": _predict,
    "evaluate": _evaluate,
    "export": _export,
    "completion": _completion,
}
