"""Comparisons from Python."""

import json
from collections import Counter

import pytest
import torch
from torch import nn

import didact
from blobs import DATA
from didact import evaluation, hashing, sources
from didact.errors import ConfigError
from didact.experiment import running
from didact.experiment.arms import parse_arm
from didact.experiment.comparing import compare, read
from didact.experiment.config import RunConfig
from didact.materials.examples import data as data_of

# ---- comparisons


def test_an_arm_in_words():
    assert parse_arm("distill") == ("distill", {})
    assert parse_arm("distill,temperature=2,student=mlp:64,64,teacher=random") == (
        "distill",
        {"temperature": "2", "student": "mlp:64,64", "teacher": "random"},
    )
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_arm("distill,hot")


SMALL = {"data": DATA, "student": "mlp:8", "labels": 6, "steps": 30, "progress": False}


def test_a_comparison_pairs_its_arms(tmp_path):
    told = []
    compared = compare(
        ["supervised", "distill", "distill,teacher=random", "label_spreading"],
        teacher="mlp:16",
        seeds=(3, 4),
        baselines="logistic_regression",
        on_result=lambda arm, seed, _result: told.append((arm, seed)),
        **SMALL,
    )
    found = compared.comparison
    assert found.arms == ("supervised", "distill", "distill,teacher=random", "label_spreading", "logistic_regression")
    assert (found.reference, found.metric, found.seeds) == ("supervised", "accuracy", (3, 4))
    assert told[:2] == [("supervised", 3), ("distill", 3)]
    alone = didact.run(method="supervised", seed=4, **SMALL)
    taught = didact.run(method="distill", teacher="mlp:16", seed=4, **SMALL)
    assert found.results["supervised"][1].metrics["accuracy"] == alone.metrics["accuracy"]
    assert found.results["distill"][1].metrics["accuracy"] == taught.metrics["accuracy"]
    assert found.results["distill"][1].cost.labels == found.results["label_spreading"][1].cost.labels == 6
    data = data_of.open_examples(RunConfig.from_flags(method="supervised", labels=6, seed=3), DATA)
    own = evaluation.baseline("logistic_regression", data.train, data.splits.test, seed=hashing.stream(3, "baseline"))
    assert found.results["logistic_regression"][0].metrics == own
    assert compared.teachers["mlp:16"]["cost/labels"] > 100
    assert compared.teachers["random"]["cost/labels"] == 0
    report = compared.write(tmp_path / "cmp")
    assert "label_spreading" in report.read_text()
    assert read(tmp_path / "cmp").comparison == found
    stored = json.loads((tmp_path / "cmp" / "config.json").read_text())
    assert stored["config"]["labels"] == 6
    assert stored["arms"]["distill"]["teacher"] == "mlp:16"


def test_a_module_is_copied_for_each_arm():
    module = nn.Sequential(nn.Linear(4, 3))
    before = module[0].weight.detach().clone()
    compare(["supervised"], seeds=(0,), baselines="none", **{**SMALL, "student": module})
    assert torch.equal(before, module[0].weight)


def test_arms_by_name_and_by_mapping():
    arms = {"plain": "supervised", "smooth": {"method": "supervised", "label_smoothing": 0.1}}
    found = compare(arms, seeds=(0,), baselines="none", **SMALL).comparison
    assert found.arms == ("plain", "smooth")
    assert found.reference == "plain"


@pytest.mark.parametrize(
    ("arms", "settings", "said"),
    [
        (["supervised", "distil"], {}, "There is no method or baseline 'distil'. Did you mean distill"),
        (["supervised", "supervised"], {}, "The arm 'supervised' is given twice"),
        (["supervised", "supervised,steps=5"], {}, "The arm 'supervised,steps=5' has its own budget"),
        (["supervised", "distill"], {}, "The method 'distill' needs a teacher"),
        (["label_spreading"], {}, "Only baselines are given"),
        ([], {}, "There is no arm to compare"),
        (["supervised"], {"baselines": "ridge"}, "There is no baseline 'ridge' for these data"),
        (["supervised"], {"seeds": ()}, "seeds is empty"),
        (["supervised"], {"metric": "acuracy"}, "metric is 'acuracy', which is not known. Did you mean accuracy"),
        (["supervised"], {"reference": "distill"}, "reference is 'distill', which is not known"),
        (["supervised,label_smoothing=2"], {}, "label_smoothing is 2.0, but must be"),
    ],
)
def test_comparisons_that_cannot_be(arms, settings, said, monkeypatch):
    monkeypatch.setattr(running, "fit", lambda *_, **__: pytest.fail("computed before all was checked"))
    with pytest.raises(ConfigError) as caught:
        compare(arms, **{"seeds": (0,), "baselines": "none", **SMALL, **settings})
    assert str(caught.value).startswith(said)


def test_an_interrupted_comparison_keeps_its_finished_seeds():
    def stop(arm, seed, _result):
        if (arm, seed) == ("b", 1):
            raise KeyboardInterrupt

    arms = {"a": "supervised", "b": "supervised,label_smoothing=0.1", "c": "supervised,label_smoothing=0.2"}
    compared = compare(arms, seeds=(0, 1, 2), baselines="none", on_result=stop, **SMALL)
    assert compared.interrupted
    assert compared.comparison.seeds == (0,)


def test_answers_that_no_model_writes_stand_beside_language_models():
    """Prompts that begin with the answer are answered by the nearest; a constant answer is right as often as it is."""
    records = [
        {"prompt": f"{n % 3}{'ab'[n % 2]}{n}", "answer": str(n % 3), "completion": str(n % 3)} for n in range(60)
    ]
    shared = {"data": records, "student": "decoder:1x16:32", "verifier": "exact", "steps": 1, "batch_size": 8}
    found = compare(["sft", "nearest_prompt"], seeds=(0, 1), progress=False, **shared).comparison
    assert found.arms == ("sft", "nearest_prompt", "commonest_answer")
    assert found.metric == "accuracy"
    for seed in (0, 1):
        train, _, test = sources.split_questions(sources.from_records(records), seed=seed)
        commonest = Counter(question.answer for question in train).most_common(1)[0][0]
        wanted = sum(question.answer == commonest for question in test) / len(test)
        result = found.results["commonest_answer"][seed]
        assert result.metrics["accuracy"] == result.metrics["reward"] == pytest.approx(wanted)
        assert result.cost.labels == len(train)
        assert found.results["nearest_prompt"][seed].metrics["accuracy"] > wanted
    with pytest.raises(ConfigError, match="There is no baseline 'ridge' for these data"):
        compare(["sft", "ridge"], seeds=(0,), progress=False, **shared)
