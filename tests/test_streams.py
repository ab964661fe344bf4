"""The streams of random numbers of a run: each has a seed of its own, in which no two runs or parts are alike."""

import re
from itertools import combinations
from pathlib import Path

import pytest
import torch

import didact
from didact import catalogue, hashing, worlds
from didact.claims import workers
from didact.claims.workers import Task
from didact.errors import RunError
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.materials.examples.data import open_examples
from didact.materials.questions.data import open_questions
from didact.parts.part import Purpose

DRAWN = re.compile(r'hashing\.stream\(\S+, f?"([^"{]+)')
SOURCES = Path(didact.__file__).parent.rglob("*.py")
NAMES = sorted({name for path in SOURCES for name in DRAWN.findall(path.read_text())} | {"student", "teacher"})


def test_no_two_streams_of_a_hundred_seeds_are_the_same():
    assert {"order", "samples", "training", "method", "student", "teacher"} <= set(NAMES)
    seeds = [hashing.stream(seed, name) for seed in range(101) for name in NAMES]
    parts = [Purpose(seed=seed).member(number).seed for seed in seeds for number in range(4)]
    assert len(set(parts)) == len(parts) == 101 * len(NAMES) * 4
    # Torch's generator of the CPU ignores all bits but these, and scikit-learn refuses others.
    assert all(0 <= seed < 2**32 for seed in parts)
    draws = torch.stack([torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    assert len(draws.unique(dim=0)) == len(seeds)


def test_a_stream_is_the_same_on_every_machine():
    from hashlib import blake2b

    assert hashing.stream(3, "order") == int.from_bytes(blake2b(b"stream order:3", digest_size=4).digest(), "little")


def parts_of(seed):
    """The weights of a run's student, teacher, and two more students; all of one kind."""
    words = {"data": "wine", "student": "mlp:8", "teacher": "mlp:8", "steps": 1, "seed": seed, "split_seed": 0}
    run = prepare(RunConfig.from_flags(method="distill", **words), Objects(), teach=False)
    spawn = run.material.ingredients(run)["spawn"]
    parts = {"student": run.student.model, "teacher": run.teacher.learner, "first": spawn(), "second": spawn()}
    return {(name, seed): torch.cat([p.flatten() for p in part.parameters()]) for name, part in parts.items()}


def test_no_teacher_begins_from_the_weights_of_any_student():
    found = [part for seed in range(4) for part in parts_of(seed).items()]
    for (first, mine), (second, theirs) in combinations(found, 2):
        assert not torch.equal(mine, theirs), (first, second)


def test_the_first_of_several_teachers_is_the_one_that_teaches_alone():
    settings = {"data": "wine", "student": "mlp:4", "steps": 1, "seed": 2, "method": "distill"}
    alone, both = (
        prepare(RunConfig.from_flags(**settings, teacher=teacher), Objects(), teach=False).teacher
        for teacher in ("mlp:8", "mlp:8+mlp:8")
    )
    mine, (first, second) = (
        list(alone.learner.parameters()),
        [list(one.learner.parameters()) for one in both.teachers],
    )
    assert all(torch.equal(a, b) for a, b in zip(mine, first, strict=True))
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("name", ["addition", "addition:paraphrased", "addition:second_try", "addition:ways"])
def test_sums_with_swapped_numbers_are_on_one_side_of_the_split(name):
    asked = [tuple(sorted((question.data["a"], question.data["b"]))) for question in worlds.load(name)]
    assert len(set(asked)) == len(asked)
    swapped = sum(question.data["a"] > question.data["b"] for question in worlds.load(name))
    assert 0.45 < swapped / len(asked) < 0.55


@pytest.mark.parametrize(("name", "method"), [("grpo", "sft"), ("distill", "supervised")])
def test_no_seed_of_a_claim_trains_on_the_test_examples_of_another(name, method, monkeypatch):
    tests, trained = [], []

    def compare(_arms, *, seeds, **settings):
        told = {flag: settings[flag] for flag in ("data", "split_seed", "labels") if flag in settings}
        config = RunConfig.from_flags(method=method, seed=seeds[0], **told)
        data = open_questions(config) if method == "sft" else open_examples(config)
        parts = data.splits if method == "sft" else {"train": data.train, "test": data.splits.test}
        for found, part in ((trained, parts["train"]), (tests, parts["test"])):
            found.append({one.id for one in part} if method == "sft" else set(part.tensors["id"].tolist()))
        raise RunError("Nothing is run.")

    monkeypatch.setattr(workers.comparing, "compare", compare)
    claim = catalogue.find(name).claim
    for seed in (100, 101, 102):
        assert isinstance(
            workers.teach(Task(key=name, world=claim.world, seed=seed, arms=claim.arms, stages={}, records=False)),
            RunError,
        )
    assert tests[0] == tests[1] == tests[2]
    for train in trained:
        assert train and not tests[0] & train
