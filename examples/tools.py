"""Teaches a decoder of 0.1 million parameters to multiply with a calculator, on a task of reasoning-gym.

A supervised warm start shows it how a calculator is asked: `<<23*47=1081>>1081`. Two runs of `grpo` then continue from
the same weights, with rewards for the right product: one where a calculator answers what stands between `<<` and `=`,
and one where the decoder has to write the product itself. Only what the decoder writes is learned. With seed 0, 98% of
the test products are right with the calculator, and none without.

    python examples/tools.py --out runs/tools --seed 0

It takes about a minute on two idle cores.
"""

import argparse
import sys
from pathlib import Path

import reasoning_gym

import didact

ROWS = 2000
SETTINGS = {"verifier": "exact:after:/>>/", "batch_size": 128, "steps": 40, "lr": 1e-3}


def questions() -> list[dict[str, str]]:
    """Products of two numbers of two digits, with a demonstration of the calculator."""
    task = reasoning_gym.create_dataset("products", size=ROWS, seed=0, min_digits=2, max_digits=2, max_terms=2)
    sums = [(entry["metadata"]["expression"].replace(" ", ""), entry["answer"]) for entry in task]
    return [
        {"prompt": f"{asked}=", "answer": right, "completion": f"<<{asked}={right}>>{right}"} for asked, right in sums
    ]


def main(folder: Path, seed: int) -> int:
    """Train, and print the results; return 1 if the calculator does not help."""
    shared = {"data": questions(), "seed": seed, "progress": sys.stderr.isatty()}
    didact.run(
        method="sft",
        student="decoder:2x64",
        steps=500,
        lr=0.003,
        batch_size=64,
        sampling="max_new_tokens=20",
        directory=folder / "start",
        **shared,
    )
    found = {}
    for name, environment in (("calculator", {"kind": "calculator", "turns": 2}), ("alone", {})):
        found[name] = didact.run(
            method="grpo",
            student=str(folder / "start"),
            environment=environment,
            sampling="max_new_tokens=20,samples=8",
            directory=folder / name,
            **SETTINGS,
            **shared,
        )
        print(f"{name:<12}{found[name].metrics['accuracy']:>8.1%} of the test products are right")
    return 0 if found["calculator"].metrics["accuracy"] > found["alone"].metrics["accuracy"] + 0.2 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tools"), help="output directory (runs/tools)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    options = parser.parse_args()
    sys.exit(main(options.out, options.seed))
