"""Distillation as an estimator of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

import didact
from didact.errors import ConfigError, DataError

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
SHORT = {"student": "mlp:8", "steps": 60, "lr": 0.03, "random_state": 0}


def test_the_student_follows_its_teacher():
    found = didact.Distiller(LogisticRegression(max_iter=500), **SHORT).fit(X, NAMES)
    teacher = LogisticRegression(max_iter=500).fit(X, NAMES)
    np.testing.assert_array_equal(found.teacher_.coef_, teacher.coef_)
    assert found.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert (found.predict(X) == teacher.predict(X)).mean() > 0.85
    np.testing.assert_allclose(found.predict_proba(X).sum(1), 1)
    assert (found.classes_[found.predict_proba(X).argmax(1)] == found.predict(X)).all()
    assert found.score(X, NAMES) == (found.predict(X) == NAMES).mean()
    assert found.n_features_in_ == 4


def test_classes_keep_their_order_and_type():
    # The student's classes are 9, 10, 100; as text, they are sorted otherwise.
    longer = {**SHORT, "steps": 100}
    words = np.array(["9", "10", "100"])[Y]
    found = didact.Distiller(method="supervised", **longer).fit(X, words)
    assert found.classes_.tolist() == ["10", "100", "9"]
    assert found.score(X, words) > 0.8
    numbers = np.array([9, 10, 100])[Y]
    found = didact.Distiller(method="supervised", **longer).fit(X, numbers)
    assert found.classes_.tolist() == [9, 10, 100]
    assert found.score(X, numbers) > 0.9
    words = np.array(["-1", "b", "B"])[Y]
    found = didact.Distiller(method="supervised", **longer).fit(X, words)
    assert found.score(X, words) > 0.9


def test_every_row_is_learned_from():
    seen = []
    found = didact.Distiller(lambda rows: seen.append(rows.numpy()) or rows[:, :3], **SHORT).fit(X, Y)
    rows = np.unique(np.concatenate(seen), axis=0)
    np.testing.assert_array_equal(rows, np.unique(X.astype(np.float32), axis=0))
    assert found.student_.predict(X[:1]).predictions.classes == ("0", "1", "2")


def test_data_frames_of_mixed_columns_in_a_cross_validation():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(40, 10, 90), "city": rng.choice(["Rome", "Oslo"], 90)})
    y = pd.Series(np.where((frame.age > 40) ^ (frame.city == "Oslo"), "yes", "no"))
    frame.loc[::9, "age"] = None
    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    teacher = make_pipeline(encode, RandomForestClassifier(20, random_state=0))
    distiller = didact.Distiller(teacher, **SHORT)
    scores = cross_val_score(distiller, frame, y, cv=3, error_score="raise")
    assert scores.shape == (3,)
    found = distiller.fit(frame, y)
    assert found.feature_names_in_.tolist() == ["age", "city"]
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(frame.rename(columns={"age": "years"}))
    assert not hasattr(teacher[-1], "classes_"), "the given teacher itself is never fitted"


def test_in_a_pipeline_and_cloned():
    pipe = make_pipeline(StandardScaler(), didact.Distiller(LogisticRegression(), **SHORT))
    pipe.set_params(distiller__steps=40, distiller__teacher__C=0.5)
    found = pipe.fit(X, Y)
    assert found[-1].teacher_.C == 0.5
    again = clone(pipe).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))
    other = clone(pipe).set_params(distiller__random_state=1).fit(X, Y)
    assert not np.array_equal(other.predict_proba(X), found.predict_proba(X))


def test_a_frozen_teacher_is_used_as_it_is():
    teacher = LogisticRegression(max_iter=500).fit(X[::2], Y[::2])
    found = didact.Distiller(FrozenEstimator(teacher), **SHORT).fit(X[1::2], Y[1::2])
    np.testing.assert_array_equal(found.teacher_.coef_, teacher.coef_)


def test_a_net_that_is_given_is_not_trained_itself():
    net = nn.Linear(4, 3)
    before = net.weight.detach().clone()
    found = didact.Distiller(method="supervised", **{**SHORT, "student": net}).fit(X, Y)
    assert (net.weight == before).all()
    assert found.score(X, Y) > 0.6


def test_a_regression_is_answered_in_the_unit_of_y():
    y = 200_000 + 80_000 * X[:, 0]
    found = didact.DistillerRegressor(LinearRegression(), **{**SHORT, "steps": 200}).fit(X, y)
    assert found.score(X, y) > 0.95
    assert found.predict(X).mean() == pytest.approx(y.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("y", "settings", "error", "message"),
    [
        (np.zeros(150), {}, DataError, r"y holds the class .*0.0.* alone"),
        (np.array(["", "a", "b"])[Y], {"method": "supervised"}, DataError, "y holds '', which means a missing answer"),
        (Y, {}, ConfigError, "'distill' needs a teacher"),
        (Y, {"settings": {"steps": 3}}, ConfigError, "settings has 'steps', which a distiller decides by"),
        (Y, {"settings": {"temperatur": 3}, "teacher": "mlp:8"}, ConfigError, "temperatur"),
    ],
)
def test_what_cannot_be_fitted_is_refused(y, settings, error, message):
    with pytest.raises(error, match=message):
        didact.Distiller(**{**SHORT, **settings}).fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"), [([0, 1], "inconsistent numbers"), ([0.5, np.nan, 1], "NaN"), (None, "requires y")]
)
def test_answers_that_do_not_fit_a_data_frame_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        didact.DistillerRegressor(**SHORT).fit(pd.DataFrame({"a": [1.0, 2.0, 3.0]}), y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "distiller",
    [
        didact.Distiller(DecisionTreeClassifier(random_state=0), **{**SHORT, "steps": 40}),
        didact.DistillerRegressor(DecisionTreeRegressor(random_state=0), **{**SHORT, "steps": 40}),
    ],
    ids=["classifier", "regressor"],
)
def test_the_checks_of_scikit_learn_pass(distiller):
    results = check_estimator(distiller, on_fail=None, on_skip=None)
    failed = {one["check_name"]: str(one["exception"])[:300] for one in results if one["status"] == "failed"}
    assert failed == {}
    assert sum(one["status"] == "passed" for one in results) > 35
