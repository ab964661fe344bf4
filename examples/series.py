"""Replaces a forest on summary features with a small convolutional net that takes raw series, and exports the net.

The series are cylinders, bells and funnels in noise (Saito 1994), made here and written as the UCR archive has them: a
series a line, its class first. The whole way: files of training and test series; a forest that was fitted on features
such as the mean and the steepest rise; a student that learns from the forest's answers to series without labels; the
test figures of both; and an ONNX file, which onnxruntime alone answers with.

    python examples/series.py --out runs/series --seed 0

It takes about half a minute on two idle cores.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import didact

STEPS, NOISE = 128, 2.5
"""The length of a series; and the standard deviation of its noise, where the signal is 6 on average."""
KINDS = ("cylinder", "bell", "funnel")


def series(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Series [N, T], and their kinds [N] from 1 to 3."""
    rng, time = np.random.default_rng(seed), np.arange(STEPS)
    kind = rng.integers(1, 4, size)[:, None]
    start = rng.integers(16, 33, (size, 1))
    end = start + rng.integers(32, 97, (size, 1))
    share = (time - start) / (end - start)
    shape = np.select([kind == 1, kind == 2], [np.ones_like(share), share], 1 - share)
    height = 6 + rng.standard_normal((size, 1))
    signal = height * shape * ((time >= start) & (time <= end))
    return signal + NOISE * rng.standard_normal((size, STEPS)), kind[:, 0]


def summary(given: np.ndarray) -> np.ndarray:
    """Features of series [N, T]: moments, and the largest rises and falls of a running mean."""
    smooth = np.stack([np.convolve(one, np.ones(9) / 9, "valid") for one in np.asarray(given)])
    rise = smooth[:, 12:] - smooth[:, :-12]
    moments = [given.mean(1), given.std(1), smooth.max(1), smooth.argmax(1)]
    return np.stack([*moments, rise.max(1), rise.min(1), rise.argmax(1), rise.argmin(1)], axis=1)


def write(path: Path, values: np.ndarray, kind: np.ndarray) -> str:
    """Write a file as the UCR archive has them; kinds of 0 are missing."""
    lines = [
        "\t".join(["NaN" if not one else str(one), *(f"{value:.6f}" for value in row)])
        for one, row in zip(kind, values, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def main(folder: Path, seed: int) -> int:
    """Teach, evaluate and export; return 1 if the student learns nothing from the forest, or its export differs."""
    folder.mkdir(parents=True, exist_ok=True)
    (own, own_kind), (many, _), (new, new_kind) = series(1000, seed), series(2000, seed + 1), series(1000, seed + 2)
    forest = make_pipeline(FunctionTransformer(summary), RandomForestClassifier(300, random_state=seed))
    forest.fit(own, own_kind)
    # The student sees the labels of 30 series, and the forest's answers to 2,000 others.
    kinds = np.where(np.arange(2030) < 30, np.concatenate([own_kind[:30], np.zeros(2000, int)]), 0)
    train = write(folder / "CBF_TRAIN.tsv", np.concatenate([own[:30], many]), kinds)
    test = write(folder / "CBF_TEST.tsv", new, new_kind)
    shared = {"data": train, "test": test, "validation": 0.0, "select": "last", "student": "cnn1d:16,32,16"}
    shared |= {"steps": 600, "lr": 0.01, "seed": seed, "augment": "weak", "progress": sys.stderr.isatty()}
    alone = didact.run(method="supervised", directory=folder / "alone", **shared)
    taught = didact.run(method="distill", teacher=forest, directory=folder / "taught", **shared)
    graph = didact.load(folder / "taught").export(folder / "student.onnx")
    answers = taught.student.predict(test).probabilities
    bare = onnxruntime.InferenceSession(graph).run(["probabilities"], {"series": new[:, None].round(6)})[0]
    apart = float(np.abs(bare - answers).max())
    parameters = sum(weight.numel() for weight in taught.learner.parameters())
    print(f"forest on features    {forest.score(new, new_kind):.1%}")
    print(f"student, 30 labels    {alone.metrics['accuracy']:.1%}")
    print(f"student, and taught   {taught.metrics['accuracy']:.1%} ({parameters:,} parameters)")
    print(f"onnxruntime alone answers as didact does, to within {apart:.1e}: {graph}")
    return 0 if apart <= 1e-5 and taught.metrics["accuracy"] > alone.metrics["accuracy"] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/series"), help="output directory (runs/series)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    options = parser.parse_args()
    sys.exit(main(options.out, options.seed))
