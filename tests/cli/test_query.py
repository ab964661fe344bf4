"""`didact query`: what is asked of a table, images, texts and series, what is taken, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import didact
from didact.cli import main
from didact.errors import ConfigError, DataError
from didact.materials.examples import asking
from didact.sources import tables

QUICK = {"steps": 3, "progress": False, "validation": 0.1, "test": 0.2}
KINDS = ("table", "image", "text", "series", "arrays")
GENERATOR = np.random.default_rng(0)
VALUES = GENERATOR.normal(size=(40, 3))
CELLS = [f"{row[0]:.3f},{row[1]:.3f}" for row in VALUES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run on each kind of data, and a pool of 20 unlabelled rows for each."""
    home = tmp_path_factory.mktemp("runs")
    said = ["yes" if row[0] > 0 else "no" for row in VALUES]
    (home / "table.csv").write_text(
        "key,a,score,kind\n" + "".join(f"k{i},{CELLS[i]},{said[i] if i < 20 else ''}\n" for i in range(40))
    )
    (home / "text.csv").write_text(
        "text,kind\n" + "".join(f"a text about {said[i]} and {i},{said[i] if i < 20 else ''}\n" for i in range(40))
    )
    steps = [",".join(f"{value + step:.3f}" for step in range(6)) for value in VALUES[:, 0]]
    (home / "series.csv").write_text(
        "s0,s1,s2,s3,s4,s5,kind\n" + "".join(f"{steps[i]},{said[i] if i < 20 else ''}\n" for i in range(40))
    )
    for i, row in enumerate(VALUES):
        folder = home / "image" / (said[i] if i < 20 else "inbox")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(128 + 60 * row[0] + GENERATOR.normal(size=(8, 8)) * 9, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (home / "few.csv").write_text("file,label\n" + "".join(f"{said[i]}/{i}.png,{said[i]}\n" for i in range(20)))
    np.savez(home / "known.npz", x=VALUES[:20, :, None].repeat(5, 2), label=np.array([w == "yes" for w in said[:20]]))
    np.savez(home / "arrays.npz", x=VALUES[20:, :, None].repeat(5, 2))
    settings = {
        "table": {"data": "table.csv", "id_column": "key", "target": "kind", "student": "mlp:8"},
        "image": {"data": "image", "labels": "few.csv", "student": "cnn:4"},
        "text": {"data": "text.csv", "target": "kind", "text_column": "text", "student": "transformer:1x16"},
        "series": {"data": "series.csv", "target": "kind", "modality": "series", "student": "mlp:8"},
        "arrays": {"data": "known.npz", "modality": "series", "student": "mlp:8"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for kind, given in settings.items():
            didact.run("supervised", **QUICK, **given, directory=home / "runs" / kind)
    return home


@pytest.fixture
def run(runs, tmp_path, monkeypatch):
    """The directory of a run that has not asked yet."""
    monkeypatch.chdir(runs)
    made = []

    def clean(kind="table"):
        folder = runs / "runs" / kind / asking.FOLDER
        for path in folder.glob("*") if folder.exists() else ():
            path.unlink()
        made.append(folder)
        return runs / "runs" / kind

    yield clean
    for folder in made:
        for path in folder.glob("*") if folder.exists() else ():
            path.unlink()


def lines(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def answered(run, tmp_path, labels, name="answers.csv"):
    path = tmp_path / name
    path.write_text("id,label\n" + "".join(f"{one},{label}\n" for one, label in labels))
    return str(path)


POOLS = {"arrays": ["--data", "arrays.npz"]}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_are_asked_for_and_their_answers_make_the_next_data(kind, run, tmp_path, capsys):
    home = run(kind)
    assert main(["query", str(home), "--n", "6", "--by", "kcenter", *POOLS.get(kind, [])]) == 0
    found = lines(home / "asked" / "queries.csv")
    assert len({row["id"] for row in found}) == 6 and all(row["label"] == "" and row["score"] for row in found)
    facts = json.loads((home / "asked" / "query.json").read_text())
    classes = ["False", "True"] if kind == "arrays" else ["no", "yes"]
    assert (facts["classes"], facts["by"], facts["budget"]) == (classes, "kcenter", None)
    first = found[0]
    place = int(first["id"].removeprefix("k").removeprefix("inbox/").removesuffix(".png"))
    assert kind == "arrays" or place >= 20
    if kind == "table":
        assert list(first) == ["id", "a", "score (data)", "label", "score"]
        assert float(first["a"]) == pytest.approx(float(CELLS[place].split(",")[0]))
    shown = {
        "table": None,
        "image": f"inbox/{place}.png",
        "text": f"a text about {'yes' if VALUES[place, 0] > 0 else 'no'} and {place}",
        "series": " ".join(f"{VALUES[place, 0] + step:.3f}" for step in range(6)),
        "arrays": " ; ".join(" ".join([f"{value:.6g}"] * 5) for value in VALUES[place + 20 if place < 20 else place]),
    }[kind]
    if shown is not None:
        assert list(first) == ["id", {"image": "file", "text": "text"}.get(kind, "series"), "label", "score"]
        got = list(first.values())[1]
        if kind == "series":
            assert list(map(float, got.split())) == pytest.approx(list(map(float, shown.split())))
        else:
            assert got == shown
    given = answered(home, tmp_path, [(row["id"], classes[0]) for row in found[:4]])
    assert main(["query", str(home), "--answers", given]) == 0
    assert "4 new labels; 4 in all, 2 rows still wait" in " ".join(capsys.readouterr().out.split())
    assert [row["id"] for row in lines(home / "asked" / "queries.csv")] == [row["id"] for row in found[4:]]
    assert len(lines(home / "asked" / "labels.csv")) == 4
    merged = home / "asked" / "labelled.csv"
    assert merged.exists() == (kind != "arrays")
    if kind == "image":
        assert len(lines(merged)) == 24
    elif kind != "arrays":
        assert int(tables.read(merged)[0]["kind"].notna().sum()) == 24


def test_the_same_command_asks_for_no_more_until_answers_come(run, tmp_path):
    home = run()
    for _ in range(2):
        assert main(["query", str(home), "--n", "5", "--by", "entropy", "--budget", "8"]) == 0
        found = lines(home / "asked" / "queries.csv")
        assert len(found) == 5
    given = answered(home, tmp_path, [(row["id"], "yes") for row in found[:3]])
    assert main(["query", str(home), "--answers", given, "--n", "5", "--by", "entropy"]) == 0
    later = lines(home / "asked" / "queries.csv")
    assert [row["id"] for row in later[:2]] == [row["id"] for row in found[3:]] and len(later) == 5
    assert not {row["id"] for row in later} & {row["id"] for row in found[:3]}
    # The same answers again are charged no second time.
    assert asking.take_answers(home, [tmp_path / "answers.csv"]).total == 3
    with pytest.raises(
        ConfigError, match=r"budget is 8, of which 3 labels were taken and 5 rows wait .*n=5 or a larger"
    ):
        query(home, n=6)


def query(home, **changes):
    given = {"n": 5, "by": "entropy", "data": None, "budget": None, "seed": 0, **changes}
    return asking.query(home, didact.load(home), **given)


def test_a_crash_between_the_two_files_charges_nothing_twice(run, tmp_path):
    home = run()
    query(home)
    first = lines(home / "asked" / "queries.csv")[0]["id"]
    (home / "asked" / "labels.csv").write_text(f"id,label\n{first},yes\n")
    assert first not in {row["id"] for row in asking.read_queries(home).rows}
    taken = asking.take_answers(home, [tmp_path / answered(home, tmp_path, [(first, "yes")])])
    assert (taken.fresh, taken.total, taken.open) == (0, 1, 4)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([("k999", "yes"), ("k998", "no")], r"answers what was not asked: 'k999', 'k998' \(2 in all\)"),
        ([("k1", "yes")], r"answers what was not asked: 'k1'"),
        ([(0, "maybe")], r"labels that are no class: 'maybe' \(1 in all\); classes are no, yes"),
        ([(0, "yes"), (0, "no")], r"two labels for .*'yes' and 'no'.*Nothing was taken"),
    ],
)
def test_an_answer_that_cannot_be_right_takes_nothing(labels, said, run, tmp_path):
    home = run()
    query(home)
    ids = [row["id"] for row in lines(home / "asked" / "queries.csv")]
    named = [(ids[one] if isinstance(one, int) else one, label) for one, label in labels]
    path = answered(home, tmp_path, [(ids[3], "no"), *named])
    with pytest.raises(DataError, match=said):
        asking.take_answers(home, [tmp_path / path])
    assert not (home / "asked" / "labels.csv").exists()
    assert len(lines(home / "asked" / "queries.csv")) == 5


def test_another_label_for_an_answer_that_was_taken_is_refused(run, tmp_path):
    home = run()
    query(home)
    one = lines(home / "asked" / "queries.csv")[0]["id"]
    asking.take_answers(home, [tmp_path / answered(home, tmp_path, [(one, "no")])])
    with pytest.raises(DataError, match=r"two labels for .*'no' and 'yes'"):
        asking.take_answers(home, [tmp_path / answered(home, tmp_path, [(one, "yes")])])


def test_an_empty_label_is_none_yet_and_other_columns_are_ignored(run, tmp_path):
    home = run()
    query(home)
    ids = [row["id"] for row in lines(home / "asked" / "queries.csv")]
    path = tmp_path / "mine.csv"
    path.write_text(f"who;label;id\nann;yes;{ids[0]}\nann;;{ids[1]}\n")
    taken = asking.take_answers(home, [path])
    assert (taken.fresh, taken.missing, taken.open) == (1, 1, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 21}, r"n asks for 21 more rows, but table.csv has 20 of 40 without a label"),
        ({"n": 0}, "n is 0"),
        ({"budget": 0}, "budget is 0"),
        ({"by": "badger"}, r"by is 'badger'.*Did you mean badge"),
        ({"by": "bald"}, "the student has no dropout"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes, said, run):
    home = run()
    with pytest.raises(ConfigError, match=said):
        query(home, **changes)
    assert not list((home / "asked").glob("*")) if (home / "asked").exists() else True


def test_a_pool_of_its_own_must_have_the_ids(run, runs):
    home = run()
    (runs / "other.csv").write_text("name,a,score\nx,1.0,2.0\ny,1.0,3.0\n")
    with pytest.raises(DataError, match=r"other.csv has no column 'key', which names the rows of the run"):
        query(home, data=runs / "other.csv")
    (runs / "twice.csv").write_text("key,a,score\nx,1.0,2.0\nx,1.0,3.0\n")
    with pytest.raises(DataError, match=r"has the id 'x' more than once"):
        query(home, data=runs / "twice.csv")


def test_answers_come_after_questions(run, tmp_path):
    home = run()
    with pytest.raises(DataError, match="has asked for nothing yet"):
        asking.take_answers(home, [tmp_path / "answers.csv"])
    query(home)
    with pytest.raises(DataError, match=r"none.csv cannot be read"):
        asking.take_answers(home, [tmp_path / "none.csv"])
    (tmp_path / "odd.csv").write_text("name,label\nk1,yes\n")
    with pytest.raises(DataError, match="has no column 'id'"):
        asking.take_answers(home, [tmp_path / "odd.csv"])
