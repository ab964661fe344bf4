"""The race of methods: right where the truth is planted, on fresh seeds, test rows at the end alone, the same after a
stop."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

import didact
from didact import catalogue, evaluation
from didact.cli import main
from didact.errors import CheckpointError, ConfigError, DataError
from didact.evaluation import Predictions
from didact.materials.examples.recommending import racing, recommending
from didact.materials.examples.recommending.result import Difference, difference, recommended

FEW = ("distill", "supervised", "decoupled", "relational", "sft")
SPLITS = ["train"] * 400 + ["validation"] * 150 + ["test"] * 300
SETTINGS = {"target": "label", "split_column": "split", "student": "mlp:16", "steps": 90, "seeds": (1, 2, 3)}


def truth(frame):
    """The probability of yes: a rule of two columns that forty labels do not show."""
    return 1 / (1 + np.exp(-6 * (frame.a * frame.b + 0.3 * frame.c).to_numpy()))


def rows(seed=0):
    """Of the training rows one in ten has a label."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(len(SPLITS), 5)).round(3), columns=list("abcde"))
    frame["label"] = np.where(truth(frame) > 0.5, "yes", "no")
    frame.loc[np.arange(len(SPLITS)) < 360, "label"] = None
    return frame.assign(split=SPLITS)


def knowing(frame):
    """A teacher that knows the truth."""
    yes = truth(frame)
    return pd.DataFrame({"no": 1 - yes, "yes": yes})


def guessing(frame):
    """A teacher that knows nothing: its answers follow a column that means nothing."""
    yes = 1 / (1 + np.exp(-3 * frame.e.to_numpy()))
    return pd.DataFrame({"no": 1 - yes, "yes": yes})


@pytest.fixture
def few(monkeypatch):
    """Few methods of the catalogue, and one further learning rate."""
    monkeypatch.setattr(racing, "FACTORS", (3.0,))
    listed = [catalogue.find(name) for name in FEW]
    monkeypatch.setattr(racing.catalogue, "listing", lambda: listed)


def test_distillation_is_recommended_where_the_teacher_knows_what_labels_do_not_say(few):
    trials, words = [], []
    found = didact.recommend(teacher=knowing, data=rows(), on_trial=trials.append, on_plan=words.append, **SETTINGS)
    assert found.method != "supervised"
    (plain,) = [one for one in found.differences if (one.method, one.other) == ("distill", "supervised")]
    assert plain.verdict == "better" and plain.mean > 0.05
    assert "sft" not in found.left_out and "Features 'hidden'" in found.left_out["relational"]
    assert words[0].startswith("3 methods fit; about ")
    assert {(trial.number, trial.seed) for trial in trials} == {(0, 0), (1, 0), (2, 1), (2, 2), (2, 3)}
    assert len(trials) == len(found.tried) == 3 + 3 * 2 + 3 * 3
    test = rows().iloc[-300:]
    right = np.mean(np.array(found.student.predict(test).labels) == test.label)
    (entry,) = [one for one in found.finalists if one.method == found.method]
    assert abs(right - entry.test) < 0.1
    assert found.teacher == 1.0


@pytest.mark.slow
def test_training_is_recommended_where_the_teacher_knows_nothing(few):
    full = rows()
    full["label"] = np.where(truth(full) > 0.5, "yes", "no")
    found = didact.recommend(teacher=guessing, data=full, **SETTINGS)
    assert (found.method, found.winner) == ("supervised", "supervised")
    (plain,) = found.differences
    assert plain.verdict == "worse"
    assert found.sentences()[0] == "No method beats plain training here: it did best on validation rows."
    assert found.sentences()[1].startswith("Plain distillation is worse than training without a teacher")


