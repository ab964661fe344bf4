"""Does a small student learn more from a strong teacher than from a hundred labels alone, on real data?

The data are scikit-learn's images of handwritten digits. The teacher is trained on all training labels. The student is
a tenth of its size; it sees 100 labels, and the other training images without labels. A random teacher is the control,
and label spreading the cheap baseline. All arms take the same number of steps, over five seeds, with default options;
nothing was tuned on these seeds.
"""

import argparse
import sys
from pathlib import Path

import didact
from didact.cli import show

TEACHER = "mlp:256,256"
STUDENT = "mlp:96"


def main(directory: Path) -> bool:
    """Compare the arms, print the results, and write the report; return whether only the real teacher helped."""
    arms = {
        "alone": {"method": "supervised"},
        "taught": {"method": "distill", "teacher": TEACHER},
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    }
    with show.Counter("checking every arm") as counter:
        compared = didact.compare(
            arms,
            data="digits",
            student=STUDENT,
            labels=100,
            steps=1000,
            seeds=range(5),
            baselines="none",
            on_result=lambda arm, seed, result: counter.tell(f"seed {seed}: {arm}", result),
        )
    show.comparison(compared, compared.write(directory), directory)
    found = compared.comparison
    return found.finding("taught") == "better" and found.finding("random teacher") != "better"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="output directory (runs/demo)")
    sys.exit(0 if main(parser.parse_args().out) else 1)
