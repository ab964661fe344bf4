"""The main job on real data: does a small student learn more from a strong teacher than from a hundred labels alone?

scikit-learn's real images of handwritten digits. The teacher is trained here on all training labels; the student is a
tenth of its size and sees 100 labels, and the rest of the images without. A random teacher shows what a teacher that
knows nothing is worth, label spreading what the cheap alternative is. Five seeds; every arm takes the same number of
steps. Options are the defaults: nothing was tuned on these seeds.
"""

import argparse
import sys
from pathlib import Path

import didact
from didact.cli import show

TEACHER = "mlp:256,256"
STUDENT = "mlp:96"


def main(directory: Path) -> bool:
    """Compare the arms, print the figures, and write the report; whether the teacher, and only it, helped."""
    arms = {
        "alone": {"method": "supervised"},
        "taught": {"method": "distill", "teacher": TEACHER},
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    }
    with show.Counter(seeds=5) as counter:
        compared = didact.compare(
            arms,
            data="digits",
            student=STUDENT,
            labels=100,
            steps=1000,
            seeds=range(5),
            baselines="none",
            on_result=counter,
        )
    show.comparison(compared, compared.write(directory), directory)
    found = compared.comparison
    return found.finding("taught") == "better" and found.finding("random teacher") != "better"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where the report goes (runs/demo)")
    sys.exit(0 if main(parser.parse_args().out) else 1)
