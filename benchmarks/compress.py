"""How much faster than a forest of 300 trees the student is that `didact compress` finds in five minutes.

The forest learns from 21,000 of 30,000 rows with 12 numbers and 4 categories. `didact.compress(prefer="latency")` has
five minutes for a student within one point of it on validation rows. Timed is a batch of 1,000 raw rows: the forest by
scikit-learn, with its encoder; the same as ONNX, where skl2onnx is installed; the student by onnxruntime; and, where
AutoGluon is installed, the student that its `distill` makes of a forest of its own in as many minutes, by its own
`predict_proba`.
The check before asks whether the student is within a point of the forest on the test rows, and was found in time.
"""

import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import skops.io
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

import didact
import harness

PEERS = Path(__file__).parent / ".table-peers" / "bin" / "python"
NUMBERS, CATEGORIES, CLASSES = 12, 4, ("no", "yes")
BATCH = 1000
WITHIN = 1.0
FASTER = 50
Frame = pd.DataFrame


def table(rows: int, seed: int = 0) -> Frame:
    """Numbers and categories, and a class that products and steps of them decide, with noise."""
    rng = np.random.default_rng(seed)
    found = pd.DataFrame({f"n{i}": rng.normal(size=rows).round(4) for i in range(NUMBERS)})
    for i in range(CATEGORIES):
        found[f"c{i}"] = rng.choice([f"{name}{i}" for name in "abcdefgh"[: 3 + i]], rows)
    score = 1.5 * found.n0 + found.n1 * found.n2 - (found.n3 > 0.5) * 1.2 + 0.8 * np.abs(found.n4)
    score = score + found.c0.map({"a0": 0.8, "b0": 0.0, "c0": -0.8}) - 0.6 * (found.c1 == "a1") * found.n5
    score = score - 0.35 + rng.logistic(0, 0.5, rows)
    found["label"] = np.where(score > 0, "yes", "no")
    kinds, cuts = ["train", "validation", "test"], [int(0.7 * rows), int(0.8 * rows)]
    return found.assign(split=np.array(kinds)[np.searchsorted(cuts, np.arange(rows), side="right")])


def part(rows: Frame, name: str) -> tuple[Any, Any]:
    """The rows of a split, and their classes."""
    found = rows[rows.split == name]
    return found.drop(columns=["label", "split"]), found["label"]


def forest(rows: Frame, trees: int) -> Pipeline:
    """The teacher: categories one by one, and a forest, on two cores."""
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
    )
    model = RandomForestClassifier(trees, min_samples_leaf=2, n_jobs=2, random_state=0)
    fitted = make_pipeline(encode, model).fit(*part(rows, "train"))
    # A batch of 1,000 is answered faster by one thread than by two that share it.
    return fitted.set_params(randomforestclassifier__n_jobs=1)


def prepared(folder: Path, options: Namespace) -> dict[str, Any]:
    """Fit the teacher and search, once: the processes that measure memory find the files. Returns what was found."""
    done = folder / "found.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        rows = table(options.rows)
        skops.io.dump(teacher := forest(rows, options.trees), folder / "forest.skops")
        start = time.perf_counter()
        found = didact.compress(
            teacher=teacher,
            data=rows,
            target="label",
            split_column="split",
            within=WITHIN,
            minutes=options.minutes,
            prefer="latency",
        )
        seconds = time.perf_counter() - start
        found.student.export(folder / "student.onnx")
        facts = {"name": found.name, "reached": found.reached, "seconds": seconds, "sentences": found.sentences()}
        done.write_text(json.dumps(facts))
    return json.loads(done.read_text())


@dataclass(frozen=True)
class Way:
    """A way to answer rows: what is made of them before, which is not timed, and the answer."""

    answer: Callable[[Any], np.ndarray]
    feed: Callable[[Frame], Any] = lambda rows: rows


def session(path: Path) -> Way:
    """Answers by onnxruntime, on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    graph = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}
    types = {one.name: kinds[one.type] for one in graph.get_inputs()}

    def feed(rows: Frame) -> dict[str, np.ndarray]:
        return {name: rows[name].to_numpy(dtype=kind)[:, None] for name, kind in types.items()}

    return Way(lambda fed: np.asarray(graph.run(["probabilities"], fed)[0]), feed)


def as_onnx(teacher: Pipeline, rows: Frame, path: Path) -> Way:
    """The forest by onnxruntime."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kinds = {"f": FloatTensorType, "O": StringTensorType}
    inputs = [(name, kinds.get(rows[name].dtype.kind, StringTensorType)([None, 1])) for name in rows]
    model: Any = to_onnx(teacher, initial_types=inputs, options={id(teacher): {"zipmap": False}})
    path.write_bytes(model.SerializeToString())
    return session(path)


