"""Trees as a module answer as scikit-learn's do, in torch and as one operator of ONNX."""

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from didact.errors import CheckpointError
from didact.learners.trees import Tree, Trees
from didact.materials.examples.compression import refitting
from didact.materials.examples.compression.refitting import soft_copies
from didact.parts.part import ForExamples
from didact.preprocessing.table import plain_table
from didact.types import Examples

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4)).astype(np.float32)
# Numbers that lie on thresholds, or beside them by one bit.
X[:200] = X[:200].round(1)
SCORE = np.stack([X[:, 0] * X[:, 1], 2 * X[:, 2], -X[:, 0]], 1).astype(np.float64)
PROBABILITIES = np.exp(SCORE) / np.exp(SCORE).sum(1, keepdims=True)


def purpose(task="classification", classes=("a", "b", "c")):
    label = torch.zeros(len(X), dtype=torch.int64 if task == "classification" else torch.float64)
    examples = Examples(
        tensors={"x": torch.from_numpy(X), "label": label, "id": torch.arange(len(X))},
        task=task,
        modality="table",
        classes=classes if task == "classification" else (),
        preprocessing=plain_table("abcd"),
    )
    return ForExamples(examples=examples)


def of_tree(grown):
    return Tree(
        left=grown.children_left,
        right=grown.children_right,
        feature=grown.feature,
        threshold=grown.threshold,
        value=grown.value[:, :, 0],
    )


def by_onnx(module, x):
    session = onnxruntime.InferenceSession(module.onnx_net(x.shape[1:]).SerializeToString())
    return session.run(None, {"x": x})[0]


def test_the_sum_of_trees_is_scikit_learns_and_onnx_gives_the_same():
    fitted = [DecisionTreeRegressor(max_depth=depth, random_state=0).fit(X, SCORE) for depth in (1, 4, None)]
    module = Trees.of([of_tree(one.tree_) for one in fitted], np.array([0.5, -1.0, 0.0]))
    rows = np.concatenate([X, np.nextafter(X, np.float32(np.inf)), np.nextafter(X, np.float32(-np.inf))])
    wanted = np.add(sum(one.predict(rows) for one in fitted), [0.5, -1.0, 0.0])
    np.testing.assert_allclose(module(torch.from_numpy(rows)).numpy(), wanted, atol=2e-6)
    np.testing.assert_allclose(by_onnx(module, rows), wanted, atol=2e-6)


def test_a_threshold_between_two_floats_sends_them_apart():
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    middle = (float(low) + float(high)) / 2
    end, tree = np.array([1, -1, -1]), np.array([2, -1, -1])
    one = Tree(left=end, right=tree, feature=np.zeros(3, int), threshold=np.full(3, middle), value=np.eye(3)[:, 1:])
    x = np.array([[low], [high]])
    for found in (Trees.of([one], np.zeros(2))(torch.from_numpy(x)).numpy(), by_onnx(Trees.of([one], np.zeros(2)), x)):
        np.testing.assert_array_equal(found, [[1, 0], [0, 1]])


