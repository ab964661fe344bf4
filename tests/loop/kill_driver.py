"""Run by test_resume.py in a process of its own: kill a run at random moments, resume it, compare with a calm one.

Prints `same`, or what differs. The parent of the forks never computes, so that forking it is safe.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.utils.tensorboard

import didact.health  # noqa: F401
from conftest import make_method, planted, quiet_fit
from didact.loop import Budget, Validation, load_checkpoint
from didact.loop.checkpoint import list_checkpoints
from didact.sources import BatchSource

STEPS, KILLS = 90, 20
PASSING = ("ledger/cost/seconds", "ledger/cost/peak_memory")


def run(name: str, directory: Path) -> None:
    method = make_method(name, dropout=0.3)
    examples = planted(labelled=0.5)
    source = BatchSource(examples, batch_size=20, seed=3, views=method.feed.views)
    resume = (directory / "checkpoints").exists() and bool(list_checkpoints(directory / "checkpoints"))
    if not resume and directory.exists():
        for file in directory.glob("*.jsonl"):
            file.unlink()
    quiet_fit(
        method,
        source,
        budget=Budget(steps=STEPS),
        run=directory,
        seed=5,
        log_every=10,
        checkpoint_every=6,
        validation=Validation(
            lambda student: {"accuracy": float(student(examples.batch()).logits.mean())}, select="best"
        ),
        evaluate_every=15,
        resume=resume,
    )


def fork(name: str, directory: Path) -> int:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        code = 1
        try:
            run(name, directory)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def flat(state: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from flat(value, f"{place}/{key}" if place else str(key))
    elif isinstance(state, list):
        for i, value in enumerate(state):
            yield from flat(value, f"{place}/{i}")
    else:
        yield place, state


def differences(first: Path, second: Path) -> list[str]:
    states = [dict(flat(load_checkpoint(path / "checkpoints"))) for path in (first, second)]
    names = sorted(states[0].keys() ^ states[1].keys())
    for name in states[0].keys() & states[1].keys():
        one, other = states[0][name], states[1][name]
        same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other or one != one
        if not same and name not in PASSING:
            names.append(name)
    records = [(path / "metrics.jsonl").read_text().splitlines() for path in (first, second)]
    mine, theirs = ([{**json.loads(line), "seconds": 0.0} for line in lines] for lines in records)
    return [*names, *(["metrics.jsonl"] if repr(mine) != repr(theirs) else [])]


def main(name: str) -> None:
    rng = random.Random(name)
    # In memory where there is such a place: what is killed is the process, not the machine.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        calm, hunted = Path(folder) / "calm", Path(folder) / "hunted"
        began = time.monotonic()
        _, status = os.waitpid(fork(name, calm), 0)
        assert status == 0, "the calm run failed"
        whole = time.monotonic() - began
        killed = 0
        while killed < KILLS:
            child = fork(name, hunted)
            time.sleep(rng.uniform(0.02, whole * 0.35))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += 1
            assert os.WIFSIGNALED(status) or status == 0, "a resumed run failed"
        _, status = os.waitpid(fork(name, hunted), 0)
        assert status == 0, "the last resumed run failed"
        sys.stdout.write(" ".join(differences(calm, hunted)) or "same")


if __name__ == "__main__":
    main(sys.argv[1])
