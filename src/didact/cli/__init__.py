"""The command line. Importing it, its help and `didact list` do not import torch."""

import contextlib
import errno
import itertools
import os
import sys
from collections.abc import Sequence

from didact import stopping, trusting
from didact.errors import ConfigError, DidactError, PausedError, PeerError

EXIT_CODES = {
    0: "done",
    1: "`didact doctor` found a check that fails",
    2: "refused: an input cannot work; the message says what would",
    3: "paused by a monitor, or because the disk is full or a server away; `didact resume` continues",
    4: "stopped by a monitor",
    130: "interrupted by SIGINT (Ctrl-C), SIGTERM or SIGHUP, after a checkpoint; `didact resume` continues",
}
"""The exit codes of the command and their meaning."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Write errors because of a full disk."""
TOGETHER = ("run", "distill", "resume")
"""The commands that run in several processes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after `didact`; by default those of the process.

    Returns:
        One of `EXIT_CODES`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with stopping.command():
        try:
            if os.environ.get("WORLD_SIZE", "1") == "1" or "RANK" not in os.environ:
                return _dispatch(words)
            _refuse_several(words)
            if os.environ["RANK"] == "0":
                return _dispatch(words)
            # Only the first process prints.
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123 - pathlib, as above
                return _dispatch(words)
        except DidactError as error:
            if isinstance(error, PeerError) and stopping.was_requested():
                return _interrupted("")
            _complain(str(error))
            return 3 if isinstance(error, PausedError) else 2
        except KeyboardInterrupt as interrupt:
            return _interrupted(str(interrupt))
        except MemoryError as error:
            _complain(f"That needs more memory than there is: {error}".rstrip(": ") + ". Ask for something smaller.")
            return 2
        except OSError as error:
            where = error.filename or "while writing"
            if error.errno in FULL:
                _complain(f"The disk is full ({where}). Free some space, then continue with: didact resume RUN")
                return 3
            _complain(f"{where} cannot be read or written: {error.strerror or error}.")
            return 2


def _interrupted(words: str) -> int:
    """Say that the command was interrupted, once for all processes that carry it out; its exit status."""
    if os.environ.get("RANK", "0") == "0":
        _complain(words or "Interrupted.")
    return 130


def _refuse_several(words: list[str]) -> None:
    if words[:1] and words[0] not in TOGETHER:
        raise ConfigError(
            f"`didact {words[0]}` was started in {os.environ['WORLD_SIZE']} processes, but only "
            f"{', '.join(TOGETHER)} can use them; start it without torchrun."
        )


def _dispatch(words: list[str]) -> int:
    from didact import terminal
    from didact.cli import top

    terminal.prepare(sys.stdout, sys.stderr)
    # Custom code, `package.module` and `package.module:factory`, is imported from the working directory.
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - pathlib's import would cost more than the call
        sys.path.append(os.getcwd())  # noqa: PTH109
    if not words or words[0].startswith("-"):
        parser = top.main_parser()
        parser.parse_args(words)
        parser.print_help()
        return 0
    command, rest = words[0], words[1:]
    from didact.errors import check_choice

    check_choice("The command", command, top.COMMANDS)
    from didact.cli import commands, flags
    from didact.cli import parser as parsers

    # What a configuration file names is not trusted as what the arguments name is.
    split = [part for word in rest for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    file = dict(itertools.pairwise(split)).get("--config")
    with contextlib.nullcontext() if file is None else trusting.untrusted(file, rest):
        parser = parsers.command_parser(command, rest)
        namespace, extras = parser.parse_known_args(rest)
        if extras:
            flags.refuse_unknown(extras, parser)
        return commands.COMMANDS[command](namespace)


def _complain(sentence: str) -> None:
    from rich.text import Text

    from didact import terminal

    terminal.console(stderr=True).print(Text(sentence, style="bold red"), soft_wrap=True)
