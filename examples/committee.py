"""Three teachers of a table, each of another kind, teach one student: a forest, an ONNX net and a Hugging Face model.

Each teacher was fitted by another branch, to its own customers: a random forest saved with skops, a net exported as
ONNX, and a small BERT, which reads the rows as texts. The student learns from all three on rows of all branches, few of
which have labels. The weights of the three are learnt on validation rows, and the report shows what each one taught, at
what cost, and what the committee would lose without it. `--students` also teaches students without each of them.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from didact.cli import main
from didact.evaluation import sections
from didact.teachers import row_texts

BRANCHES = ["north", "south", "east"]
CLASSES = ["basic", "plus", "pro"]
NUMBERS = ["age", "visits", "distance"]


def make_table(size: int, seed: int = 0) -> pd.DataFrame:
    """Customers of three branches, and the plan that each one took.

    Args:
        size: the number of rows.
        seed: the only source of randomness.
    """
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "branch": rng.choice(BRANCHES, size),
            "city": rng.choice(["Rome", "Oslo", "Lima", "Nice"], size),
            "age": rng.integers(18, 90, size),
            "visits": rng.poisson(6, size),
            "distance": rng.integers(1, 60, size),
        }
    )
    wish = 0.06 * (table.age - 50) + 0.5 * (table.visits - 6) - 0.05 * (table.distance - 30)
    # What moves customers is not the same everywhere.
    wish = wish.where(table.branch != "south", 0.08 * (table.age - 50) + 1.5 * (table.city == "Rome") - 0.4)
    wish = wish.where(table.branch != "east", 0.5 * (6 - table.visits) + 1.5 * (table.city == "Oslo") - 0.4)
    wish = wish + rng.logistic(0, 0.15, size)
    table["plan"] = np.array(CLASSES)[np.searchsorted([-0.6, 0.6], wish)]
    return table


def didact(*words: str | Path) -> None:
    """Run a command of didact, and end if it fails.

    Args:
        words: its arguments.
    """
    print("\n$ didact", *words)
    if status := main([str(word) for word in words]):
        sys.exit(status)


def fit_forest(rows: pd.DataFrame, path: Path) -> None:
    """A random forest on raw columns, saved with skops.

    Args:
        rows: its training rows.
        path: the file to write.
    """
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city", "branch"]),
                                     ("passthrough", NUMBERS))  # fmt: skip
    forest = make_pipeline(encode, RandomForestClassifier(100, min_samples_leaf=3, random_state=0))
    skops.io.dump(forest.fit(rows.drop(columns="plan"), rows["plan"]), path)


def fit_net(rows: pd.DataFrame, folder: Path, steps: int) -> None:
    """A net with two hidden layers as `net.onnx`, a graph that reads raw columns.

    Args:
        rows: its training rows.
        folder: where it is written.
        steps: optimizer steps.
    """
    rows.to_csv(folder / "net.csv", index=False)
    data = ["--data", folder / "net.csv", "--target", "plan", "--test", "0.1"]
    didact("run", "supervised", *data, "--student", "mlp:64,64", "--steps", str(steps), "--out", folder / "net")
    didact("export", folder / "net", "--to", "onnx", "--out", folder / "net.onnx")


def fit_bert(rows: pd.DataFrame, folder: Path, steps: int) -> None:
    """A small BERT that reads each row as a text, saved as Hugging Face saves it.

    Args:
        rows: its training rows.
        folder: where it is written.
        steps: optimizer steps.
    """
    torch.manual_seed(0)
    texts, labels = row_texts(rows.drop(columns="plan")), torch.tensor([CLASSES.index(one) for one in rows["plan"]])
    split = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)} | set("0123456789"))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = split
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, pad_token_id=0, id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)}, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config).train()
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        few = torch.randint(len(texts), (64,))
        inputs = {name: tokens[name][few] for name in ("input_ids", "attention_mask")}
        model(**inputs, labels=labels[few]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run(folder: Path, size: int, steps: int, weights: str, *, students: bool) -> None:
    """The whole way.

    Args:
        folder: a new one, for everything that is written.
        size: rows of the table.
        steps: optimizer steps of the student.
        weights: how the teachers are weighed; see `didact.teachers.Committee`.
        students: whether to teach students without each teacher, too.
    """
    folder.mkdir(parents=True)
    make_table(size).to_csv(folder / "table.csv", index=False)
    didact("split", folder / "table.csv", "--target", "plan", "--out", folder / "data")
    train = pd.read_csv(folder / "data" / "train.csv")
    north, south, east = (train[train.branch == name] for name in BRANCHES)
    fit_forest(north, folder / "forest.skops")
    fit_net(south, folder, 2 * steps)
    fit_bert(east, folder / "bert", steps)

    teachers = [str(folder / "forest.skops"), str(folder / "net.onnx"), f"hf:{folder / 'bert'}"]
    files = ["--data", "train", "--validation", "validation", "--test", "test", "--teacher-data", "train"]
    given = [word if word.startswith("--") else folder / "data" / f"{word}.csv" for word in files]
    given += ["--target", "plan", "--student", "mlp:32,32", "--labels", "60", "--lr", "0.01", "--steps", str(steps)]
    didact("distill", *given, "--teacher", f"committee:{weights}:{'+'.join(teachers)}", "--out", folder / "student")

    found = json.loads((folder / "student" / "result.json").read_text())
    table = sections.committee_table(found["committee"])
    assert table is not None
    print("\nWhat each teacher taught, at what cost, and what it is worth on the validation rows:")
    names = {name: Path(name).name for name in teachers}
    rows = [(names[name], *cells) for name, cells in table["rows"]]
    print(pd.DataFrame(rows, columns=["teacher", *table["columns"]]).to_string(index=False))
    if students:
        for number, name in enumerate(teachers):
            rest = "+".join(one for place, one in enumerate(teachers) if place != number)
            print(f"\nA student that is taught without {names[name]}:")
            didact("distill", *given, "--teacher", f"committee:{weights}:{rest}", "--out", folder / f"without-{number}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/committee"), help="a new folder")
    parser.add_argument("--rows", type=int, default=3_000, help="of the table")
    parser.add_argument("--steps", type=int, default=400, help="of the student")
    parser.add_argument("--weights", default="learned", help="equal words of committee:HOW:A+B")
    parser.add_argument("--students", action="store_true", help="teach students without each teacher, too")
    options = parser.parse_args()
    run(options.out, options.rows, options.steps, options.weights, students=options.students)
