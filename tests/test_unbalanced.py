"""Data whose classes are unbalanced, from the command line to the report."""

import json

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import didact
from didact import sources
from didact.cli import main
from didact.errors import ConfigError
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.materials.examples.source import class_weights, sampling_weights
from didact.types import IGNORE, Batch


def unbalanced(size=1500, seed=0, shift=0.9):
    """Classes of 80, 17 and 3 percent, which overlap so much that a net answers the first at first."""
    generator = np.random.default_rng(seed)
    label = generator.choice(3, size, p=[0.8, 0.17, 0.03])
    x = generator.normal(size=(size, 5))
    x[:, 0] += shift * label
    return x, np.array(["x", "y", "z"])[label]


SHORT = {"student": "mlp:16", "steps": 200, "progress": False}


def test_the_headline_is_balanced_accuracy_and_a_constant_answer_stands_beside_it(tmp_path):
    result = didact.run(method="supervised", data=unbalanced(), directory=tmp_path / "run", **SHORT)
    assert next(iter(result.metrics)) == "balanced_accuracy"
    assert result.metrics["balanced_accuracy"] == pytest.approx(np.mean(list(result.recalls.values())))
    # The net answers the commonest class for everything, as a constant answer does.
    assert result.recalls == {"x": 1.0, "y": 0.0, "z": 0.0}
    assert result.metrics["accuracy"] == result.constant["accuracy"] > 0.75
    assert result.constant["balanced_accuracy"] == pytest.approx(1 / 3)
    notes = " ".join(result.notes)
    share = (unbalanced()[1] == "x").mean()
    rarest = (unbalanced()[1] == "z").mean()
    assert f"'x' has {100 * share:.1f}% and 'z' has {100 * rarest:.1f}% of the labels" in notes
    assert "The metric is therefore balanced accuracy" in notes
    assert "The student never predicts 'y', 'z'" in notes
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert next(iter(stored["metrics"])) == "balanced_accuracy"
    assert stored["constant"] == result.constant
    assert stored["recalls"] == result.recalls
    page = (tmp_path / "run" / "report.html").read_text()
    assert "supervised reaches 33.3% balanced accuracy on the test examples" in page
    assert "By class" in page and "constant answer" in page


def test_a_comparison_has_the_majority_as_an_arm_and_says_its_metric(tmp_path):
    compared = didact.compare(["supervised"], data=unbalanced(600), seeds=[0, 1], **SHORT)
    comparison = compared.comparison
    assert comparison.metric == "balanced_accuracy"
    assert comparison.mean("majority") == pytest.approx(1 / 3)
    assert any("balanced accuracy" in note for note in compared.notes)
    assert "The metric is therefore balanced accuracy" in compared.write_report(tmp_path / "r.html").read_text()


def test_balanced_classes_are_judged_by_accuracy_and_say_nothing():
    x, _ = unbalanced(400)
    result = didact.run(method="supervised", data=(x, np.arange(400) % 2), **SHORT)
    assert next(iter(result.metrics)) == "accuracy"
    assert not [note for note in result.notes if "balanced" in note]


def test_classes_too_small_to_be_tested_are_accepted_and_named():
    x, label = unbalanced(300)
    label = np.where(np.arange(300) == 7, "single", label)
    checks = diagnose(RunConfig.from_flags(method="supervised", **SHORT), Objects(data=(x, label)))
    found = [check.detail for check in checks if check.name == "classes"]
    assert any("Too few examples for any in the test: 'single'" in detail for detail in found)
    result = didact.run(method="supervised", data=(x, label), **SHORT)
    assert any("'single'" in note for note in result.notes)


def test_a_class_that_is_only_tested_is_named():
    x, label = unbalanced(300)
    label = np.where(np.arange(300) % 30 == 0, "late", np.where(label == "x", "x", "y"))
    examples = sources.from_tensors(x, label)
    late = torch.from_numpy(label == "late")
    examples = examples.with_tensors(split=torch.where(late | (torch.arange(300) % 5 == 1), 2, 0))
    result = didact.run(method="supervised", data=examples, **{**SHORT, "validation": 0})
    assert any("No training example is of: 'late'" in note for note in result.notes)


