"""Data and teachers that are given as Python objects: taken alike, or refused in a sentence."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import didact
from didact.errors import ConfigError, DataError, TeacherError
from didact.preprocessing import TableOptions
from didact.sources.objects import from_object
from didact.teachers import FunctionTeacher, RawRows
from didact.types import Labels, Logits

READING = {"target": None, "id_column": None, "text_column": None, "task": None, "columns": TableOptions()}
SHORT = {"method": "distill", "student": "mlp:4", "steps": 3, "progress": False}
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


class Pairs(Dataset):
    """A data set of what is given."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


PAIRS = Pairs(*zip(X, Y.tolist(), strict=True))


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (X.tolist(), Y.tolist()),
        (torch.from_numpy(X).clone().requires_grad_(), torch.from_numpy(Y)),
        (X, pd.Series(Y, index=range(60, 0, -1))),
        (X, pd.DataFrame({"y": Y})),
        {"x": X, "label": Y},
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        PAIRS,
        Pairs(*((torch.from_numpy(x), torch.tensor(y)) for x, y in PAIRS)),
        Subset(Pairs(*PAIRS, (X[0], 1)), range(60)),
        DataLoader(PAIRS, batch_size=7),
        DataLoader(PAIRS, batch_size=7, shuffle=True),
    ],
    ids=lambda given: type(given).__name__,
)
def test_arrays_of_every_kind_are_the_same_examples(given):
    examples = from_object(given, READING)
    assert examples.classes == ("0", "1")
    np.testing.assert_array_equal(examples.tensors["x"].numpy(), X)
    np.testing.assert_array_equal(examples.tensors["label"].numpy(), Y)


def test_bfloat16_tensors_are_the_numbers_that_they_are():
    rounded = torch.from_numpy(X).bfloat16()
    examples = from_object((rounded, Y), READING)
    torch.testing.assert_close(examples.tensors["x"], rounded.float(), rtol=0, atol=0)


@pytest.mark.parametrize("y", [list("ab" * 30), np.array(list("ab" * 30)), pd.Series(list("ab" * 30), name="kind")])
def test_a_data_frame_and_its_answers_are_a_table(y):
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=range(100, 160)).assign(city=["Rome", "Oslo", "Oslo"] * 20)
    name = "kind" if isinstance(y, pd.Series) else "label"
    whole = from_object(frame.assign(**{name: list(y)}), {**READING, "target": name})
    apart = from_object((frame, y), READING)
    assert apart.classes == whole.classes == ("a", "b")
    for name in ("label", "id"):
        torch.testing.assert_close(apart.tensors[name], whole.tensors[name])
    assert list(apart.rows) == ["a", "b", "c", "city"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Stream(), "Stream without a length"),
        (DataLoader(Stream()), "Stream without a length"),
        (Pairs((X[0], 1, 2)), r"Pairs that gives 3 values for index 0, where didact takes \(x, y\)"),
        (Pairs(X[0]), "gives ndarray for index 0"),
        (Pairs((X[0], 1), (X[0, :2], 0)), r"different shapes, such as \[2\] and \[3\]"),
        (DataLoader(PAIRS, collate_fn=list), "collate_fn of its own"),
        (DataLoader(PAIRS, sampler=[3, 1]), "with a sampler"),
        (DataLoader(PAIRS, batch_sampler=[[3, 1]]), "with a sampler"),
        (([[1.0, 2.0], [1.0]], [0, 1]), "x is list, which is no array of numbers"),
        ((torch.eye(3).to_sparse(), [0, 1, 0]), r"x is a tensor that is sparse or quantized; give its to_dense"),
        ((pd.DataFrame({"label": [1, 2]}), [0, 1]), "x has a column 'label', and y is called so too"),
        ((pd.DataFrame({"a": [1, 2]}), [0]), r"x has 2 rows, but y has the shape \[1\]"),
        ((X, Y, Y), "data is tuple, which is not understood"),
        (X, "data is ndarray, which is not understood"),
    ],
)
def test_what_is_no_set_of_examples_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        from_object(given, READING)


def test_a_data_set_of_torch_teaches_the_same_net_as_its_arrays():
    nets = [
        didact.run(**{**SHORT, "method": "supervised"}, data=data).learner.state_dict()
        for data in ((X, Y), DataLoader(PAIRS, shuffle=True))
    ]
    for name, weight in nets[0].items():
        torch.testing.assert_close(nets[1][name], weight, rtol=0, atol=0)