def autogluon(rows: Frame, options: Namespace, folder: Path) -> Way:
    """The student that AutoGluon distills from a forest of its own, in the same time."""
    TabularPredictor = importlib.import_module("autogluon.tabular").TabularPredictor
    train, validation = (rows[rows.split == name].drop(columns="split") for name in ("train", "validation"))
    models, place = {"RF": {"n_estimators": options.trees, "min_samples_leaf": 2}}, folder / "autogluon"
    if place.exists():
        predictor = TabularPredictor.load(str(place))
        students = [name for name in predictor.model_names() if name.endswith("_DSTL")]
    else:
        predictor = TabularPredictor("label", path=str(place), verbosity=0)
        predictor.fit(train, tuning_data=validation, hyperparameters=models, fit_weighted_ensemble=False)
        students = predictor.distill(time_limit=60 * options.minutes, hyperparameters={"GBM": {}}, verbosity=0)
    predictor.persist(students)
    return Way(lambda batch: predictor.predict_proba(batch, model=students[0])[list(CLASSES)].to_numpy())


def check(facts: Mapping[str, Any], minutes: float, label: np.ndarray, results: Mapping[str, np.ndarray]) -> None:
    """The student is within a point of the forest on the test rows, and was found in time."""
    right = {name: np.mean(np.array(CLASSES)[answer.argmax(1)] == label) for name, answer in results.items()}
    print(*(f"{name}: {share:.2%} of the test rows" for name, share in right.items()), sep="\n")
    print(f"{facts['name']} was found in {facts['seconds']:.0f} s.", *facts["sentences"])
    student, teacher = right["student, onnxruntime"], right["forest, scikit-learn"]
    assert facts["reached"], "no student is within a point on the validation rows"
    assert student >= teacher - WITHIN / 100, (
        f"the student has {student:.2%} of the test rows, the forest {teacher:.2%}"
    )
    assert facts["seconds"] <= 60 * minutes * 1.1, f"the search took {facts['seconds']:.0f} s"


def cases(options: Namespace) -> list[harness.Case]:
    """The one case, with the peers that are there."""
    torch.set_num_threads(2)
    folder = Path(tempfile.gettempdir()) / f"didact-compress-{options.rows}-{options.trees}-{options.minutes:g}"
    if not options.peak_of:
        shutil.rmtree(folder, ignore_errors=True)
    facts, rows = prepared(folder, options), table(options.rows)
    test, label = part(rows, "test")
    teacher = skops.io.load(folder / "forest.skops", trusted=skops.io.get_untrusted_types(file=folder / "forest.skops"))
    ways = {"forest, scikit-learn": Way(teacher.predict_proba)}
    if importlib.util.find_spec("skl2onnx"):
        ways["forest, onnxruntime"] = as_onnx(teacher, test, folder / "forest.onnx")
    ways["student, onnxruntime"] = session(folder / "student.onnx")
    if importlib.util.find_spec("autogluon"):
        ways["AutoGluon's student"] = autogluon(rows, options, folder)
    batch = test.iloc[:BATCH]
    sides = {name: harness.Side(prepare=partial(way.feed, batch), run=way.answer) for name, way in ways.items()}
    # The timed runs are of one batch, the check of all test rows.
    whole = {name: way.answer(way.feed(test)) for name, way in ways.items()}
    return [
        harness.Case(
            name=f"a forest of {options.trees} trees, {options.rows:,} rows, batches of {BATCH:,}",
            sides=sides,
            bound="forest, scikit-learn",
            check=lambda _: check(facts, options.minutes, label.to_numpy(), whole),
            units=BATCH,
            targets={"student, onnxruntime": 1 / FASTER},
        )
    ]


def main() -> int:
    """Run, beside AutoGluon where it is installed."""
    if importlib.util.find_spec("autogluon") is None and PEERS.exists() and Path(sys.executable) != PEERS:
        os.execv(PEERS, [str(PEERS), *sys.argv])
    if importlib.util.find_spec("autogluon") is None:
        print("AutoGluon is not installed here (see table-peers.txt), so that its distill is not beside didact's.")
    harness.PACKAGES = (*harness.PACKAGES, "scikit-learn", "onnxruntime", "skl2onnx", "autogluon.tabular")
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=30_000, help="of the table (default: 30,000)")
    parser.add_argument("--trees", type=int, default=300, help="of the forest (default: 300)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the search (default: 5)")
    return harness.main("compress", parser, cases)


if __name__ == "__main__":
    sys.exit(main())
