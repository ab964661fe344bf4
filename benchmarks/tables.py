"""A table of numbers and categories: from CSV to the first step, and from CSV to a student's answers.

The bound of the first step is what one would write by hand: `pandas.read_csv`, scikit-learn's `ColumnTransformer` with
`StandardScaler` and `OneHotEncoder`, float32 throughout, fitted on the training rows, and a step of a bare net. That of
the answers is `pandas.read_csv` and the same bare net on tensors that are ready. Every side is a process of its own, so
that imports and peak memory are part of it. The file is written once for each number of rows.
"""

import base64
import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import harness

NUMBERS, SEED, SHOWN, BATCH_SIZE = 30, 0, 200, 256
SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 35) * 2
"""How many categories each column of words has."""
WIDTHS = (64,)
ROWS_AT_ONCE = 8_192


def write_table(rows: int, folder: Path) -> Path:
    """Write the table, unless it is there; training rows are named by a column, so that all sides agree on them."""
    import numpy as np
    import pyarrow
    from pyarrow import csv

    path = folder / f"didact-table-{rows}.csv"
    if path.exists():
        return path
    generator = np.random.default_rng(SEED)
    numbers = {f"number{place}": generator.normal(place, 1 + place, rows) for place in range(NUMBERS)}
    words = {}
    for place, size in enumerate(SIZES):
        names = pyarrow.array([f"{place}word{number:02d}" for number in range(size)])
        words[f"word{place}"] = names.take(pyarrow.array(generator.integers(0, size, rows)))
    score = sum(numbers[f"number{place}"] / (1 + place) for place in range(5))
    named = np.where(generator.random(rows) < 0.7, "train", "test")
    named[:2] = "validation"
    partial_path = path.with_suffix(".partial")
    columns = {**numbers, **words, "split": named, "label": np.where(score > 10, "yes", "no")}
    csv.write_csv(pyarrow.table(columns), partial_path)
    return partial_path.rename(path)


def by_hand(path: Path) -> Any:
    """The standardised and encoded training rows, after a step of a net on some of them."""
    import numpy as np
    import pandas
    import torch
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pandas.read_csv(path)
    numbers = [f"number{place}" for place in range(NUMBERS)]
    frame = frame.astype(dict.fromkeys(numbers, np.float32))
    kind: Any = np.float32
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), numbers),
            (
                "words",
                OneHotEncoder(sparse_output=False, handle_unknown="ignore", dtype=kind),
                [f"word{place}" for place in range(len(SIZES))],
            ),
        ]
    )
    training = frame["split"] == "train"
    x = torch.from_numpy(encoder.fit_transform(frame[training]))
    others = torch.from_numpy(encoder.transform(frame[~training]))
    label = torch.from_numpy(np.asarray(frame["label"] == "yes", np.int64)[np.asarray(training)])
    assert x.dtype == others.dtype == torch.float32
    net = bare_net(x.shape[1])
    chosen = torch.randperm(len(x))[:BATCH_SIZE]
    optimizer = torch.optim.AdamW(net.parameters())
    torch.nn.functional.cross_entropy(net(x[chosen]), label[chosen]).backward()
    optimizer.step()
    return x[:SHOWN]


def by_didact(path: Path) -> Any:
    """The same with didact, whose student standardises its inputs itself."""
    import torch

    import didact
    from didact.experiment import config, preparing
    from didact.materials.examples.data import ExampleData

    settings = {"method": "supervised", "student": spec(), "data": str(path), "split_column": "split", "steps": 1}
    run = preparing.prepare(config.make_config({**settings, "batch_size": BATCH_SIZE, "progress": False}))
    didact.fit(run.method, run.source, budget=didact.Budget(steps=1), loop=didact.LoopConfig(progress=False))
    assert isinstance(run.data, ExampleData)
    x = run.data.train.tensors["x"]
    known = x[:, :NUMBERS].double()
    numbers = (x[:SHOWN, :NUMBERS].double() - known.mean(0)) / known.std(0, correction=0)
    return torch.cat((numbers.float(), x[:SHOWN, NUMBERS:]), 1)


def spec() -> str:
    """The student of both sides."""
    return f"mlp:{','.join(map(str, WIDTHS))}"


def bare_net(width: int) -> Any:
    """A net as small as the student."""
    from torch import nn

    return nn.Sequential(nn.Linear(width, WIDTHS[0]), nn.ReLU(), nn.Linear(WIDTHS[0], 2))


