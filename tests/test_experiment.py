"""What a run is put together from, and what is refused."""

import json

import numpy as np
import pytest
import torch

import didact
from blobs import DATA, QUICK, Oracle
from didact import sources
from didact.errors import ConfigError, DataError, TeacherError
from didact.experiment import config as configs
from didact.experiment import pretraining, reading, running
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.learners import ModuleLearner
from didact.materials.examples import caching
from didact.materials.examples import data as data_of
from didact.materials.examples.source import train_of
from didact.teachers import CachedTeacher, FrozenTeacher
from didact.types import IGNORE, is_labelled

# ---- configurations


def test_a_file_and_python_give_the_same_run(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'method = "distill"\nteacher = "random"\nlabels = 40\nsteps = 50\nlr = 0.01\ntrust = ["a.B"]\n'
        "[options]\ntemperature = 2\n"
    )
    written = configs.make_config(reading.read_file(path))
    given, _ = running.split_arguments(
        method="distill", teacher="random", labels="40", steps="50", lr="0.01", trust="a.B", temperature=2
    )
    assert written == given
    stored = tmp_path / "config.json"
    stored.write_text(json.dumps({"config": written.as_dict(), "versions": {}}))
    assert configs.make_config(reading.read_file(stored)) == written


def test_a_mixture_may_be_a_table_of_a_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('method = "sft"\n[data]\nturns = "all"\n[data.source]\n"a.jsonl" = 0.7\n"hf:b/c" = 0.00003\n')
    found = configs.make_config(configs.flatten(configs.flatten(reading.read_file(path))))
    assert found.data.source == "a.jsonl*0.7+hf:b/c*0.00003"
    assert sources.read_mixture(found.data.source) == [("a.jsonl", 0.7), ("hf:b/c", 0.00003)]
    assert found == configs.make_config({"method": "sft", "turns": "all", "data": found.data.source})
    assert configs.make_config(found.as_dict()) == found.replace(seed=0) == found
    path.write_text('method = "sft"\n[data.source]\n"a.jsonl" = 2\n')
    assert configs.make_config(reading.read_file(path)).data.source == "a.jsonl"
    for table, said in (({"a": 0}, "the share 0 for 'a'"), ({"a": "x"}, "the share 'x'"), ({"a+b": 1}, "no '\\+'")):
        with pytest.raises(ConfigError, match=said):
            configs.make_config({"method": "sft", "data": {"source": table}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "method is not given"),
        ({"method": "distill", "tacher": "x"}, "There is no option 'tacher'. Did you mean teacher"),
        ({"method": "distill", "steps": 0}, "The budget of steps is 0, but must be above 0."),
        ({"method": "distill", "budget": {"setps": 5}}, "budget has no axis 'setps'. Did you mean steps"),
        ({"method": "distill", "budget": {}}, None),
        ({"method": "distill", "labels": 0}, "labels is 0, but must be at least 1."),
        ({"method": "distill", "lr": "-1"}, "lr is -1.0, but must be above 0 and below inf."),
        ({"method": "distill", "test": 0.9, "validation": 0.2}, "validation + test is 1.1, but must be below 1."),
        ({"method": "distill", "select": "best", "validation": 0}, "select is 'best', but validation is 0"),
        ({"method": "distill", "augment": "wild"}, "augment is 'wild', which is not known."),
        ({"method": "distill", "batch_size": "many"}, "batch_size is 'many', but must be a whole number."),
    ],
)
def test_configurations_that_cannot_be(values, said):
    if said is None:
        assert configs.make_config(values).budget.limits() == {"steps": 1000}
        return
    with pytest.raises(ConfigError) as caught:
        configs.make_config(values)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.toml", "method = ", "is not TOML"),
        ("run.json", "{", "is not JSON"),
        ("run.json", "[1]", "must be a table of options"),
        ("missing.toml", None, "cannot be read"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        reading.read_file(tmp_path / name)


def test_a_budget_in_words():
    assert reading.parse_budget("500") == {"steps": "500"}
    assert reading.parse_budget("steps=500, seconds=1.5") == {"steps": "500", "seconds": "1.5"}
    with pytest.raises(ConfigError, match="must be like steps=500"):
        reading.parse_budget("steps=500,60")


# ---- data


def test_labels_are_hidden_from_the_student_alone():
    data = data_of.open_examples(RunConfig.from_flags(method="supervised", labels=12), DATA)
    assert data_of.count_labels(data.train) == 12
    assert data_of.count_labels(data.splits.train) == data.splits.train.size
    known = is_labelled(data.train.tensors["label"])
    assert torch.equal(data.train.tensors["label"][known], data.splits.train.tensors["label"][known])
    again = data_of.open_examples(RunConfig.from_flags(method="supervised", labels=12, seed=1, split_seed=0), DATA)
    assert torch.equal(again.splits.test.tensors["id"], data.splits.test.tensors["id"])
    assert not torch.equal(is_labelled(again.train.tensors["label"]), known)


@pytest.mark.parametrize(
    "given",
    [
        DATA,
        {"x": DATA.tensors["x"], "label": DATA.tensors["label"]},
        (DATA.tensors["x"].numpy(), DATA.tensors["label"].numpy()),
    ],
)
def test_data_from_python(given):
    opened = data_of.open_examples(RunConfig.from_flags(method="supervised"), given).examples
    assert torch.equal(opened.tensors["x"], DATA.tensors["x"])
    assert torch.equal(opened.tensors["label"], DATA.tensors["label"])


def test_values_are_filled_in_from_training_rows_alone():
    x = DATA.tensors["x"].clone()
    x[::5, 0] = torch.nan
    config = RunConfig.from_flags(method="supervised", impute="mean")
    data = data_of.open_examples(config, (x, DATA.tensors["label"]))
    # Its rows lie in the order of the splits; they are found again by the columns without gaps.
    known = data.examples.tensors["x"][:, 2:]
    place = torch.stack([(known == row).all(1).nonzero()[0, 0] for row in x[:, 1:]])
    raw = sources.split(DATA.with_tensors(x=x, id=data.examples.tensors["id"][place]), validation=0.1, test=0.2, seed=0)
    mean = raw.train.tensors["x"][:, 0].nanmean()
    gaps = raw.test.tensors["x"][:, 0].isnan()
    assert gaps.any()
    torch.testing.assert_close(data.splits.test.tensors["x"][gaps, 0], mean.expand(int(gaps.sum())))
    assert data.splits.test.tensors["x"][:, 1].tolist() == gaps.float().tolist()


@pytest.mark.parametrize(
    ("settings", "given", "error", "said"),
    [
        (
            {"data": "digts"},
            None,
            ConfigError,
            "data is 'digts', which is neither a file or folder here nor built in. Did",
        ),
        (
            {"target": "y", "data": "digits"},
            None,
            ConfigError,
            "target is 'y', which means nothing for the built-in data 'digits'",
        ),
        ({}, [1, 2], DataError, "data is list, which is not understood"),
        ({"labels": 10_000}, DATA, ConfigError, "labels is 10000, but only"),
        (
            {"test": 0.1},
            (
                torch.randn(400, 2),
                torch.where(torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.01, 1.5, torch.nan),
            ),
            DataError,
            "",
        ),
    ],
)
def test_data_that_cannot_be(settings, given, error, said):
    with pytest.raises(error) as caught:
        data_of.open_examples(RunConfig.from_flags(method="supervised", **settings), given)
    assert str(caught.value).startswith(said)


# ---- what a run is put together from


def test_a_method_gets_its_parts_by_name():
    prepared = prepare(
        RunConfig.from_flags(method="fitnet", teacher="mlp:6", student="mlp:8"), Objects(data=DATA), teach=False
    )
    assert prepared.method.regressor is not None
    assert isinstance(prepared.method.teacher, CachedTeacher)
    assert prepared.method.teacher.teacher is prepared.teacher
    assert prepared.config.options == {
        "student_tap": "hidden",
        "teacher_tap": "hidden",
        "hint_share": 0.3,
        "temperature": 2.0,
        "alpha": 0.9,
    }
    mutual = prepare(RunConfig.from_flags(method="mutual_learning", student="mlp:8"), Objects(data=DATA))
    first, second = (next(part.parameters()) for part in (mutual.method.learner, mutual.method.peers[0]))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_batches_with_a_single_example_are_refused_where_examples_are_compared():
    given = (torch.arange(120.0).view(40, 3), torch.arange(40) % 2)
    settings = {"method": "relational", "teacher": "mlp:8", "student": "mlp:4", "validation": 0.0, "test": 0.375}

    def put_together(batch_size):
        config = RunConfig.from_flags(**settings, batch_size=batch_size)
        return prepare(config, Objects(data=given), teach=False)

    count = train_of(put_together(1000)).size
    bad = [size for size in range(1, count) if size == 1 or count % size == 1]
    assert len(bad) > 1
    for size in bad:
        with pytest.raises(ConfigError, match=f"batch_size is {size}, which .*compares the examples") as refused:
            put_together(size)
        works = int(str(refused.value).rpartition("; ")[2].split()[0])
        assert works > size and works > 1 and count % works != 1
        put_together(works)


@pytest.mark.parametrize("method", ["fixmatch", "mean_teacher", "pseudo_label"])
def test_a_batch_of_one_is_refused_where_it_should_have_both_kinds(method):
    config = RunConfig.from_flags(method=method, labels=12, batch_size=1, student="mlp:4")
    with pytest.raises(ConfigError, match=f"batch_size is 1, so that no batch has both .* '{method}' needs; 2 would"):
        prepare(config, Objects(data=DATA), teach=False)
    assert prepare(config.replace(batch_size=2), Objects(data=DATA), teach=False).source.batch_size == 2


def test_only_the_labelled_examples_where_the_others_are_of_no_use():
    config = RunConfig.from_flags(method="supervised", labels=12, batch_size=500)
    prepared = prepare(config, Objects(data=DATA))
    assert train_of(prepared).size == prepared.source.batch_size == prepared.source.label_count == 12
    taught = prepare(config.replace(method="distill", teacher="random"), Objects(data=DATA))
    assert train_of(taught).size == taught.data.splits.train.size
    assert taught.source.label_count == 12


def test_a_share_of_labelled_examples_in_each_batch():
    config = RunConfig.from_flags(method="distill", teacher="random", labels=12, batch_size=20, labelled_share=0.5)
    prepared = prepare(config, Objects(data=DATA))
    batch = next(iter(prepared.source))
    assert int((batch["label"] != IGNORE).sum()) == 10


@pytest.mark.parametrize(
    ("settings", "cached"),
    [
        ({}, True),
        ({"augment": "weak"}, False),
        ({"budget": {"teacher_calls": 100}}, False),
        ({"budget": {"teacher_calls": 100, "steps": 5}}, True),
    ],
)
def test_a_teacher_is_asked_once_where_its_answer_stays(settings, cached):
    prepared = prepare(RunConfig.from_flags(method="distill", teacher="random", **settings), Objects(data=DATA))
    assert isinstance(prepared.method.teacher, CachedTeacher) is cached


def test_large_features_are_not_kept(monkeypatch):
    monkeypatch.setattr(caching, "LIMIT", 100)
    prepared = prepare(
        RunConfig.from_flags(method="fitnet", teacher="mlp:6", student="mlp:8"), Objects(data=DATA), teach=False
    )
    before = prepared.teacher.cost.teacher_calls
    for _ in range(2):
        prepared.method.teacher.signal(train_of(prepared).batch(slice(0, 8)))
    assert (prepared.teacher.cost.teacher_calls - before, prepared.method.teacher.hits) == (16, 0)


def test_what_a_teacher_said_before_it_was_trained_is_forgotten():
    prepared = prepare(
        RunConfig.from_flags(method="fitnet", teacher="mlp:6", student="mlp:8", teacher_epochs=1), Objects(data=DATA)
    )
    batch = train_of(prepared).batch(slice(0, 8))
    fresh = prepared.teacher.learner(batch).logits
    teacher = prepared.method.teacher
    before = teacher.cost.teacher_calls
    torch.testing.assert_close(teacher.signal(batch).logits, fresh)
    assert teacher.cost.teacher_calls == before + 8


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"method": "distill"}, ConfigError, "The method 'distill' needs a teacher"),
        (
            {"method": "supervised", "teacher": "random"},
            ConfigError,
            "teacher is 'random', but the method 'supervised' does not use",
        ),
        (
            {"method": "supervised", "budget": {"teacher_calls": 5}},
            ConfigError,
            "The budget limits teacher_calls, on which nothing in this run spends: this run spends steps, epochs,",
        ),
        ({"method": "supervised", "budget": {"labels": 3}}, ConfigError, "The budget limits labels alone, of which"),
        (
            {"method": "supervised", "optimizer": "adamx"},
            ConfigError,
            "optimizer is 'adamx', which is not known. Did you",
        ),
        ({"method": "supervised", "student": "mpl:3"}, ConfigError, "student is 'mpl:3'"),
        (
            {"method": "supervised", "options": {"smoothing": 1}},
            ConfigError,
            "The method 'supervised' has no option 'smoo",
        ),
        ({"method": "distill", "teacher": "rndom"}, ConfigError, "teacher is 'rndom', but there is no teacher"),
        (
            {"method": "distill", "teacher": "missing.skops"},
            ConfigError,
            "teacher is 'missing.skops', but",
        ),
        (
            {"method": "distill", "teacher": "noisy:random"},
            ConfigError,
            "teacher is 'noisy:random', but noisy is written noisy:RATE",
        ),
        (
            {"method": "distill", "teacher": "noisy:x:random"},
            ConfigError,
            "the rate in teacher='noisy:x:random'",
        ),
        (
            {"method": "distill", "teacher": "noisy:2:random"},
            ConfigError,
            "rate is 2.0, but must be at least 0 and at most 1",
        ),
        (
            {"method": "fitnet", "teacher": "random"},
            TeacherError,
            "Features 'hidden' were requested from a random teacher",
        ),
        ({"method": "fitnet", "teacher": "mlp:6", "options": {"teacher_tap": "nope"}}, ConfigError, "tap is 'nope'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, error, said, monkeypatch):
    monkeypatch.setattr(pretraining, "fit", lambda *_, **__: pytest.fail("computed before all was checked"))
    with pytest.raises(error) as caught:
        prepare(RunConfig.from_flags(**settings), Objects(data=DATA))
    assert str(caught.value).startswith(said)


def test_options_beside_options_that_are_no_table():
    with pytest.raises(ConfigError, match="options is 5, but must be a table"):
        running.split_arguments(method="supervised", options=5, label_smoothing=0.1)


def test_a_task_that_the_method_is_not_for():
    regression = sources.from_tensors(DATA.tensors["x"], DATA.tensors["x"].sum(1))
    with pytest.raises(ConfigError, match="'fitnet' is for classification, but the data 'tensors' are a regression"):
        prepare(RunConfig.from_flags(method="fitnet", teacher="mlp:6"), Objects(data=regression))


# ---- teachers


def test_teachers_from_python():
    from sklearn.linear_model import LogisticRegression

    splits = sources.split(DATA, seed=0)
    fitted = LogisticRegression().fit(splits.train.tensors["x"], np.array(DATA.classes)[splits.train.tensors["label"]])
    for teacher in (
        fitted,
        Oracle(),
        FrozenTeacher(ModuleLearner(Oracle())),
    ):
        result = didact.run(method="distill", teacher=teacher, **{**QUICK, "steps": 2})
        assert result.teacher["accuracy"] > 0.95
    with pytest.raises(TeacherError, match="teacher is int, which cannot teach"):
        didact.run(method="distill", teacher=3, **QUICK)


def test_another_order_or_number_of_classes_is_refused():
    with pytest.raises(TeacherError, match="would be right on"):
        didact.run(method="distill", teacher=Oracle((1, 2, 0)), **QUICK)
    with pytest.raises(
        TeacherError, match="gives 2 numbers for an example, but the data have 3 classes: ant, bee, cat"
    ):
        didact.run(method="distill", teacher=Oracle((0, 1)), **QUICK)


def test_a_committee_averages_its_members_and_adds_up_their_cost():
    prepared = prepare(RunConfig.from_flags(method="distill", teacher="random+random"), Objects(data=DATA))
    batch = train_of(prepared).batch(slice(0, 5))
    members = [member.signal(batch).logits.softmax(-1) for member in prepared.teacher.teachers]
    assert not torch.equal(*members)
    torch.testing.assert_close(prepared.teacher.signal(batch).scores().softmax(-1), (members[0] + members[1]) / 2)


def test_adversarial_and_noisy_teachers_spoil_the_one_within():
    for spec, right in (("adversarial:mlp:16", 0.0), ("noisy:1.0:mlp:16", 0.0), ("mlp:16", 1.0)):
        result = didact.run(method="distill", teacher=spec, teacher_epochs=20, **{**QUICK, "steps": 2})
        assert result.teacher["accuracy"] == pytest.approx(right, abs=0.05)
        assert result.teacher_cost.labels == sources.split(DATA, seed=0).train.size
