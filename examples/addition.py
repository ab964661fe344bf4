"""A decoder of 0.8 million parameters that learns to add: from answers, from its own completions, and from a teacher.

It first learns from the answers of the data, until it is right on two fifths of the validation questions. Then it goes
on without them, in two ways from the same weights: by `grpo`, which only hears whether a completion was right; and by
`gkd`, where a stronger decoder (the one that `grpo` made) says at each token of the student's own completion what it
would have written.

    python examples/addition.py --out runs/addition --seed 0

It takes one to two minutes on two idle cores. The runs, with their reports, are in the directory.
"""

import argparse
import sys
from pathlib import Path

import didact

ANSWERS = "max_new_tokens=6"


def main(folder: Path, seed: int) -> int:
    """Teach, and print what came of it; 1 where a claim of the text above does not hold."""
    shared = {"data": "addition", "clip_norm": 1.0, "seed": seed, "progress": sys.stderr.isatty()}
    # One step of next to nothing: what is judged is the beginning itself.
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
    parser.add_argument("--out", type=Path, default=Path("runs/addition"), help="where the runs go (runs/addition)")
    parser.add_argument("--seed", type=int, default=0, help="of all that chance decides (0)")
    options = parser.parse_args()
    sys.exit(main(options.out, options.seed))
