"""Teaches addition to a decoder of 0.8 million parameters: with reference answers, with rewards, and with a teacher.

A supervised warm start on the data's completions ends when the decoder answers 40% of the validation prompts correctly.
Two methods then continue from the same weights, without reference completions: `grpo` learns from a reward for each
rollout, and `gkd` from a stronger decoder (the one that `grpo` trained), which gives its distribution at each token of
the student's own completions.

    python examples/addition.py --out runs/addition --seed 0

It takes one to two minutes on two idle cores. The output directory holds the runs and their reports.
"""

import argparse
import sys
from pathlib import Path

import didact

ANSWERS = "max_new_tokens=6"


def main(folder: Path, seed: int) -> int:
    """Train, and print the results; return 1 if `grpo` gains too little, or `gkd` is worse or costs more."""
    shared = {"data": "addition", "clip_norm": 1.0, "seed": seed, "progress": sys.stderr.isatty()}
    # One step with a tiny learning rate, to evaluate the warm start itself.
    start = didact.run(
        method="sft",
        student="warm:40%:decoder:4x128",
        steps=1,
        lr=1e-9,
        sampling=ANSWERS,
        directory=folder / "start",
        **shared,
    )
    alone = didact.run(
        method="grpo",
        student=str(folder / "start"),
        batch_size=256,
        steps=120,
        lr=5e-4,
        sampling=f"{ANSWERS},samples=8",
        directory=folder / "grpo",
        **shared,
    )
    taught = didact.run(
        method="gkd",
        student=str(folder / "start"),
        teacher=str(folder / "grpo"),
        batch_size=64,
        steps=200,
        lr=1e-3,
        sampling=ANSWERS,
        directory=folder / "gkd",
        **shared,
    )
    print(f"{'':<12}{'test accuracy':>14}{'sampled tokens':>16}{'seconds':>9}")
    for name, run, cost in (
        ("start", start, start.teacher_cost),
        ("grpo", alone, alone.cost),
        ("gkd", taught, taught.cost),
    ):
        print(f"{name:<12}{run.metrics['accuracy']:>13.1%}{cost.sampled_tokens:>16,}{cost.seconds:>9.0f}")
    print(f"Reports: {folder}/*/report.html. Talk to one: didact chat {folder / 'grpo'}")
    gained = alone.metrics["accuracy"] - start.metrics["accuracy"]
    behind = alone.metrics["accuracy"] - taught.metrics["accuracy"]
    cheaper = taught.cost.sampled_tokens < alone.cost.sampled_tokens
    return 0 if gained >= 0.2 and behind <= 0.05 and cheaper else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/addition"), help="output directory (runs/addition)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    options = parser.parse_args()
    sys.exit(main(options.out, options.seed))
