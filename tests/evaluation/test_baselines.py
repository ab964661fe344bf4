"""The cheap baselines on data whose answer is known, and on what they must refuse."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from didact.errors import ConfigError, DataError
from didact.evaluation import baseline, baseline_predictions, baselines_for
from didact.types import IGNORE, Examples


def table(count=200, *, task="classification", unlabelled=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator) * torch.tensor([1.0, 100.0, 1.0, 1.0])
    if task == "classification":
        label = (x[:, 0] + x[:, 1] / 100 > 0).long() + (x[:, 2] > 1).long()
        label[:unlabelled] = IGNORE
    else:
        label = 3 * x[:, 0] - x[:, 1] / 50 + 1
        label[:unlabelled] = torch.nan
    classes = ("a", "b", "c") if task == "classification" else ()
    tensors = {"x": x, "label": label, "id": torch.arange(count)}
    return Examples(tensors=tensors, task=task, modality="table", classes=classes)


def digits(labels):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    images, y = torch.from_numpy(x[order] / 16).float().reshape(-1, 1, 8, 8), torch.from_numpy(y[order])
    whole = Examples(
        tensors={"x": images, "label": y, "id": torch.arange(len(y))},
        task="classification",
        modality="image",
        classes=tuple("0123456789"),
    )
    train, test = whole.select(torch.arange(500, 1400)), whole.select(torch.arange(500))
    hidden = train.tensors["label"].clone()
    hidden[labels:] = IGNORE
    return train.with_tensors(label=hidden), test


def text(strings, labels, *, with_strings=True):
    ids = torch.zeros(len(strings), 20, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, string in enumerate(strings):
        found = [1 + hash_of(word) for word in string.split()]
        ids[i, : len(found)] = torch.tensor(found)
        mask[i, : len(found)] = 1
    tensors = {
        "input_ids": ids,
        "attention_mask": mask,
        "label": torch.tensor(labels),
        "id": torch.arange(len(strings)),
    }
    return Examples(
        tensors=tensors,
        task="classification",
        modality="text",
        classes=("bad", "good"),
        texts=tuple(strings) if with_strings else (),
        vocabulary=50,
    )


def hash_of(word):
    return sum((i + 1) * ord(letter) for i, letter in enumerate(word)) % 47


def test_what_fits_the_data_is_offered_and_the_cheapest_first():
    assert baselines_for(table()) == ("majority", "logistic_regression", "boosted_trees")
    assert baselines_for(table(unlabelled=5)) == (
        "majority",
        "label_spreading",
        "logistic_regression",
        "boosted_trees",
    )
    assert baselines_for(table(task="regression", unlabelled=5)) == ("mean", "ridge", "boosted_trees")
    assert baselines_for(text(["a b"], [0])) == (
        "majority",
        "logistic_regression",
    )
    large = table(count=4).with_tensors(x=torch.zeros(4, 3, 40, 40))
    assert "boosted_trees" not in baselines_for(large)


@pytest.mark.parametrize("name", ["logistic_regression", "boosted_trees", "label_spreading"])
def test_a_learnable_table_is_learned(name):
    found = baseline(name, table(unlabelled=50), table(seed=1))
    assert found["accuracy"] > (0.85 if name == "boosted_trees" else 0.75)
    assert set(found) == {"accuracy", "balanced_accuracy", "nll", "ece", "macro_f1", "auroc"}


def test_a_linear_regression_is_solved_and_trees_come_near():
    train, test = table(task="regression", unlabelled=20), table(task="regression", seed=1)
    assert baseline("ridge", train, test)["r2"] > 0.999
    assert 0.7 < baseline("boosted_trees", train, test)["r2"] < 0.999


def test_label_spreading_beats_a_linear_model_on_digits_with_few_labels():
    train, test = digits(labels=60)
    spread, linear = (baseline(name, train, test)["accuracy"] for name in ("label_spreading", "logistic_regression"))
    assert spread > 0.85
    assert spread > linear + 0.03


def test_label_spreading_uses_the_unlabelled_examples():
    train, test = digits(labels=60)
    alone = train.select(torch.arange(60))
    more = baseline("label_spreading", train, test)["accuracy"]
    assert more > baseline("label_spreading", alone, test)["accuracy"] + 0.03


@pytest.mark.parametrize("with_strings", [True, False])
def test_words_that_decide_are_found(with_strings):
    good, bad = (
        ["a fine film", "fine and warm", "so fine", "warm film"],
        ["a dull film", "dull and cold", "so dull", "cold film"],
    )
    train = text(good * 3 + bad * 3, [1] * 12 + [0] * 12, with_strings=with_strings)
    test = text(["fine day", "dull day", "warm", "cold"], [1, 0, 1, 0], with_strings=with_strings)
    assert baseline("logistic_regression", train, test)["accuracy"] == 1.0


def test_text_without_a_word_is_read_by_its_tokens():
    train = text(["!! !!", "?? ??"] * 4, [1, 0] * 4)
    assert baseline("logistic_regression", train, text(["!!", "??"], [1, 0]))["accuracy"] == 1.0


def test_a_class_without_a_training_label_gets_next_to_no_probability():
    train = table()
    label = train.tensors["label"].clone()
    label[label == 2] = IGNORE
    found = baseline_predictions("logistic_regression", train.with_tensors(label=label), table(seed=1))
    probs = found.logits.softmax(1)
    assert found.logits.shape == (200, 3)
    assert probs[:, 2].max() < 1e-9
    torch.testing.assert_close(probs.sum(1), torch.ones(200, dtype=torch.float64))


def test_large_images_are_averaged_down_and_still_read():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(40) % 2
    x = torch.rand(40, 3, 48, 64, generator=generator) * 0.2 + 0.5 * label[:, None, None, None]
    tensors = {"x": x, "label": label, "id": torch.arange(40)}
    images = Examples(tensors=tensors, task="classification", modality="image", classes=("dark", "light"))
    assert baseline("logistic_regression", images, images)["accuracy"] == 1.0


def test_the_generators_of_torch_and_numpy_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for name in baselines_for(table(unlabelled=5)):
        baseline(name, table(unlabelled=5), table(seed=1), seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_what_cannot_be_is_refused_with_what_can():
    with pytest.raises(ConfigError, match="logistic_regression"):
        baseline("logistic", table(), table())
    with pytest.raises(ConfigError, match="use mean or ridge or boosted_trees"):
        baseline("logistic_regression", table(task="regression"), table(task="regression"))
    with pytest.raises(ConfigError, match="text data"):
        baseline("boosted_trees", text(["a b"], [0]), text(["a b"], [0]))
    with pytest.raises(DataError, match="at least two"):
        baseline("logistic_regression", table(unlabelled=199), table())
    with pytest.raises(DataError, match="No training example"):
        baseline("ridge", table(task="regression", unlabelled=200), table(task="regression"))


def test_a_constant_answer_has_the_shares_of_the_training_labels():
    from sklearn.dummy import DummyClassifier, DummyRegressor

    train, test = table(unlabelled=50), table(seed=1)
    known = train.tensors["label"][train.tensors["label"] != IGNORE]
    probs = DummyClassifier(strategy="prior").fit(known[:, None], known).predict_proba(np.zeros((200, 1)))
    found = baseline_predictions("majority", train, test)
    torch.testing.assert_close(found.logits.softmax(1), torch.from_numpy(probs))
    wanted = int(probs[0].argmax())
    # Two of the three classes occur in the test.
    label = torch.where(test.tensors["label"] == (wanted + 1) % 3, wanted, test.tensors["label"])
    test = test.with_tensors(label=label)
    assert baseline("majority", train, test)["accuracy"] == pytest.approx(float((label == wanted).double().mean()))
    assert baseline("majority", train, test)["balanced_accuracy"] == pytest.approx(0.5)
    train, test = table(task="regression", unlabelled=20), table(task="regression", seed=1)
    y = train.tensors["label"][~train.tensors["label"].isnan()].double().numpy()
    mean = DummyRegressor().fit(y[:, None], y).predict(y[:1, None])[0]
    errors = test.tensors["label"].double() - mean
    assert baseline("mean", train, test)["rmse"] == pytest.approx(float(errors.square().mean().sqrt()))