def test_the_command_prints_the_recalls(tmp_path, capsys):
    x, label = unbalanced()
    np.savez(tmp_path / "data.npz", x=x, label=label)
    words = ["--data", str(tmp_path / "data.npz"), "--student", "mlp:16", "--steps", "200", "--no-progress"]
    assert main(["run", "supervised", *words, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "recall   y 0.0%, z 0.0%, x 100.0%" in printed
    assert "constant answer" in printed


def test_class_weights_are_those_of_scikit_learn():
    label = torch.tensor([0] * 8 + [3] * 2 + [IGNORE] * 5)
    expected = compute_class_weight("balanced", classes=np.array([0, 3]), y=label[:10].numpy())
    found = class_weights(label)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([expected[0]] * 8 + [expected[1]] * 2 + [1.0] * 5)


def test_sampling_weights_give_each_class_the_same_and_labels_their_share():
    label = torch.tensor([0] * 8 + [3] * 2 + [IGNORE] * 10)
    for share, wanted in ((None, 0.5), (0.8, 0.8)):
        weight = sampling_weights(label, share)
        assert [weight[label == c].sum().item() for c in (0, 3, IGNORE)] == pytest.approx(
            [wanted / 2] * 2 + [1 - wanted]
        )
    assert sampling_weights(label[:10], 0.25).sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("remedy", [{"class_weights": "balanced"}, {"sampler": "balanced"}])
def test_both_remedies_make_the_student_predict_rare_classes(remedy):
    plain = didact.run(method="supervised", data=unbalanced(), **SHORT)
    mended = didact.run(method="supervised", data=unbalanced(), **SHORT, **remedy)
    assert mended.metrics["balanced_accuracy"] > plain.metrics["balanced_accuracy"] + 0.1
    assert mended.recalls["z"] > plain.recalls["z"] == 0.0


def test_the_label_term_of_distillation_is_weighted_and_the_teachers_is_not():
    settings = {"method": "distill", "teacher": "random", "class_weights": "balanced", **SHORT}
    run = prepare(RunConfig.from_flags(**settings), Objects(data=unbalanced()))
    batch = next(iter(run.source))
    plain = Batch({name: tensor for name, tensor in batch.items() if name != "label_weight"})
    weighted, unweighted = run.method.loss(batch), run.method.loss(plain)
    logits = run.method.learner(batch).logits
    rows = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
    weight = class_weights(run.data.train.tensors["label"])[batch["row"]]
    torch.testing.assert_close(weighted["label"].sum, (rows * weight).sum())
    torch.testing.assert_close(unweighted["label"].sum, rows.sum())
    assert torch.equal(weighted["teacher"].sum, unweighted["teacher"].sum)


def test_a_balanced_run_draws_each_class_as_often():
    run = prepare(
        RunConfig.from_flags(method="supervised", sampler="balanced", batch_size=100, **SHORT),
        Objects(data=unbalanced()),
    )
    batches = iter(run.source)
    label = torch.cat([next(batches)["label"] for _ in range(30)])
    assert (label.bincount().double() / len(label)).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": "balanced", "sampler": "balanced"}, "favour rare classes twice"),
        (
            {"class_weights": "balanced", "task": "regression"},
            "class_weights is 'balanced', but the data are a regression",
        ),
        ({"sampler": "balanced", "task": "regression"}, "sampler is 'balanced', but the data are a regression"),
        ({"class_weights": "balanced", "method": "pld", "teacher": "mlp:8"}, "'pld' has no loss of labels that reads"),
    ],
)
def test_remedies_without_effect_are_refused(settings, message):
    x, label = unbalanced(100)
    label = np.unique(label, return_inverse=True)[1]
    data = (x, label.astype(float) if "task" in settings else label)
    with pytest.raises(ConfigError, match=message):
        didact.run(**{"method": "supervised", **SHORT, **settings}, data=data)


def test_a_constant_answer_to_a_regression_is_the_mean_in_the_users_unit():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3))
    y = 200_000 + 80_000 * x[:, 0] + generator.normal(size=300)
    where = np.arange(300) % 3 == 0
    examples = sources.from_tensors(x, y).with_tensors(split=torch.from_numpy(np.where(where, 2, 0)))
    result = didact.run(method="supervised", data=examples, **SHORT)
    expected = np.sqrt(np.mean((y[where] - y[~where].mean()) ** 2))
    assert result.constant["rmse"] == pytest.approx(expected, rel=1e-4)
    assert result.recalls == {}
