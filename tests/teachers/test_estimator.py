"""Estimators as teachers, and which files are opened."""

import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from didact import sources
from didact.errors import TeacherError
from didact.preprocessing import TableOptions
from didact.teachers import EstimatorTeacher, RawRows, check_not_pickled, translate
from didact.teachers.trees import check_trees
from didact.types import Batch, Cost, Labels

CLASSES = ("dog", "cat", "owl")


def points(size=60, width=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((size, width)).astype("f4")
    return x, np.array(CLASSES)[(x[:, 0] * 3).astype(int)]


def batch(x):
    return Batch({"x": torch.from_numpy(np.asarray(x, dtype="f4")), "id": torch.arange(len(x))})


def forest(**options):
    return RandomForestClassifier(5, random_state=0, **options)


def test_probabilities_come_in_the_data_order():
    x, y = points()
    model = forest().fit(x, y)
    teacher = EstimatorTeacher(model, classes=CLASSES)
    signal = teacher.signal(batch(x))
    assert isinstance(signal, Labels)
    assert signal.labels.dtype == torch.float32
    own = model.predict_proba(x)
    assert model.classes_.tolist() == ["cat", "dog", "owl"]
    np.testing.assert_allclose(signal.labels, np.stack([own[:, 1], own[:, 0], own[:, 2]], 1), rtol=1e-6)
    assert [CLASSES[i] for i in signal.labels.argmax(1)] == model.predict(x).tolist()
    assert teacher.cost == Cost(teacher_calls=60)
    scale = torch.ones(3, requires_grad=True)
    (scale * signal.labels).sum().backward()
    assert not hasattr(teacher, "state_dict")


def test_number_classes_and_images_are_understood():
    x, _ = points(width=4)
    y = (x[:, 0] > 0.5).astype(int)
    model = LogisticRegression().fit(x, y)
    images = Batch({"x": torch.from_numpy(x).reshape(-1, 1, 2, 2), "id": torch.arange(60)})
    signal = EstimatorTeacher(model, classes=["1", "0"]).signal(images)
    np.testing.assert_allclose(signal.labels[:, 0], model.predict_proba(x)[:, 1], rtol=1e-6)


def test_regressors_give_targets():
    x, _ = points()
    model = RandomForestRegressor(5, random_state=0).fit(x, x[:, 0] * 2)
    signal = EstimatorTeacher(model, task="regression").signal(batch(x))
    np.testing.assert_allclose(signal.labels, model.predict(x), rtol=1e-6)
    model = LinearRegression().fit(x, x[:, :1] * 2)
    np.testing.assert_allclose(
        EstimatorTeacher(model, task="regression").signal(batch(x)).labels, x[:, 0] * 2, rtol=1e-4
    )


def people():
    """A table, its examples, and the kinds of animals."""
    frame = pd.DataFrame(
        {
            "size": [1.0, 2.0, 3.0, 4.0, 2.5, 0.5],
            "colour": ["red", "blue", "red", "red", "blue", None],
            "wild": [True, False, False, True, True, False],
            "age": [10, 20, 30, 40, 50, 60],
        }
    )
    kinds = np.array(["dog", "cat", "dog", "owl", "owl", "cat"])
    return frame, examples_of(frame, kinds), kinds


def examples_of(frame, kinds, **options):
    examples = sources.from_frame(frame.assign(kind=kinds), target="kind", columns=TableOptions(**options))
    return sources.fit_preprocessing(examples)(examples)


def pipeline():
    encoder = make_column_transformer((OneHotEncoder(), ["colour", "wild"]), remainder="passthrough")
    return make_pipeline(encoder, forest())


def test_rows_are_given_as_they_came_in_the_order_of_the_estimator():
    frame, examples, y = people()
    shuffled = frame[["age", "wild", "colour", "size"]]
    model = pipeline().fit(shuffled, y)
    teacher = EstimatorTeacher(model, classes=sorted(CLASSES), rows=RawRows(examples))
    at = torch.tensor([4, 0, 5, 2])
    signal = teacher.signal(examples.batch(at))
    np.testing.assert_allclose(signal.labels, model.predict_proba(shuffled.iloc[at.numpy()]), rtol=1e-6)
    assert len(np.unique(signal.labels.numpy(), axis=0)) > 2


def test_columns_that_the_student_does_not_see_are_given_too():
    frame, _, y = people()
    examples = examples_of(frame, y, drop=("size",))
    model = forest().fit(frame[["size", "age"]], y)
    teacher = EstimatorTeacher(model, classes=sorted(CLASSES), rows=RawRows(examples))
    signal = teacher.signal(examples.batch())
    np.testing.assert_allclose(signal.labels, model.predict_proba(frame[["size", "age"]]), rtol=1e-6)


def test_a_row_that_was_made_up_is_decoded_and_the_others_are_not():
    _, examples, _ = people()
    batch = examples.batch(torch.tensor([1, 0, 2]))
    x = batch["x"].clone()
    x[0, 0] += 0.5  # its size
    x[2, 1:4] = 0  # its colour, which is none now
    found = RawRows(examples).frame(Batch({**batch, "x": x}))
    assert found["size"].tolist() == [2.5, 1.0, 3.0]
    assert found["colour"].fillna("none").tolist() == ["blue", "red", "none"]
    assert found["wild"].tolist() == [0, 1, 0]
    assert found["age"].tolist() == [20, 10, 30]
    unknown = RawRows(examples).frame(Batch({"x": batch["x"], "id": torch.tensor([7, 8, 9])}))
    assert unknown["colour"].tolist() == ["blue", "red", "red"]
    with pytest.raises(TeacherError, match=r"x has 4 columns, but the data's columns make 6"):
        RawRows(examples).frame(Batch({"x": x[:, :4], "id": batch["id"]}))


def test_dates_and_numerals_of_rows_that_were_made_up_are_of_the_column_type():
    frame = pd.DataFrame(
        {"when": ["2020-01-01", "2021-06-01", "2022-01-01", None], "zip": [10, 20, 10, 20], "n": [1.5, 2, 3, 4]}
    )
    examples = examples_of(frame, np.array(["a", "b", "a", "b"]), categorical=("zip",))
    batch = Batch({"x": examples.tensors["x"] + 0.0, "id": torch.arange(4)})
    found = RawRows(examples).frame(batch)
    assert [str(day)[:10] for day in found["when"]] == ["2020-01-01", "2021-06-01", "2022-01-01", "nan"]
    assert found["zip"].tolist() == frame["zip"].tolist()


def test_an_estimator_of_a_matrix_gets_the_rows_own_numbers():
    frame = pd.DataFrame({"t": [1.7e9, 1.7e9 + 4, 1.7e9 + 8, 1.7e9 + 12], "n": [1.0, 2, 3, 4], "same": [7] * 4})
    y = np.array(["a", "b", "a", "b"])
    model = forest(max_depth=3).fit(frame.to_numpy(), y)
    examples = examples_of(frame, y)
    assert examples.shape == (2,)
    teacher = EstimatorTeacher(model, classes=["a", "b"], rows=RawRows(examples))
    signal = teacher.signal(examples.batch())
    np.testing.assert_allclose(signal.labels, model.predict_proba(frame.to_numpy()), rtol=1e-6)


def test_what_an_estimator_says_against_the_rows_is_a_sentence():
    frame, examples, y = people()
    model = LogisticRegression().fit(frame[["size", "age"]].rename(columns={"size": "colour"}), y)
    teacher = EstimatorTeacher(model, classes=sorted(CLASSES), rows=RawRows(examples))
    with pytest.raises(TeacherError, match="cannot answer rows of these data: could not convert string to float"):
        teacher.signal(examples.batch())


def test_a_regression_is_brought_into_the_unit_of_the_student():
    frame, _, _ = people()
    price = np.array([2e5, 3e5, 2.5e5, 1e5, 4e5, 1.5e5])
    examples = sources.from_frame(frame.assign(price=price), target="price", task="regression")
    examples = sources.fit_preprocessing(examples)(examples)
    model = LinearRegression().fit(frame[["size", "age"]], price)
    teacher = EstimatorTeacher(model, task="regression", rows=RawRows(examples))
    signal = translate(teacher, examples.scale).signal(examples.batch())
    expected = (model.predict(frame[["size", "age"]]) - price.mean()) / price.std()
    np.testing.assert_allclose(signal.labels, expected, rtol=1e-5)


def test_missing_columns_are_named():
    frame, examples, y = people()
    model = forest().fit(frame[["size", "age"]].rename(columns={"size": "weight"}), y)
    with pytest.raises(TeacherError, match=r"lack: 'weight'\. The data's columns are: 'size', 'colour', 'wild', 'age'"):
        EstimatorTeacher(model, classes=CLASSES, rows=RawRows(examples))
    with pytest.raises(TeacherError, match=r"lack: 'weight', 'age'\. The data's columns are: none with a name"):
        EstimatorTeacher(model, classes=CLASSES)


def test_what_cannot_teach_is_refused_before_it_is_asked():
    x, y = points()
    with pytest.raises(TeacherError, match=r"LinearSVC, which has no predict_proba\. .*CalibratedClassifierCV"):
        EstimatorTeacher(LinearSVC().fit(x, y), classes=CLASSES)
    with pytest.raises(TeacherError, match="the data's are 'dog', 'cat': only the teacher has 'owl'"):
        EstimatorTeacher(forest().fit(x, y), classes=["dog", "cat"])
    with pytest.raises(TeacherError, match="fitted on 4 features, but an example has 3 numbers"):
        EstimatorTeacher(forest().fit(x, y), classes=CLASSES).signal(batch(x[:, :3]))
    with pytest.raises(TeacherError, match="several targets"):
        EstimatorTeacher(forest().fit(x, np.stack([y, y], 1)), classes=CLASSES)
    with pytest.raises(TeacherError, match="predicts 2 targets"):
        EstimatorTeacher(LinearRegression().fit(x, x[:, :2]), task="regression").signal(batch(x))
    text = Batch({"input_ids": torch.zeros(2, 3, dtype=torch.int64), "id": torch.arange(2)})
    with pytest.raises(TeacherError, match="no 'x'"):
        EstimatorTeacher(forest().fit(x, y), classes=CLASSES).signal(text)


def test_answers_that_are_no_answer_are_refused():
    class Odd:
        def __init__(self, answer):
            self.answer = answer

        def predict_proba(self, x):
            return self.answer

    with pytest.raises(TeacherError, match="not finite"):
        EstimatorTeacher(Odd(np.full((2, 3), np.nan)), classes=CLASSES).signal(batch(np.zeros((2, 1))))
    with pytest.raises(TeacherError, match="predicts 2 classes, but the data have 3"):
        EstimatorTeacher(Odd(np.full((2, 2), 0.5)), classes=CLASSES).signal(batch(np.zeros((2, 1))))


@pytest.mark.parametrize(
    "model",
    [
        forest(),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3),
        LogisticRegression(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_skops_files_are_loaded(tmp_path, model):
    x, y = points()
    model.fit(x, y)
    skops.io.dump(model, tmp_path / "teacher.skops")
    teacher = EstimatorTeacher.load(tmp_path / "teacher.skops", classes=sorted(CLASSES))
    np.testing.assert_allclose(teacher.signal(batch(x)).labels, model.predict_proba(x), rtol=1e-5, atol=1e-7)


class Trusting(LogisticRegression):
    """A type that no one has heard of."""


def test_unknown_types_are_named_and_loaded_only_when_trusted(tmp_path):
    x, y = points()
    path = tmp_path / "teacher.skops"
    skops.io.dump(Trusting().fit(x, y), path)
    name = f"{Trusting.__module__}.Trusting"
    with pytest.raises(TeacherError, match=r"types that aren't trusted: .*Trusting\. Where you trust"):
        EstimatorTeacher.load(path, classes=CLASSES)
    with pytest.raises(TeacherError, match="aren't trusted"):
        EstimatorTeacher.load(path, classes=CLASSES, trust=["some.other.Type"])
    (untrusted,) = skops.io.get_untrusted_types(file=path)
    assert untrusted == name


def test_trust_lets_a_type_in(tmp_path):
    x, y = points()
    path = tmp_path / "teacher.skops"
    model = KNeighborsClassifier(algorithm="kd_tree").fit(x, y)
    skops.io.dump(model, path)
    unknown = skops.io.get_untrusted_types(file=path)
    assert unknown
    with pytest.raises(TeacherError, match="KDTree"):
        EstimatorTeacher.load(path, classes=CLASSES)
    teacher = EstimatorTeacher.load(path, classes=sorted(CLASSES), trust=unknown)
    np.testing.assert_allclose(teacher.signal(batch(x)).labels, model.predict_proba(x), rtol=1e-6)


def spoil_tree(model, field, value):
    """Write a false number into a fitted tree's nodes, at its root."""
    tree = model.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    return model


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10_000), ("right_child", 10_000), ("left_child", 0), ("feature", 4), ("feature", -3)],
)
def test_trees_that_point_outside_themselves_are_refused(tmp_path, field, value):
    x, y = points()
    skops.io.dump(spoil_tree(forest().fit(x, y), field, value), tmp_path / "teacher.skops")
    with pytest.raises(TeacherError, match="decision tree in the file is broken"):
        EstimatorTeacher.load(tmp_path / "teacher.skops", classes=CLASSES)