def teach(path: Path) -> Path:
    """A run whose student answers the table, made once."""
    import didact

    folder = path.with_name(f"{path.stem}-run")
    if not (folder / "result.json").exists():
        few = path.with_name(f"{path.stem}-few.csv")
        with path.open() as whole, few.open("w") as part:
            part.writelines(line for _, line in zip(range(20_000), whole, strict=False))
        didact.run(
            "supervised",
            student=spec(),
            data=str(few),
            split_column="split",
            steps=20,
            directory=folder,
            progress=False,
            target="label",
        )
    return folder


def ready(path: Path) -> Path:
    """The rows as the student takes them, as a file of numbers, made once."""
    import numpy as np
    import torch

    import didact
    from didact.sources.inputs import read_inputs

    tensors = path.with_name(f"{path.stem}-ready.npy")
    if not tensors.exists():
        parts = read_inputs(path, didact.load(teach(path)).like, lambda texts: {})
        np.save(tensors, torch.cat([part.encoded.tensors["x"] for part in parts]).numpy())
    return tensors


def answers_by_hand(path: Path) -> Any:
    """Reading with pandas, and the student's net on ready tensors."""
    import numpy as np
    import pandas
    import torch

    import didact
    from didact.types import Batch

    learner = didact.load(teach(path)).learner.eval()
    x = torch.from_numpy(np.load(ready(path)))
    pandas.read_csv(path)
    with torch.inference_mode():
        parts = x.split(ROWS_AT_ONCE)
        found = [learner(Batch({"x": part, "id": torch.arange(len(part))})).logits.softmax(1) for part in parts]
    return torch.cat(found)[:SHOWN]


def answers_by_didact(path: Path) -> Any:
    """The student on the file."""
    import torch

    import didact

    found = didact.load(teach(path)).predict(path)
    return torch.from_numpy(found.probabilities[:SHOWN]).float()


WORK: dict[str, Callable[[Path], Any]] = {
    "pandas and scikit-learn": by_hand,
    "didact": by_didact,
    "pandas and a bare net": answers_by_hand,
    "didact predict": answers_by_didact,
}


def _child(side: str, options: Namespace, _: None) -> Any:
    """Run a side in a process of its own; what it printed, as an array."""
    import numpy as np

    given = {"side": side, "rows": options.rows, "threads": options.threads, "folder": options.folder}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in given.items())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{side} failed: {done.stderr}"
    given = json.loads(done.stdout.splitlines()[-1])
    return np.frombuffer(base64.b64decode(given["data"]), dtype=np.float32).reshape(given["shape"])


def work_alone(side: str, options: Namespace) -> None:
    """Do the work of a side here, and print what came out."""
    import torch

    torch.set_num_threads(options.threads)
    found = WORK[side](write_table(options.rows, options.folder)).detach().numpy()
    print(json.dumps({"shape": found.shape, "data": base64.b64encode(found.tobytes()).decode()}))


def check(results: Mapping[str, Any]) -> None:
    """Both sides ended with the same numbers."""
    import numpy as np

    one, other = results.values()
    assert one.shape == other.shape, f"the shapes {one.shape} and {other.shape} differ"
    assert np.ptp(one) > 0
    np.testing.assert_allclose(one, other, atol=2e-4)


def cases(options: Namespace) -> list[harness.Case]:
    """From CSV to the first step, and from CSV to answers."""
    path = write_table(options.rows, options.folder)
    found = []
    for name, bound, ours, target in (
        ("from CSV to the first step", "pandas and scikit-learn", "didact", 1.5),
        ("from CSV to answers", "pandas and a bare net", "didact predict", 1.2),
    ):
        sides = {
            side: harness.Side(run=partial(_child, side, options), alone=partial(work_alone, side, options))
            for side in (bound, ours)
        }
        found.append(
            harness.Case(
                name=f"{name}, {options.rows:,} rows",
                sides=sides,
                bound=bound,
                check=check,
                units=options.rows,
                targets={ours: target},
                rounds=7,
            )
        )
    if not options.peak_of:
        ready(path)
    return found


if __name__ == "__main__":
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table (default: 1,000,000)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the table and the run")
    parser.add_argument("--side", choices=WORK, help="do the work of one side alone")
    if (chosen := parser.parse_args()).side:
        work_alone(chosen.side, chosen)
    else:
        sys.exit(harness.main("tables", parser, cases))
