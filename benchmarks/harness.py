"""Time two or more ways of doing the same thing, in alternation, after a check that they did the same thing.

In each round every side runs once, in an order drawn anew, so that a machine that slows down or speeds up does so for
all of them; what counts is the ratio to the bound within a round, never an absolute time. Peak memory is taken from a
process of its own for each side. Nothing but the standard library is imported here until it is needed, so that the
harness adds nothing to what is measured.
"""

import argparse
import ctypes
import dataclasses
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("didact", "torch", "numpy", "safetensors", "rich", "rich-argparse", "typer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way of doing the thing.

    Attributes:
        run: does the work that is timed, on what `prepare` gave; its result goes to the check.
        prepare: makes what `run` needs; not timed.
        alone: what the process that measures peak memory does in the place of `prepare` and `run`; for sides that do
            their work in a process of their own.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    alone: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Sides to be compared, and the figure that they are held to.

    Attributes:
        name: what is compared, in a few words.
        sides: by name.
        bound: the name of the side that the others are divided by.
        check: is given the result of each side by name, and raises `AssertionError` where they differ.
        units: how many steps or examples one run works through.
        targets: for a side, the highest median ratio to the bound that it may have.
        memory: for a side, the highest peak of resident memory, as a ratio to the bound's, that it may have.
        rounds: at most this many, where one takes long.
    """

    name: str
    sides: Mapping[str, Side]
    bound: str
    check: Callable[[Mapping[str, Any]], None]
    units: int = 1
    targets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    memory: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long a side took, divided by how long the bound took in the same round."""

    median: float
    low: float
    """The lower end of the 95% bootstrap interval of the median."""
    high: float
    """The upper end of it."""
    p10: float
    """A tenth of the rounds were below this."""
    p90: float
    """A tenth of the rounds were above this."""


def ratio(side: Sequence[float], bound: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Ratio:
    """Compare two series of times that were taken in the same rounds.

    Args:
        side: seconds, one a round.
        bound: seconds, one a round, in the same order.
        resamples: how many times the rounds are drawn again, with replacement, for the interval.
        seed: of those draws.
    """
    ratios = [a / b for a, b in zip(side, bound, strict=True)]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(resamples))
    low, high = medians[int(0.025 * (resamples - 1))], medians[int(0.975 * (resamples - 1))]
    tenths = statistics.quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else [ratios[0]] * 9
    return Ratio(statistics.median(ratios), low, high, tenths[0], tenths[-1])


def alternate(
    case: Case, *, rounds: int, warmup: int, synchronise: Callable[[], None], seed: int = 0
) -> dict[str, list[float]]:
    """Check that the sides agree, then time them in alternation.

    Args:
        case: what to run.
        rounds: how many times each side is timed.
        warmup: how many times each side runs first, untimed, at least once; the check sees the last results.
        synchronise: waits until the device has done all that it was given.
        seed: of the order of the sides in each round.

    Returns:
        Seconds of each side, one a round.
    """
    results: dict[str, Any] = {}
    for _ in range(max(warmup, 1)):
        results = {name: side.run(side.prepare()) for name, side in case.sides.items()}
    case.check(results)
    del results
    names, order = list(case.sides), random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            seconds[name].append(_timed(case.sides[name], synchronise))
    return seconds


def _timed(side: Side, synchronise: Callable[[], None]) -> float:
    prepared = side.prepare()
    gc.collect()
    synchronise()
    start = time.perf_counter()
    side.run(prepared)
    synchronise()
    return time.perf_counter() - start


def peak_memory() -> int:
    """The highest resident memory that this process has had, in bytes."""
    # Where there is one, this figure is better than getrusage's, which starts from the peak of the parent process.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_name(device: str) -> str:
    """The name of the processor or accelerator, as its maker gives it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"CPU {name}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit that is checked out, with `+` where files differ from it; None outside a repository."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has; a benchmark may add its own before it calls `main`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--rounds", type=int, default=25, help="how many times each side is timed (default: 25)")
    parser.add_argument("--warmup", type=int, default=1, help="untimed runs of each side (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads that torch uses on the CPU (default: 1)")
    parser.add_argument("--case", action="append", help="only the cases whose names contain this; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON file")
    parser.add_argument("--peak-of", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    return parser


def main(name: str, parser: argparse.ArgumentParser, cases: Callable[[argparse.Namespace], Sequence[Case]]) -> int:
    """Run a benchmark from the command line: time it, print a table, write a JSON file.

    Args:
        name: of the benchmark, and of its file.
        parser: from `arguments`.
        cases: makes the cases once the options are known.

    Returns:
        The exit status: 0 if every target was met, 1 otherwise.
    """
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, but must be at least 1.")
    chosen = [case for case in cases(options) if not options.case or any(part in case.name for part in options.case)]
    if options.peak_of:
        case, side = options.peak_of
        print(json.dumps(_peak(chosen, case, side, options)))
        return 0
    if not chosen:
        parser.error(f"--case is {options.case!r}, and no case has such a name.")
    _keep_freed_memory()
    measured = [_measure(case, options) for case in chosen]
    result = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": device_name(options.device),
        "platform": platform.platform(terse=True),
        "threads": options.threads,
        "versions": versions(),
        "cases": measured,
    }
    path = write(result, options.output)
    show(result)
    print(f"Written to {os.path.relpath(path)}")
    sides = [side for case in measured for side in case["sides"].values()]
    return 0 if all(side.get("met", True) and side.get("memory_met", True) for side in sides) else 1


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, on both sides.

    Otherwise it may hand the top of the heap back to the system at each step and fault it in again, or not, by the
    chance of what lies there: with activations of a few megabytes that made the very same loop a third slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)


def _set_up(options: argparse.Namespace) -> Callable[[], None]:
    """Settle the number of threads and say how to wait for the device; torch is imported only where a case did it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda: None
    torch.set_num_threads(options.threads)
    if options.device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(options.device)
    return lambda: None


def _measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    rounds = min(options.rounds, case.rounds or options.rounds)
    seconds = alternate(case, rounds=rounds, warmup=options.warmup, synchronise=_set_up(options))
    sides: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        found = ratio(times, seconds[case.bound])
        sides[name] = {
            "seconds": [round(t, 7) for t in times],
            "seconds_a_unit": statistics.median(times) / case.units,
            "ratio": {key: round(value, 5) for key, value in dataclasses.asdict(found).items()},
            "memory": _peak_in_its_own_process(case.name, name),
        }
        if name in case.targets:
            sides[name] |= {"target": case.targets[name], "met": found.median <= case.targets[name]}
    for name, target in case.memory.items():
        share = sides[name]["memory"]["resident"] / sides[case.bound]["memory"]["resident"]
        sides[name] |= {"memory_ratio": round(share, 4), "memory_target": target, "memory_met": share <= target}
    return {"case": case.name, "bound": case.bound, "units": case.units, "rounds": rounds, "sides": sides}


def _peak_in_its_own_process(case: str, side: str) -> dict[str, int]:
    command = [sys.executable, *sys.argv, "--peak-of", case, side]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _peak(cases: Sequence[Case], case: str, side: str, options: argparse.Namespace) -> dict[str, int]:
    found = next(c for c in cases if c.name == case).sides[side]
    _set_up(options)
    if found.alone:
        found.alone()
    else:
        found.run(found.prepare())
    peak = {"resident": peak_memory()}
    torch = sys.modules.get("torch")
    if torch and options.device.startswith("cuda"):
        peak["device"] = torch.cuda.max_memory_allocated(options.device)
    return peak


def write(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a result as JSON, under a name made of the benchmark and the device."""
    folder.mkdir(parents=True, exist_ok=True)
    device = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    path = folder / f"{result['benchmark']}.{device}.json"
    text = json.dumps(result, indent=1)
    # A series of times is easier to read, and to compare in a diff, on one line.
    text = re.sub(r"\[[\s\d.,e-]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    path.write_text(text + "\n")
    return path


def show(result: Mapping[str, Any]) -> None:
    """Print a result as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{result['benchmark']} on {result['device']}",
        caption="ratios are within a round; the interval is of their median, 95%",
    )
    for column in ("case", "side", "a unit", "ratio", "interval", "10 to 90%", "target", "peak memory"):
        table.add_column(column, justify="left" if column in ("case", "side") else "right")
    for case in result["cases"]:
        for i, (name, side) in enumerate(case["sides"].items()):
            found = side["ratio"]
            table.add_row(
                case["case"] if i == 0 else "",
                name,
                _duration(side["seconds_a_unit"]),
                "bound" if name == case["bound"] else f"{found['median']:.3f}",
                "" if name == case["bound"] else f"{found['low']:.3f} to {found['high']:.3f}",
                "" if name == case["bound"] else f"{found['p10']:.3f} to {found['p90']:.3f}",
                f"≤ {side['target']:g} {'met' if side['met'] else 'MISSED'}" if "target" in side else "",
                _memory(side),
            )
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _memory(side: Mapping[str, Any]) -> str:
    peak = f"{max(side['memory'].get('device', 0), 0) or side['memory']['resident']:,}"
    if "memory_target" not in side:
        return peak
    met = "met" if side["memory_met"] else "MISSED"
    return f"{peak} ({side['memory_ratio']:.2f}, ≤ {side['memory_target']:g} {met})"


def _duration(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