def coloured(count=120):
    """A frame with native categories, its kinds, and boosted trees that split on both."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.random(count), "colour": rng.choice(["red", "blue", "green"], count)})
    kinds = np.where((frame["colour"] == "red") ^ (frame["size"] > 0.5), "cat", "dog")
    native = frame.astype({"colour": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, categorical_features="from_dtype")
    return frame, kinds, model.fit(native, kinds), native


def test_boosted_trees_with_native_categories_answer_rows_as_they_came(tmp_path):
    frame, kinds, model, native = coloured()
    skops.io.dump(model, tmp_path / "teacher.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "teacher.skops")
    trust = [name for name in unknown if not name.endswith("TreePredictor")]
    examples = examples_of(frame, kinds)
    teacher = EstimatorTeacher.load(
        tmp_path / "teacher.skops", classes=["cat", "dog"], rows=RawRows(examples), trust=trust
    )
    expected = model.predict_proba(native)
    np.testing.assert_allclose(teacher.signal(examples.batch()).labels, expected, rtol=1e-6)
    assert any(part.nodes["is_categorical"].any() for (part,) in model._predictors) and expected.std() > 0.1


@pytest.mark.parametrize("spoil", ["set", "map", "size"])
def test_categories_that_point_outside_their_sets_are_refused(spoil):
    model = coloured()[2]
    predictor = next(part for (part,) in model._predictors if part.nodes["is_categorical"].any())
    if spoil == "set":
        predictor.nodes["bitset_idx"][predictor.nodes["is_categorical"] != 0] = 1_000
    elif spoil == "map":
        model._bin_mapper.is_categorical_[:] = 0
    else:
        predictor.raw_left_cat_bitsets = predictor.raw_left_cat_bitsets[:, :4]
    with pytest.raises(TeacherError, match="decision tree in the file is broken"):
        check_trees(model)


def test_trees_of_other_features_than_their_owners_are_refused():
    x, y = points()
    wide = forest().fit(np.concatenate([x, x], 1), y)
    narrow = forest().fit(x, y)
    check_trees([wide, narrow])
    narrow.estimators_[1] = wide.estimators_[1]
    with pytest.raises(TeacherError, match="broken"):
        check_trees({"model": narrow})
    boosted = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=3).fit(x, y)
    check_trees(boosted)
    boosted._predictors[1][2].nodes["feature_idx"][0] = 9
    with pytest.raises(TeacherError, match="broken"):
        check_trees(boosted)


def test_pickles_are_refused_whatever_they_are_called(tmp_path):
    x, y = points(size=12)
    pickled = pickle.dumps(forest().fit(x, y))
    for name in ("teacher.pkl", "teacher.pickle", "teacher.joblib", "teacher.skops", "teacher.onnx", "teacher"):
        (tmp_path / name).write_bytes(pickled)
        with pytest.raises(
            TeacherError, match=r"is a pickle.*refused\. .*skops\.io\.dump\(model, \"teacher\.skops\"\)"
        ):
            EstimatorTeacher.load(tmp_path / name, classes=CLASSES)
    for name in ("model.pt", "model.pth", "pytorch_model.bin", "renamed.skops"):
        torch.save({"weight": torch.ones(2)}, tmp_path / name)
        with pytest.raises(TeacherError, match=r"is a pickle.*safetensors\.torch\.save_file"):
            EstimatorTeacher.load(tmp_path / name, classes=CLASSES)


def test_files_that_are_something_else_are_refused(tmp_path):
    with pytest.raises(TeacherError, match="is not a file"):
        EstimatorTeacher.load(tmp_path / "nowhere.skops", classes=CLASSES)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TeacherError, match=r"is no \.skops file"):
        EstimatorTeacher.load(tmp_path / "table.csv", classes=CLASSES)
    (tmp_path / "text.skops").write_text("hello")
    with pytest.raises(TeacherError, match=r"can't be read as a \.skops file"):
        EstimatorTeacher.load(tmp_path / "text.skops", classes=CLASSES)
    with zipfile.ZipFile(tmp_path / "empty.skops", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(TeacherError, match=r"can't be read as a \.skops file"):
        EstimatorTeacher.load(tmp_path / "empty.skops", classes=CLASSES)
    (tmp_path / "empty").write_bytes(b"")
    assert check_not_pickled(tmp_path / "empty") == tmp_path / "empty"