@pytest.mark.slow
def test_a_stopped_race_goes_on_to_the_same_result(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows().to_csv("table.csv", index=False)
    run = ["--teacher", "mlp:8", "--data", "table.csv", "--target", "label", "--split-column", "split"]
    run += ["--student", "mlp:8", "--steps", "20", "--seeds", "1-2", "--teacher-epochs", "1"]
    assert main(["recommend", *run, "--out", "runs/whole"]) == 0
    made = racing.Race._made

    def stopping(race, entry, number, seed):
        if number == 2 and seed == 2:
            raise KeyboardInterrupt
        return made(race, entry, number, seed)

    with monkeypatch.context() as patch:
        patch.setattr(racing.Race, "_made", stopping)
        assert main(["recommend", *run, "--out", "runs/cut"]) == 130
    again = []
    monkeypatch.setattr(racing.Race, "_made", lambda *given: again.append(given[1:]) or made(*given))
    assert main(["resume", "runs/cut"]) == 0
    assert {(number, seed) for _, number, seed in again} == {(2, 2)}
    found, whole = (json.loads((tmp_path / f"runs/{name}/recommend.json").read_text()) for name in ("cut", "whole"))
    for one in (found, whole):
        one.pop("seconds")
        for trial in one["tried"]:
            trial.pop("seconds")
    assert found == whole
    assert main(["recommend", *run, "--out", "runs/cut"]) != 0
    with pytest.raises(CheckpointError, match="is no search that `didact recommend` began"):
        recommending.resume(_empty(tmp_path))


def _empty(folder):
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text('{"config": {}, "objects": [], "data": {}}')
    return folder / "other"


def test_what_is_printed_fits_80_columns(few, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rows().to_csv("table.csv", index=False)
    main(["recommend", "--teacher", "random", "--data", "table.csv", "--target", "label", "--split-column", "split",
          "--student", "mlp:4", "--steps", "9", "--seeds", "1-2"])  # fmt: skip
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "the teacher" in printed and "Use " in printed and "recommend.json" in printed


def test_the_time_ends_a_race(few, monkeypatch):
    """Further learning rates are left out after half of it, and the finalists get the fewest seeds."""
    made = racing.Race._made
    monkeypatch.setattr(racing.Race, "_made", lambda *given: dataclasses.replace(made(*given), seconds=30.0))
    settings = {**SETTINGS, "steps": 2, "seeds": (1, 2, 3, 4), "teacher": "random", "data": rows()}
    found = didact.recommend(minutes=60, **settings)
    assert not found.out_of_time and len([one for one in found.tried if one["share"] == 1.0]) == 3 * 4
    found = didact.recommend(minutes=2, **settings)
    assert found.out_of_time and found.seeds == (1, 2, 3)
    assert found.left_out["decoupled"] == "The time was up before it was tried."
    assert [one["lr"] for one in found.tried if one["share"] == 1 / 3] == [found.tried[0]["lr"]] * 2
    assert found.sentences()[-1].startswith("The time was up before everything was tried")


def test_a_method_that_is_too_slow_is_left_out_and_named(few, monkeypatch):
    made = racing.Race._made

    def slow(race, entry, number, seed):
        seconds = 100.0 if entry.method == "decoupled" else 0.1
        return dataclasses.replace(made(race, entry, number, seed), seconds=seconds)

    monkeypatch.setattr(racing.Race, "_made", slow)
    settings = {**SETTINGS, "steps": 2, "seeds": (1, 2, 3), "teacher": "random", "data": rows()}
    found = didact.recommend(minutes=30, **settings)
    assert found.left_out["decoupled"] == "Its last round would take 2700 s, for which there is no time."
    assert {one["method"] for one in found.tried if one["share"] == 1.0} == {"distill", "supervised"}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"teacher": None}, ConfigError, "teacher is not given; name what is to teach"),
        ({"minutes": 0}, ConfigError, "minutes is 0"),
        ({"smallest_effect": 0}, ConfigError, "smallest_effect is 0"),
        ({"seeds": (0, 1)}, ConfigError, "at least two seeds, each once, and not 0"),
        ({"made_up": 2}, ConfigError, "made_up is 2, but methods that learn from labels alone"),
        ({"method": "distill"}, ConfigError, "`recommend` decides that itself"),
        ({"student": torch.nn.Linear(5, 2)}, ConfigError, "student is Linear, but must be a spec"),
        ({"student": "tree:8"}, ConfigError, "tree"),
        ({"data": rows().assign(label=None), "classes": ("no", "yes")}, DataError, "plain training cannot race"),
    ],
)
def test_what_cannot_race_is_refused(few, changes, error, said):
    with pytest.raises(error, match=said):
        didact.recommend(**{"teacher": knowing, "data": rows(), **SETTINGS, **changes})


def answers(right, seed):
    """Answers to 400 rows, of which a share is right."""
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(400, generator=generator) < right
    labels = torch.zeros(400, dtype=torch.int64)
    logits = torch.nn.functional.one_hot((~hit).long(), 2).float()
    return Predictions(logits=logits, labels=labels, task="classification")


def test_an_interval_is_for_other_rows_and_other_seeds():
    """Students of all seeds that answer alike differ by the noise of the rows alone, which seeds do not show."""
    same = {"a": [answers(0.80, 0)] * 3, "b": [answers(0.78, 1)] * 3}
    found = difference("a", "b", same, "accuracy", 0.01)
    hits = [evaluation.metrics(same[name][0])["accuracy"] for name in "ab"]
    noise = 1.96 * math.sqrt((0.8 * 0.2 + 0.78 * 0.22) / 400)
    assert found.mean == pytest.approx(hits[0] - hits[1])
    assert (found.high - found.low) / 2 == pytest.approx(noise, rel=0.15)
    assert found.verdict == "undecided"
    far = {"a": [answers(0.95, seed) for seed in range(5)], "b": [answers(0.6, seed + 9) for seed in range(5)]}
    assert difference("a", "b", far, "accuracy", 0.01).verdict == "better"
    assert difference("a", "a", far, "accuracy", 0.01).verdict == "equivalent"


@pytest.mark.parametrize(
    ("winner", "verdicts", "wanted"),
    [
        ("x", {("x", "distill"): "better", ("x", "supervised"): "better"}, "x"),
        ("x", {("x", "distill"): "undecided", ("distill", "supervised"): "better"}, "distill"),
        ("x", {("x", "distill"): "equivalent", ("distill", "supervised"): "equivalent"}, "supervised"),
        ("x", {("x", "distill"): "better", ("x", "supervised"): "undecided"}, "supervised"),
        ("distill", {("distill", "supervised"): "worse"}, "supervised"),
        ("supervised", {("supervised", "distill"): "worse"}, "distill"),
    ],
)
def test_the_simplest_that_nothing_beats_is_recommended(winner, verdicts, wanted):
    found = [
        Difference(method=a, other=b, mean=0.0, low=0.0, high=0.0, verdict=verdict)
        for (a, b), verdict in verdicts.items()
    ]
    assert recommended(winner, found) == wanted
