"""Run by test_killed_runs.py in its own process: kill whole runs at random moments, go on, compare with a calm one.

Prints `same`, or what differs. The parent of the forks never computes, so that forking it is safe.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
import torch.utils.tensorboard

import didact
import didact.health
import didact.materials.examples.material
import didact.materials.questions.material
from blobs import DATA
from didact.experiment import comparing, running  # noqa: F401

EVERY = {"steps": 60, "checkpoint_every": 7, "evaluate_every": 20, "batch_size": 16, "progress": False}
SAMPLING = "max_new_tokens=4,samples=4"
RUNS = {
    "examples": {
        "method": "distill",
        "teacher": "mlp:6",
        "student": "warm:120:mlp:8",
        "teacher_epochs": 1,
        "labels": 40,
    },
    "average": {"method": "mean_teacher", "student": "warm:60:mlp:8", "labels": 40, "select": "best"},
    "completions": {"method": "sft", "student": "warm:40:decoder:1x16:32"},
    "rollouts": {"method": "grpo", "student": "warm:30:decoder:1x16:32", "verifier": "characters:4:4", "steps": 24},
    "taught": {"method": "gkd", "student": "decoder:1x16:32", "teacher": "warm:40:decoder:1x32:32", "steps": 24},
}
"""Of each material, with what is trained first."""
PASSING = "seconds"
"""What no two runs have in common."""


def settings(name: str, folder: Path) -> dict:
    """What a run is made of; its data lie in a file, so that it can go on by itself."""
    own = dict(RUNS[name])
    if own["student"].endswith("mlp:8"):
        lines = [",".join([*map(str, x), DATA.classes[y]]) for x, y in zip(*_columns(), strict=True)]
        (folder / "table.csv").write_text("\n".join(["a,b,c,d,label", *lines]))
        return {**EVERY, "data": folder / "table.csv", **own}
    records = [
        {"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a in range(7) for b in range(7)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return {**EVERY, "data": folder / "questions.jsonl", "sampling": SAMPLING, **own}


def _columns():
    return DATA.tensors["x"].tolist(), DATA.tensors["label"].tolist()


def fork(name: str, folder: Path, directory: Path) -> int:
    """A process that begins the run, or goes on with it."""
    child = os.fork()
    if child:
        return child
    torch.set_num_threads(1)
    code = 1
    try:
        if (directory / "config.json").exists():
            didact.resume(directory, progress=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)
            didact.run(directory=directory, **settings(name, folder))
        code = 0
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """Its exit status, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def content(directory: Path) -> dict[str, object]:
    """What a run left behind that must be the same."""
    found: dict[str, object] = {
        str(p.relative_to(directory)): p.read_bytes() for p in directory.glob("student*/**/*") if p.is_file()
    }
    result = json.loads((directory / "result.json").read_text())
    found["metrics"] = result["metrics"], result["validation"], result["teacher"], result["notes"]
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    found["history"] = [{k: v for k, v in line.items() if k != PASSING} for line in lines]
    return found


def main(name: str, kills: int) -> None:
    """Kill, go on, compare."""
    os.environ["DIDACT_CACHE"] = ""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began = time.perf_counter()
        assert wait(fork(name, folder, folder / "calm")) == 0
        whole = time.perf_counter() - began
        moments = random.Random(5)
        for _ in range(kills):
            child = fork(name, folder, folder / "hunted")
            time.sleep(moments.uniform(0.0, 0.4 * whole))
            os.kill(child, signal.SIGKILL)
            wait(child)
        assert wait(fork(name, folder, folder / "hunted")) == 0
        calm, hunted = content(folder / "calm"), content(folder / "hunted")
        differing = [key for key in {*calm, *hunted} if calm.get(key) != hunted.get(key)]
        sys.stdout.write("same" if not differing else f"different: {sorted(differing)}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