def probabilities(x):
    return torch.softmax(torch.stack([-x[:, 0], x[:, 0]], 1), 1)


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (probabilities, Labels, probabilities(torch.from_numpy(X))),
        (lambda x: probabilities(x).tolist(), Labels, probabilities(torch.from_numpy(X))),
        (lambda x: 3 * x[:, :2], Logits, 3 * torch.from_numpy(X[:, :2])),
        (lambda x: (3 * x[:, :2]).bfloat16(), Logits, (3 * torch.from_numpy(X[:, :2])).bfloat16().float()),
        (lambda x: (x[:, 0] > 0).long(), Labels, torch.eye(2)[Y]),
        (lambda x: [["no", "yes"][int(one)] for one in x[:, 0] > 0], Labels, torch.eye(2)[Y]),
        (
            lambda x: pd.DataFrame(probabilities(x).flip(1).numpy(), columns=["yes", "no"]),
            Labels,
            probabilities(torch.from_numpy(X)),
        ),
    ],
)
def test_a_function_answers_with_probabilities_logits_or_labels(function, kind, expected):
    first = function(torch.zeros(1, 3))
    names = ("no", "yes") if isinstance(first, pd.DataFrame) or str(first) == "['no']" else ("0", "1")
    examples = from_object((X, [names[one] for one in Y]), READING)
    teacher = FunctionTeacher(function, classes=examples.classes, rows=RawRows(examples))
    signal = teacher.signal(examples.batch(slice(0, 60)))
    assert isinstance(signal, kind)
    found = signal.labels if isinstance(signal, Labels) else signal.logits
    torch.testing.assert_close(found, expected)
    assert teacher.cost.teacher_calls == 60


def test_a_function_of_a_data_frame_is_given_the_rows_as_they_came():
    frame = pd.DataFrame({"a": X[:, 0], "city": ["Rome", "Oslo", None] * 20, "label": ["no", "yes"] * 30})
    seen = []

    def rules(rows):
        seen.append(rows)
        return np.where(rows["city"] == "Oslo", "yes", "no")

    result = didact.run(**SHORT, data=frame, target="label", teacher=rules)
    assert set(seen[0].columns) == {"a", "city"}
    assert set(pd.concat(seen)["city"].dropna()) == {"Rome", "Oslo"}
    assert 0 < result.teacher["accuracy"] < 1


def test_a_function_of_arrays_with_gaps_is_given_their_numbers():
    x = X.copy()
    x[::5, 1] = np.nan
    seen = []
    didact.run(**SHORT, data=(x, Y), teacher=lambda rows: seen.append(rows) or (rows[:, 0] > 0).long())
    assert isinstance(seen[0], torch.Tensor)
    assert any(rows.isnan().any() for rows in seen)


def test_a_function_teaches_a_regression_in_the_users_unit():
    result = didact.run(**SHORT, data=(X, 1000 + 50 * X[:, 0]), teacher=lambda x: 1000 + 50 * x[:, 0])
    assert result.teacher["rmse"] < 1e-2


def test_an_estimator_of_a_data_frame_teaches():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(city=["Rome", "Oslo", "Cairo"] * 20)
    y = pd.Series(np.where(Y + (frame.city == "Oslo") > 0, "yes", "no"))
    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    teacher = make_pipeline(encode, RandomForestClassifier(10, random_state=0)).fit(frame, y)
    result = didact.run(**SHORT, data=(frame, y), teacher=teacher, split_seed=0)
    assert result.teacher["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        (lambda x: x.nothing, TeacherError, r"given a Tensor of shape \[2, 3\], and raised AttributeError"),
        (lambda x: x[:1], TeacherError, r"answers 2 examples with the shape \[1, 3\]"),
        (lambda x: x, TeacherError, "A function predicts 3 classes, but the data have 2"),
        (lambda x: ["maybe"] * len(x), TeacherError, "answers 'maybe', which is no class of the data: '0', '1'"),
        (lambda x: x[:, :2] * torch.nan, TeacherError, "not all finite"),
        (lambda x: None, TeacherError, r"with the shape \[\]"),
        ([], TeacherError, "teacher is an empty list; give one"),
        (RandomForestClassifier, TeacherError, "is the class RandomForestClassifier; give an instance"),
        (nn.Linear(3, 2).double(), ConfigError, r"weights of torch.float64 \(weight\).* call module.float\(\) first"),
    ],
)
def test_what_cannot_teach_is_refused_before_training(teacher, error, message):
    with pytest.raises(error, match=message):
        didact.run(**SHORT, data=(X, Y), teacher=teacher)


def test_answers_that_stop_being_probabilities_are_refused():
    examples = from_object((X, Y), READING)
    teacher = FunctionTeacher(lambda x: x[:, :2], classes=examples.classes)
    teacher.function = probabilities
    teacher.signal(examples.batch(slice(0, 4)))
    teacher.function = lambda x: 3 * x[:, :2]
    with pytest.raises(TeacherError, match="were probabilities at first"):
        teacher.signal(examples.batch(slice(4, 8)))


def test_a_student_of_another_type_is_refused():
    with pytest.raises(ConfigError, match=r"The Linear has weights of torch.float64 \(weight\)"):
        didact.run(**{**SHORT, "method": "supervised", "student": nn.Linear(3, 2).double()}, data=(X, Y))


def test_a_student_answers_tensors_of_every_type():
    student = didact.run(**{**SHORT, "method": "supervised"}, data=(X, Y)).student
    expected = student.predict(X).probabilities
    np.testing.assert_array_equal(student.predict(torch.from_numpy(X).requires_grad_()).probabilities, expected)
    rounded = torch.from_numpy(X).bfloat16()
    np.testing.assert_array_equal(
        student.predict(rounded).probabilities, student.predict(rounded.float()).probabilities
    )