@pytest.mark.parametrize("count", [2, 3])
def test_boosting_on_hard_answers_is_scikit_learns(count):
    label = PROBABILITIES[:, :count].argmax(1)
    learner, spec = refitting.fit("boosted:7", X, np.eye(count)[label], purpose(classes=tuple("abc"[:count])))
    wanted = HistGradientBoostingClassifier(max_iter=7, learning_rate=0.5, early_stopping=False).fit(X, label)
    found = learner.module(torch.from_numpy(X)).double().softmax(1).numpy()
    np.testing.assert_allclose(found, wanted.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(by_onnx(learner.module, X), learner.module(torch.from_numpy(X)).numpy(), atol=1e-5)
    again = purpose(classes=tuple("abc"[:count])).open(spec, "student").model
    again.load_state_dict(learner.state_dict())
    assert torch.equal(again.module(torch.from_numpy(X)), learner.module(torch.from_numpy(X)))


def test_boosting_numbers_is_scikit_learns():
    learner, _ = refitting.fit("boosted:20", X, SCORE[:, :1], purpose("regression"))
    wanted = HistGradientBoostingRegressor(max_iter=20, learning_rate=0.25, early_stopping=False)
    found = learner.module(torch.from_numpy(X))[:, 0].numpy()
    np.testing.assert_allclose(found, wanted.fit(X, SCORE[:, 0]).predict(X), atol=1e-5)


def test_a_tree_on_probabilities_is_ginis_on_weighted_copies():
    learner, _ = refitting.fit("tree:6", X, PROBABILITIES, purpose())
    rows, classes, weights = soft_copies(PROBABILITIES)
    # Leaves of copies count copies, of which a row has up to three: without a least number both grow alike.
    wanted = DecisionTreeClassifier(max_leaf_nodes=6, random_state=0).fit(X[rows], classes, sample_weight=weights)
    found = learner.module(torch.from_numpy(X)).double().softmax(1).numpy()
    np.testing.assert_allclose(found, wanted.predict_proba(X), atol=3e-3)


def test_a_linear_teacher_is_found_again():
    learner, spec = refitting.fit("linear", X, PROBABILITIES, purpose(classes=("a", "b", "c")))
    assert spec == "mlp:"
    linear = RNG.normal(size=(4, 3))
    taught = np.exp(X @ linear) / np.exp(X @ linear).sum(1, keepdims=True)
    learner, _ = refitting.fit("linear", X, taught, purpose())
    found = learner.module(torch.from_numpy(X)).double().softmax(1).detach().numpy()
    # The penalty of scikit-learn's default pulls a little.
    np.testing.assert_allclose(found, taught, atol=0.03)
    number, _ = refitting.fit("linear", X, (X @ linear)[:, :1].astype(np.float64), purpose("regression"))
    np.testing.assert_allclose(number.module(torch.from_numpy(X))[:, 0].detach().numpy(), (X @ linear)[:, 0], atol=0.03)


@pytest.mark.parametrize("student", ["linear", "tree:4", "boosted:3"])
def test_a_class_that_the_teacher_never_gives_is_hardly_ever_predicted(student):
    answers = np.concatenate([PROBABILITIES[:, :2], np.zeros((len(X), 1))], 1)
    answers /= answers.sum(1, keepdims=True)
    learner, _ = refitting.fit(student, X, answers, purpose())
    found = learner.module(torch.from_numpy(X)).softmax(1).detach()
    assert found[:, 2].max() < 1e-4
    assert (found[:, :2].argmax(1).numpy() == answers.argmax(1)).mean() > 0.7


@pytest.mark.parametrize("student", ["linear", "tree:4", "boosted:3"])
def test_a_teacher_of_one_answer_is_followed(student):
    learner, _ = refitting.fit(student, X, np.tile([0.0, 1.0, 0.0], (len(X), 1)), purpose())
    assert (learner.module(torch.from_numpy(X)).softmax(1)[:, 1] > 0.999).all()
    if student != "linear":
        np.testing.assert_array_equal(by_onnx(learner.module, X).argmax(1), 1)


def test_copies_carry_the_probabilities():
    rows, classes, weights = soft_copies(np.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0], [0.0004, 0.0, 0.9996]]))
    assert list(zip(rows, classes, weights, strict=True)) == [(0, 0, 0.2), (0, 1, 0.8), (1, 0, 1.0), (2, 2, 0.9996)]


@pytest.mark.parametrize("name", ["left", "right", "root", "feature"])
def test_nodes_that_point_elsewhere_are_refused(name):
    grown = DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, SCORE).tree_
    module = Trees.of([of_tree(grown)], np.zeros(3))
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    state[name][0] = {"left": 0, "right": len(grown.value), "root": 1, "feature": -1}[name]
    with pytest.raises(CheckpointError, match="point outside"):
        module.load_state_dict(state)


@pytest.mark.parametrize("student", ["tree", "tree:1", "tree:0", "boosted:", "boosted:x", "linear:3"])
def test_an_estimator_without_a_size_is_refused(student):
    with pytest.raises(ValueError, match="written linear, tree:LEAVES"):
        refitting.check(student)
