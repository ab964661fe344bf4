"""From a table of prices to a student in production: split, teach, distill, evaluate, export, and answer in euros.

The prices are about 300,000 with a spread of 70,000, the areas have gaps, and the time stamps are far from 0, as in
real tables: nothing is scaled by hand. A boosted teacher is fitted to the training rows alone and saved with skops; a
small net learns its answers. At the end onnxruntime alone answers rows as they come, with unknown districts and missing
cells among them, and the script fails unless it says what `didact predict` says, to 1e-5 of the spread on every row.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from didact.cli import main

TARGET = "price"
NUMBERS, WORDS = ["area", "rooms", "offered_at"], ["district", "garden"]
TOLERANCE = 1e-5
"""Of the spread of the prices."""


def make_table(size: int, seed: int = 0) -> pd.DataFrame:
    """Flats and their prices.

    Args:
        size: the number of rows.
        seed: the only source of randomness.
    """
    rng = np.random.default_rng(seed)
    districts = dict(zip(["centre", "north", "harbour", "hills", "south"], (90, 10, 40, 60, 0), strict=True))
    table = pd.DataFrame(
        {
            "area": rng.lognormal(4.3, 0.35, size).round(1),
            "rooms": rng.integers(1, 7, size),
            "offered_at": rng.integers(1_600_000_000, 1_700_000_000, size),
            "district": rng.choice(list(districts), size, p=[0.15, 0.3, 0.1, 0.15, 0.3]),
            "garden": rng.choice(["yes", "no"], size, p=[0.3, 0.7]),
        }
    )
    years = (table["offered_at"] - 1.6e9) / 31_557_600
    price = 90_000 + 2_100 * table["area"] + 1_000 * table["district"].map(districts) + 9_000 * years
    price = price + 400 * table["area"] * (table["garden"] == "yes") + 6_000 * table["rooms"]
    table[TARGET] = (price + rng.normal(0, 12_000, size)).round(2)
    for name in ("area", "district"):
        table.loc[rng.random(size) < 0.03, name] = None
    return table


def fit_teacher(train: pd.DataFrame) -> object:
    """Boosted trees on raw columns.

    Args:
        train: the training rows.
    """
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), WORDS), remainder="passthrough"
    )
    model = HistGradientBoostingRegressor(random_state=0)
    return make_pipeline(encode, model).fit(train[[*NUMBERS, *WORDS]], train[TARGET])


def didact(*words: str | Path) -> None:
    """Run a command of didact, and end if it fails.

    Args:
        words: its arguments.
    """
    print("\n$ didact", *words)
    if status := main([str(word) for word in words]):
        sys.exit(status)


def answer_alone(graph: Path, rows: pd.DataFrame) -> np.ndarray:
    """The prices of an exported graph: onnxruntime and the cells, and nothing of didact.

    Args:
        graph: the file.
        rows: as they came; NaN where a cell is missing.

    Returns:
        float [N].
    """
    session, feed = onnxruntime.InferenceSession(str(graph)), {}
    for one in session.get_inputs():
        column = rows[one.name]
        if one.type == "tensor(double)":
            feed[one.name] = column.to_numpy(dtype=np.float64)[:, None]
        else:
            feed[one.name] = column.astype(object).where(column.notna(), "").to_numpy()[:, None]
    return session.run(["prediction"], feed)[0][:, 0]


def run(folder: Path, size: int, steps: int) -> int:
    """The whole way; returns 1 if the exported student answers differently, or has not learned.

    Args:
        folder: a new one, for everything that is written.
        size: the number of rows.
        steps: of the student.
    """
    folder.mkdir(parents=True)
    make_table(size).to_csv(folder / "table.csv", index=False)
    didact("split", folder / "table.csv", "--target", TARGET, "--out", folder / "data")
    train, test = (pd.read_csv(folder / "data" / f"{name}.csv") for name in ("train", "test"))
    skops.io.dump(fit_teacher(train), folder / "teacher.skops")

    files = [word for name, part in PARTS.items() for word in (f"--{name}", folder / "data" / f"{part}.csv")]
    given = ["--teacher", folder / "teacher.skops", "--student", "mlp:32,32", *files, "--target", TARGET]
    didact("distill", *given, "--steps", str(steps), "--lr", "0.01", "--no-progress", "--out", folder / "student")
    odd = test.copy()
    odd.loc[odd.index[1::7], "district"] = "a district that was never seen"
    odd.loc[odd.index[2::7], "area"] = None
    odd.loc[odd.index[3::7], "garden"] = None
    odd.to_csv(folder / "odd.csv", index=False)
    didact("evaluate", folder / "student", "--data", folder / "odd.csv")
    didact("predict", folder / "student", "--data", folder / "odd.csv", "--out", folder / "answers.csv")
    didact("export", folder / "student", "--to", "onnx")

    spread = train[TARGET].std()
    told = pd.read_csv(folder / "answers.csv")["prediction"].to_numpy()
    alone = answer_alone(folder / "student" / "student.onnx", pd.read_csv(folder / "odd.csv"))
    apart = np.abs(alone - told) / spread
    print(
        f"\n{len(told):,} rows answered by onnxruntime alone; at most {apart.max():.1g} spreads from `didact predict`."
    )
    if not (len(alone) == len(told) == len(test) and apart.max() <= TOLERANCE):
        print(f"{int((apart > TOLERANCE).sum())} rows are more than {TOLERANCE} spreads apart.", file=sys.stderr)
        return 1
    metrics = json.loads((folder / "student" / "result.json").read_text())["metrics"]
    if not 0 < metrics["rmse"] < spread / 2:
        print(f"The student's error of {metrics['rmse']:,.0f} is no better than half the spread.", file=sys.stderr)
        return 1
    return 0


PARTS = {"data": "train", "teacher-data": "train", "validation": "validation", "test": "test"}
"""The file of each part, by the option that takes it."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/regression"), help="a new folder")
    parser.add_argument("--rows", type=int, default=6_000, help="of the table")
    parser.add_argument("--steps", type=int, default=1_500, help="of the student")
    options = parser.parse_args()
    sys.exit(run(options.out, options.rows, options.steps))
