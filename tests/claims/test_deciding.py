"""Claims that decide: verdicts against each arm, what no verdict may rest on, tuning seeds, and kept history."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

import didact
from didact import catalogue, hashing
from didact.claiming import Claim
from didact.claims import deciding, replicating, tuning
from didact.claims.store import basis
from didact.cli import main
from didact.errors import ConfigError, RunError
from didact.evaluation import ArmResult, Comparison, verdicts
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.types import Cost
from own_claims import WORDS, write

SEEDS = tuple(range(100, 110))
DESIGN = {
    **WORDS,
    "arms": {**WORDS["arms"], "without": "mine.py,smooth=0.5", "untaught": "majority"},
    "ablation": "without",
    "untaught": "untaught",
    "smallest_effect": 0.01,
    "seeds": SEEDS,
    "tuned_on": (0, 1, 2),
    "tuned": "",
}
NOISE = np.random.default_rng(0).normal(0.0, 0.01, (4, 10))


def claim(**changes):
    return Claim(**{**DESIGN, **changes})


def compared(method, baseline=0.80, *, cheap=0.78, without=0.80, untaught=0.10, metric="accuracy", noise=NOISE):
    """A comparison whose arms have these means, and share noise within a seed."""
    shared = np.linspace(-0.02, 0.02, 10)
    means = {"mine": method, "supervised": baseline, "label_spreading": cheap, "without": without}
    rows = {arm: mean + shared + own for (arm, mean), own in zip(means.items(), noise, strict=True)}
    rows["untaught"] = np.full(10, untaught)
    return Comparison(
        metric=metric,
        higher_is_better=metric != "nll",
        reference="supervised",
        seeds=SEEDS,
        results={arm: tuple(ArmResult({metric: float(v)}, Cost(steps=1)) for v in row) for arm, row in rows.items()},
        smallest_effect=0.01,
    )


def verdict_of(comparison, claim_=None, teachers=None):
    found = deciding.outcomes(claim_ or claim(), comparison, teachers or {})
    return {one.role: one.verdict for one in found}, {one.role: one.marks for one in found}, deciding.works(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ablation": ""}, "The claim names no ablation"),
        ({"ablation": "mine"}, "The claim's method is 'mine', but its baseline"),
        ({"smallest_effect": 0.0}, "The claim's smallest_effect is 0"),
        ({"tuned_on": (0, 1)}, "The claim's tuned_on is [0, 1]; give 3 seeds or more"),
        ({"seeds": tuple(range(100, 141))}, "The claim has 41 seeds; give at most 40"),
        ({"search": {"mine": {"lr": (0.1, 0.2)}}}, "tries 2 settings of 'mine' and 1 of 'supervised'; try as many"),
        ({"search": {"nobody": {"lr": (0.1,)}}}, "The claim's search is 'nobody', which is not known"),
        ({"stages": {"mine": ("smooth",)}}, "The claim's equal is 'steps' and its stages are {'mine'"),
        ({"equal": "last_stage"}, "The claim's equal is 'last_stage' and its stages are {}"),
    ],
)
def test_what_a_claim_that_decides_refuses(changes, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        claim(**changes)


def test_a_method_works_if_it_is_better_than_baseline_and_ablation():
    found, marks, works = verdict_of(compared(0.86))
    assert found == {"baseline": "better", "cheap": "better", "ablation": "better", "untaught": "better"}
    assert works is True and not any(marks.values())
    found, _, works = verdict_of(compared(0.86, without=0.86))
    assert (found["baseline"], found["ablation"] != "better", works) == ("better", True, False)
    found, _, works = verdict_of(compared(0.70))
    assert (found["baseline"], works) == ("worse", False)
    found, marks, works = verdict_of(compared(0.80, noise=NOISE / 4))
    assert (found["baseline"], found["ablation"], works) == ("equivalent", "equivalent", False)
    assert not any(marks.values())


def test_a_verdict_rests_on_no_untrained_arm():
    found, marks, works = verdict_of(compared(0.86, untaught=0.795))
    assert (found["baseline"], works) == ("undecided", False)
    assert marks["baseline"] == ("supervised is untrained: it is no better than untaught.",)
    assert found["untaught"] == "better" and not marks["untaught"]


SATURATED = "supervised is saturated: there is no room for the smallest effect of interest above it."


def test_a_verdict_rests_on_no_saturated_arm():
    found, marks, _ = verdict_of(compared(0.999, 0.9945, cheap=0.9, noise=NOISE / 4))
    assert found["baseline"] == "undecided"
    assert marks["baseline"] == (SATURATED,)
    assert found["cheap"] == "better"
    teachers = {"mlp:9": {"accuracy": 0.805}}
    taught = claim(settings={**WORDS["settings"], "teacher": "mlp:9"})
    found, marks, _ = verdict_of(compared(0.80, noise=NOISE / 4), taught, teachers)
    assert found["baseline"] == "undecided" and "The teacher is no better than supervised" in marks["baseline"][0]
    found, _, _ = verdict_of(compared(0.86), taught, teachers)
    assert found["baseline"] == "better"


def test_a_verdict_rests_on_no_identical_arms():
    same = NOISE / 4
    same = same.copy()
    same[0] = same[1]
    found, marks, _ = verdict_of(compared(0.80, noise=same))
    assert found["baseline"] == "undecided"
    assert marks["baseline"] == ("mine and supervised have the same figures with 10 of 10 seeds.",)
    nearly = same.copy()
    nearly[0] += 1e-4 * np.arange(10)
    found, marks, _ = verdict_of(compared(0.80, noise=nearly))
    assert (
        found["baseline"] == "undecided" and "nearly the same runs: their figures correlate at" in marks["baseline"][0]
    )


def test_a_verdict_rests_on_no_arms_that_are_all_alike():
    found, marks, _ = verdict_of(compared(0.80, cheap=0.80, untaught=0.80, noise=NOISE / 8))
    assert set(found.values()) == {"undecided"}
    assert "No arm differs from any other by the smallest effect of interest." in marks["baseline"]


def test_the_rates_of_verdicts_are_those_of_the_intervals():
    """Two arms of the same mean, spread so that five of a hundred intervals exclude zero, whatever the marks."""
    generator, wrong = np.random.default_rng(1), 0
    for _ in range(300):
        noise = generator.normal(0.0, 0.02, (4, 10))
        wrong += verdict_of(compared(0.80, noise=noise))[0]["baseline"] in ("better", "worse")
    assert wrong / 300 == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 300) ** 0.5)


def kept(figures):
    """Results of three tuning seeds by variant, whose figures on test examples would choose otherwise."""
    return {
        str(seed): {
            "arms": {
                name: {"validation": {"accuracy": row[seed]}, "metrics": {"accuracy": 1.0 - row[seed]}}
                for name, row in figures.items()
            }
        }
        for seed in range(3)
    }


def test_settings_are_chosen_on_validation_examples_and_for_the_baseline_too():
    searched = claim(search={"mine": {"lr": (0.1, 0.2), "smooth": (0.0, 0.1)}, "supervised": {"lr": (1, 2, 3, 4)}})
    names = [one.name for found in tuning.variants(searched).values() for one in found]
    assert len(names) == 4 + 4 + 3 and "mine (lr=0.1, smooth=0.1)" in names
    figures = {name: [0.5, 0.5, 0.5] for name in names}
    figures["mine (lr=0.2, smooth=0.0)"] = [0.6, 0.7, 0.8]
    figures["supervised (lr=3)"] = [0.9, 0.4, 0.9]
    found = tuning.choose(searched, kept(figures))
    assert found["chosen"] == {"mine": {"lr": 0.2, "smooth": 0.0}, "supervised": {"lr": 3}}
    assert found["tried"]["mine (lr=0.2, smooth=0.0)"] == pytest.approx(0.7)
    apart = np.array([0.9, 0.4, 0.9]) - np.array([0.6, 0.7, 0.8])
    sd = apart.std(ddof=1)
    assert found["spread"]["baseline"] == {
        "sd": pytest.approx(sd),
        "seeds_needed": verdicts.seeds_needed(sd, 0.01),
        "power": pytest.approx(verdicts.power(10, sd, 0.01)),
    }
    arms = tuning.settled(searched, found["chosen"])
    assert arms["mine"] == {"method": "mine.py", "lr": 0.2, "smooth": 0.0}
    assert arms["supervised"] == {"method": "supervised", "lr": 3}
    assert arms["without"] == {"method": "mine.py", "lr": 0.2, "smooth": "0.5"}, "the ablation keeps what it states"
    assert arms["label_spreading"] == "label_spreading"
    results = kept(figures)
    results["0"]["arms"]["mine (lr=0.2, smooth=0.0)"]["validation"] = {"accuracy": "nan"}
    with pytest.raises(RunError, match="has no accuracy on the validation examples"):
        tuning.choose(searched, results)


def test_less_is_chosen_where_less_is_better():
    searched = claim(metric="nll", search={"mine": {"lr": (1, 2)}, "supervised": {"lr": (1, 2)}})
    names = [one.name for found in tuning.variants(searched).values() for one in found]
    figures = {name: [0.5 + ("lr=2" in name), 0.5, 0.5] for name in names}
    results = kept(figures)
    for seed in results.values():
        for arm in seed["arms"].values():
            arm.update({part: {"nll": arm[part]["accuracy"]} for part in ("validation", "metrics")})
    assert tuning.choose(searched, results)["chosen"] == {"mine": {"lr": 1}, "supervised": {"lr": 1}}


RUNS = {
    **{key: value for key, value in DESIGN.items() if key != "untaught"},
    "arms": {**WORDS["arms"], "without": "mine.py,smooth=0.5"},
    "settings": {"labels": 40, "steps": 4, "student": "mlp:4"},
    "search": {"mine": {"lr": (1e-9, 0.05)}, "supervised": {"lr": (1e-9, 0.05)}},
    "seeds": (5, 6, 7, 8, 9),
}


def test_the_tuning_seeds_come_first_and_the_test_examples_are_the_same(store, capsys):
    write(RUNS)
    assert main(["replicate", "mine.py", "--pilot", "--store", str(store.path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "chosen mine: lr 0.05" in out and "power with a spread of" in out and "seeds find an effect of 0.01" in out
    assert store.read("mine") is None
    seen = []
    (found,) = replicating.replicate(["mine.py"], store=store, on_result=lambda *news: seen.append((news[1], news[2])))
    assert sorted({seed for _, seed in seen}) == [5, 6, 7, 8, 9], "the tuning seeds are not run again"
    assert found.comparison.smallest_effect == 0.01
    result = store.read("mine")
    assert result["pilot"]["chosen"] == {"mine": {"lr": 0.05}, "supervised": {"lr": 0.05}}
    assert set(result["verdicts"]) == {"baseline", "cheap", "ablation"}
    assert result["works"] in (True, False) and result["history"] == []
    assert {row["against"] for row in result["tables"][1]} == {
        "supervised (baseline)",
        "label_spreading (cheap alternative)",
        "without (ablation)",
    }
    wanted = didact.compare(
        {"mine": "mine.py,lr=0.05"},
        seeds=[5],
        baselines="none",
        data="wine",
        device="cpu",
        split_seed=0,
        progress=False,
        **RUNS["settings"],
    )
    assert (
        result["seeds"]["5"]["mine"]["metrics"]["accuracy"] == wanted.comparison.results["mine"][0].metrics["accuracy"]
    )
    assert main(["show", "mine.py", "--store", str(store.path)]) == 0
    assert "works    " in capsys.readouterr().out


def test_a_claim_that_changes_after_its_seeds_were_seen_needs_new_ones(store):
    first = claim(seeds=(5, 6, 7, 8, 9))

    def report(claim_, verdict):
        store.finish("mine", {**basis(claim_), "verdict": verdict, "verdicts": {}, "commit": "c0ffee", "seeds": {}})

    store.check_seeds("mine", first)
    report(first, "better")
    store.check_seeds("mine", first)
    fields = dataclasses.asdict(first)
    for changes, said in (
        ({"smallest_effect": 0.02}, "has other smallest_effect than when seeds 5, 6, 7, 8, 9 were reported"),
        ({"metric": "nll"}, "has other metric than"),
        ({"seeds": (8, 9, 10, 11, 12)}, "has other seeds than when seeds 8, 9 were reported"),
        ({"settings": {**WORDS["settings"], "steps": 5}}, "has other settings than"),
        ({"arms": {**DESIGN["arms"], "mine": "mine.py,lr=0.1"}}, "has other arms than"),
    ):
        with pytest.raises(ConfigError, match=said):
            store.check_seeds("mine", Claim(**{**fields, **changes}))
    second = Claim(**{**fields, "smallest_effect": 0.02, "seeds": (20, 21, 22, 23, 24)})
    store.check_seeds("mine", second)
    report(second, "undecided")
    (past,) = store.read("mine")["history"]
    assert (past["design"]["smallest_effect"], past["design"]["seeds"], past["verdict"]) == (
        0.01,
        [5, 6, 7, 8, 9],
        "better",
    )
    report(second, "undecided")
    assert [one["verdict"] for one in store.read("mine")["history"]] == ["better", "undecided"]
    with pytest.raises(ConfigError, match="seeds 5, 6, 7, 8, 9 were reported"):
        store.check_seeds("mine", Claim(**{**fields, "metric": "nll"}))


def test_a_reported_claim_is_refused_before_anything_runs(store):
    write(RUNS)
    store.finish("mine", {**basis(catalogue.find("mine.py").claim), "verdict": "better", "seeds": {}})
    write(RUNS, smallest_effect=0.02)
    with pytest.raises(ConfigError, match="has other smallest_effect"):
        replicating.replicate(["mine.py"], store=store)


def test_results_of_the_first_design_are_read_in_the_words_of_today(store):
    old = {
        "format": "didact claim 1",
        "claim": dataclasses.asdict(Claim(**WORDS)),
        "code": {},
        "verdict": "not replicated",
    }
    rows = [{"arm": "mine", "verdict": "no difference shown"}, {"arm": "other", "verdict": "better"}]
    store.path.mkdir()
    store.file("mine").write_text(json.dumps({**old, "tables": [rows], "summary": {"mine": {"finding": "opposite"}}}))
    found = store.read("mine")
    assert (found["verdict"], found["summary"]["mine"]["finding"]) == ("undecided", "worse")
    store.file("mine").write_text(json.dumps({**old, "verdict": "replicated", "tables": [rows], "summary": {}}))
    found = store.read("mine")
    assert (found["verdict"], found["first_verdict"], found["works"]) == ("undecided", "better", None)
    assert store.history("mine")[-1]["verdict"] == "better"
    assert [row["verdict"] for row in found["tables"][0]] == ["undecided", "better"]
    with pytest.raises(ConfigError, match="smallest_effect, ablation, untaught than when seeds 5, 6, 7, 8 were"):
        store.check_seeds("mine", claim(seeds=(5, 6, 7, 8, 11)))
    store.check_seeds("mine", Claim(**WORDS))


def test_a_stage_before_the_last_is_paid_on_top():
    arms = {"fitnet": "fitnet", "distill": "distill"}
    found = didact.compare(
        arms,
        seeds=[0],
        baselines="none",
        data="wine",
        labels=40,
        steps=7,
        student="mlp:4",
        teacher="mlp:8",
        teacher_epochs=1,
        stages={"fitnet": ["hint_share"]},
        progress=False,
    )
    assert [found.comparison.cost(arm)["steps"] for arm in arms] == [10, 7]
    assert found.early == {"fitnet": 0.3}


def test_an_effect_below_the_floor_of_a_rerun_is_marked():
    noise = NOISE / 4
    shown, _, _ = verdict_of(compared(0.86, noise=noise))
    assert shown["baseline"] == "better"
    for floor, word in ((0.05, "better"), (0.07, "better*")):
        (found, *_) = deciding.outcomes(claim(), compared(0.86, noise=noise), {}, floor)
        assert (found.verdict, found.word) == ("better", word)
        assert found.as_dict()["caveats"] == ["*The effect is smaller than what a rerun changes."] * (word[-1] == "*")
    (alike, *_) = deciding.outcomes(claim(), compared(0.80, noise=noise), {}, 0.02)
    assert (alike.verdict, alike.word) == ("equivalent", "equivalent*")
    (open_, *_) = deciding.outcomes(claim(), compared(0.80), {}, 0.02)
    assert open_.word == "undecided"


def test_the_floor_is_the_root_mean_square_of_reruns(store):
    # In a batch of all labels, the order would change nothing.
    given = {**RUNS["settings"], "batch_size": 16}
    write(RUNS, settings=given)
    seen = []
    (found,) = replicating.replicate(["mine.py"], store=store, on_result=lambda *news: seen.append((news[1], news[2])))
    again = [seed for arm, seed in seen if arm == "mine, again"]
    assert again == [5, 6, 7], "the first three seeds alone"
    arms = store.read("mine")["seeds"]
    first, second = (
        np.array([arms[str(seed)][arm]["metrics"]["accuracy"] for seed in again]) for arm in ("mine", "mine, again")
    )
    assert found.floor.rms == pytest.approx(float(np.sqrt(np.mean((first - second) ** 2))))
    assert found.floor.rms > 0.0
    assert store.read("mine")["floor"]["rms"] == found.floor.rms
    assert "mine, again" not in found.comparison.arms
    assert replicating.count(replicating.plan(["mine.py"], store=store)) == 5 * 4 + 3
    settings = {**given, "data": "wine", "device": "cpu", "split_seed": 0, "seed": 5, "progress": False}
    other = hashing.stream(5, "another order")
    by_hand = didact.run(method="supervised", lr=0.05, order_seed=other, **settings)
    assert by_hand.metrics["accuracy"] == second[0]


def test_another_order_changes_the_order_and_nothing_else():
    def prepared(**changes):
        words = {"method": "supervised", "data": "wine", "student": "mlp:4", "steps": 1, "seed": 2, **changes}
        return prepare(RunConfig.from_flags(**words), Objects(), teach=False)

    plain, same, other = prepared(), prepared(order_seed=2), prepared(order_seed=3)
    weights = [torch.cat([p.flatten() for p in run.student.model.parameters()]) for run in (plain, same, other)]
    orders = [next(iter(run.source))["id"] for run in (plain, same, other)]
    assert torch.equal(weights[0], weights[2]) and torch.equal(
        plain.data.train.tensors["id"], other.data.train.tensors["id"]
    )
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
