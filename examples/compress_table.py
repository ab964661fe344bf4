"""From a messy table to a student in production: split, teach, compress, evaluate, export, and answer without didact.

The table has numbers with gaps, dates, cities, postcodes with leading zeros, and few positive rows. A boosted teacher
is fitted to the training rows alone and saved with skops. `didact compress` finds the smallest student within a point
of it, `didact evaluate` judges that on the test rows, and `didact export` writes it as ONNX. At the end onnxruntime
alone answers rows as they come, with unknown cities and missing cells among them, and the script fails unless it says
what `didact predict` says, to 1e-5 on every row.
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
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from didact.cli import main

NUMBERS, WORDS = ["age", "income", "visits"], ["city", "postcode", "plan"]
TARGET = "churned"
POSITIVE = 0.03
TOLERANCE = 1e-5


def make_table(size: int, seed: int = 0) -> pd.DataFrame:
    """Customers, 3% of whom leave.

    Args:
        size: the number of rows.
        seed: the only source of randomness.
    """
    rng = np.random.default_rng(seed)
    cities = ["Rome", "Oslo", "Cairo", "Lima", "Quito", "Turin", "Basel", "Nice"]
    joined = pd.Timestamp("2012-01-01") + pd.to_timedelta(rng.integers(0, 4000, size), "D")
    table = pd.DataFrame(
        {
            "customer": [f"c{number:06d}" for number in range(size)],
            "age": rng.normal(45, 14, size).clip(18, 95).round(),
            "income": rng.lognormal(10.3, 0.5, size).round(2),
            "visits": rng.poisson(4, size).astype(float),
            "city": rng.choice(cities, size, p=[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.04, 0.01]),
            "postcode": [f"{code:05d}" for code in 1000 + 37 * rng.integers(0, 60, size)],
            "plan": rng.choice(["basic", "plus", "pro"], size, p=[0.6, 0.3, 0.1]),
            "joined": joined.strftime("%Y-%m-%d"),
        }
    )
    years = (pd.Timestamp("2024-01-01") - pd.to_datetime(table.joined)).dt.days / 365.25
    risk = 1.2 * (table.plan == "basic") - 0.35 * years - 0.5 * table.visits + 1.5 * (table.city == "Cairo")
    risk = risk + 0.8 * np.log(40_000 / table.income) + 1.0 * (table.age < 30) + rng.logistic(0, 0.4, size)
    table[TARGET] = np.where(risk > np.quantile(risk, 1 - POSITIVE), "yes", "no")
    for name in ("age", "income", "city", "joined"):
        table.loc[rng.random(size) < 0.04, name] = None
    return table


def fit_teacher(train: pd.DataFrame) -> object:
    """Boosted trees on raw columns: LightGBM's where it is installed, else scikit-learn's.

    Both classes weigh the same, as a teacher that never says "yes" has nothing to teach about it.

    Args:
        train: the training rows.
    """
    encode = make_column_transformer(
        (SimpleImputer(strategy="median"), NUMBERS),
        (
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="none"),
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            ),
            [*WORDS, "joined"],
        ),
    )
    try:
        from lightgbm import LGBMClassifier
    except ImportError:
        model = HistGradientBoostingClassifier(learning_rate=0.05, class_weight="balanced", random_state=0)
    else:
        model = LGBMClassifier(learning_rate=0.05, class_weight="balanced", verbose=-1, random_state=0)
    return make_pipeline(encode, model).fit(train.drop(columns=[TARGET, "customer"]), train[TARGET])


def didact(*words: str | Path) -> None:
    """Run a command of didact, and end if it fails.

    Args:
        words: its arguments.
    """
    print("\n$ didact", *words)
    if status := main([str(word) for word in words]):
        sys.exit(status)


def odd_rows(test: pd.DataFrame) -> pd.DataFrame:
    """The test rows, with cells among them that training rows did not have.

    Args:
        test: rows.
    """
    odd = test.copy()
    odd.loc[odd.index[1::7], "city"] = "a city that was never seen"
    odd.loc[odd.index[2::7], "postcode"] = "99999"
    for place, name in enumerate(["age", "visits", "plan", "joined"], 3):
        odd.loc[odd.index[place::7], name] = None
    odd.loc[odd.index[0::50], "income"] = 1e7
    return odd


def answer_alone(graph: Path, rows: pd.DataFrame) -> np.ndarray:
    """The probabilities of an exported graph: onnxruntime and the cells, and nothing of didact.

    Args:
        graph: the file.
        rows: as they came; NaN where a cell is missing.

    Returns:
        float32 [N, 2].
    """
    session = onnxruntime.InferenceSession(str(graph))
    feed = {}
    for one in session.get_inputs():
        column = rows[one.name]
        if one.type == "tensor(double)":
            feed[one.name] = column.to_numpy(dtype=np.float64)[:, None]
        else:
            feed[one.name] = column.astype(object).where(column.notna(), "").to_numpy()[:, None]
    return session.run(["probabilities"], feed)[0]


def run(folder: Path, size: int, *extra: str) -> int:
    """The whole way; returns 1 if the exported student answers differently.

    Args:
        folder: a new one, for everything that is written.
        size: the number of rows.
        extra: further options of `didact compress`.
    """
    folder.mkdir(parents=True)
    make_table(size).to_csv(folder / "table.csv", index=False)
    columns = ["--target", TARGET, "--id-column", "customer"]
    didact("split", folder / "table.csv", *columns, "--out", folder / "data")

    words = dict.fromkeys([*WORDS, "customer"], str)
    train, test = (pd.read_csv(folder / "data" / f"{name}.csv", dtype=words) for name in ("train", "test"))
    skops.io.dump(fit_teacher(train), folder / "teacher.skops")
    # The file was written above, so that what it holds can be trusted.
    trust = ",".join(skops.io.get_untrusted_types(file=folder / "teacher.skops"))

    files = [f"--{name}={folder / 'data' / file}.csv" for name, file in PARTS.items()]
    given = ["--teacher", folder / "teacher.skops", *(["--trust", trust] if trust else []), *files, *columns]
    didact("compress", *given, "--categorical", "postcode", "--out", folder / "student", *extra)
    found = json.loads((folder / "student" / "result.json").read_text())
    assert found["metric"] == "balanced_accuracy", "3% positive rows are not judged by plain accuracy"

    odd_rows(test).to_csv(folder / "odd.csv", index=False)
    didact("evaluate", folder / "student", "--data", folder / "odd.csv")
    didact("predict", folder / "student", "--data", folder / "odd.csv", "--out", folder / "answers.csv")
    didact("export", folder / "student", "--to", "onnx")

    rows, answers = pd.read_csv(folder / "odd.csv", dtype=words), pd.read_csv(folder / "answers.csv")
    alone = answer_alone(folder / "student" / "student.onnx", rows)
    told = answers[["probability of no", "probability of yes"]].to_numpy()
    apart = np.abs(alone - told).max(axis=1)
    print(f"\n{len(rows):,} rows answered by onnxruntime alone; at most {apart.max():.1g} from `didact predict`.")
    if not (len(alone) == len(told) == len(test) and apart.max() <= TOLERANCE):
        print(f"{int((apart > TOLERANCE).sum())} rows are more than {TOLERANCE} apart.", file=sys.stderr)
        return 1
    return 0


PARTS = {"data": "train", "teacher-data": "train", "validation": "validation", "test": "test"}
"""The file of each part, by the option that takes it."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/compress-table"), help="a new folder")
    parser.add_argument("--rows", type=int, default=30_000, help="of the table")
    options, more = parser.parse_known_args()
    sys.exit(run(options.out, options.rows, *more))
