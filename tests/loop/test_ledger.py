"""What a run spends is charged when it is spent, by whom, once; a budget that nothing would use up is refused."""

import os
import signal
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import make_method, net, planted, quiet_fit
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig, Validation
from didact.memory import SignalCache
from didact.methods.distillation.distill import Config, Distill
from didact.methods.language.sft import SFT
from didact.methods.language.sft import Config as SFTConfig
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import Sampling, Writer, rollout_rounds
from didact.sources import BatchSource, CompletionSource, Phases, Rounds
from didact.teachers import CachedTeacher, Committee, FrozenTeacher, RandomTeacher
from didact.types import (
    IGNORE,
    Batch,
    Cost,
    ExampleFeed,
    LabelsSpentError,
    Ledger,
    Method,
    Question,
    Questions,
    RolloutFeed,
    Term,
    Terms,
)
from rounds.doubles import Bandit, Oracle
from together import run_together

QUIET = {"monitors": [], "device": "cpu"}
SUMS = Questions(
    items=tuple(
        Question(id=7 * a + b, prompt=f"{a}+{b}=", answer=str(a + b), completion=str(a + b))
        for a in range(3)
        for b in range(4)
    )
)


def supervised():
    return make_method("supervised")


def distil(teacher):
    return Distill(Config(), ModuleLearner(net()), teacher)


def batches(examples=None, size=20, **options):
    return BatchSource(planted() if examples is None else examples, batch_size=size, **options)


# ---- budgets that nothing uses up


class Endless:
    """A source without passes: the same batch for ever."""

    epoch_size = 0

    def __iter__(self):
        while True:
            yield planted().batch()


def cached():
    return CachedTeacher(RandomTeacher(3), SignalCache(planted().tensors["id"]))


class Self(Method):
    """Contrasts two noisy views, and reads no label."""

    feed = ExampleFeed(labels=False, unlabelled=True, coupled=True, least_batch=2)

    def __init__(self):
        self.learner = ModuleLearner(net())

    def loss(self, batch):
        assert "label" not in batch
        one, other = (self.learner.module(batch["x"] + 0.1 * torch.randn_like(batch["x"])) for _ in range(2))
        pairs = nn.functional.cross_entropy(one @ other.T, torch.arange(batch.size), reduction="sum")
        return Terms(contrast=Term(pairs, batch.size))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("method", "source", "budget", "said"),
    [
        (
            supervised,
            batches,
            {"env_steps": 10},
            "limits env_steps, on .* spends steps, epochs, labels, seconds",
        ),
        (supervised, batches, {"teacher_calls": 10}, "limits teacher_calls, on which nothing in this run spends"),
        (supervised, batches, {"tokens": 10}, "limits tokens, on which nothing in this run spends"),
        (supervised, batches, {"steps": 3, "env_steps": 10}, "limits env_steps, on which nothing"),
        (supervised, Endless, {"epochs": 1}, "limits epochs, on which nothing .* spends steps, labels, seconds"),
        (supervised, batches, {"labels": 10}, "limits labels alone, of which the run may need no more"),
        (Self, batches, {"labels": 10}, "limits labels alone, .* this run spends steps, epochs, seconds. Give steps"),
        (lambda: distil(cached()), batches, {"teacher_calls": 200}, "limits teacher_calls alone, of which the run may"),
        (
            lambda: distil(Committee([cached(), cached()])),
            batches,
            {"teacher_calls": 200},
            "limits teacher_calls",
        ),
    ],
)
def test_a_budget_that_nothing_uses_up_is_refused_before_the_first_step(method, source, budget, said):
    taught = method()
    with pytest.raises(ConfigError, match=said):
        quiet_fit(taught, source(), budget=Budget(**budget), **QUIET)
    assert taught.step == 0


class Played(Method):
    """Learns nothing of note from what was played."""

    def __init__(self):
        self.learner = ModuleLearner(nn.Linear(2, 2))

    def collect(self, _chosen, player):
        with torch.no_grad():
            return player.play(self.learner, 5)

    def loss(self, batch):
        return Terms(size=Term(self.learner(batch).logits.square().sum(), batch.size))


def written(size=4, **options):
    """Learns the completions of `SUMS`."""
    learner = build_causal("decoder:1x16:32", seed=0)
    source = CompletionSource(SUMS, learner.tokenizer, batch_size=size, max_length=32, **options)
    return SFT(SFTConfig(), learner), source


@pytest.mark.timeout(60)
def test_a_budget_is_used_up_by_the_part_that_spends():
    teacher = RandomTeacher(3)
    assert quiet_fit(distil(teacher), batches(), budget=Budget(teacher_calls=50), **QUIET).steps == 3
    # Behind a cache, 96 examples cost 96 calls; there are steps besides.
    saving = quiet_fit(distil(cached()), batches(), budget=Budget(teacher_calls=200, steps=30), **QUIET)
    assert (saving.steps, saving.cost.teacher_calls) == (30, 96)
    method, player = Played(), Bandit(environments=4)
    played = quiet_fit(method, Rounds(None, player, method.collect, size=1), budget=Budget(env_steps=90), **QUIET)
    assert (played.steps, played.cost.env_steps, played.parts["bandit"]) == (5, 100, Cost(env_steps=100))
    method, source = written()
    sizes = [batch["input_ids"].numel() for _, batch in zip(range(9), written()[1], strict=False)]
    ends = next(n for n in range(9) if sum(sizes[:n]) >= 100)
    read = quiet_fit(method, source, budget=Budget(tokens=100), **QUIET)
    assert (read.steps, read.cost.student_tokens) == (ends, sum(sizes[:ends]))


# ---- labels


class Asking:
    """Gives all examples from the beginning, but the labels of the second hundred after some batches."""

    epoch_size = 200
    labels = 100

    def __init__(self, after):
        self.examples, self.after, self.given = planted(200), after, 0

    def __iter__(self):
        while True:
            rows = (torch.arange(20) + 20 * self.given) % 200
            self.given += 1
            tensors = {name: tensor[rows] for name, tensor in self.examples.tensors.items()}
            hidden = (rows >= 100) & (self.given <= self.after)
            yield Batch({**tensors, "row": rows, "label": tensors["label"].masked_fill(hidden, IGNORE)})


def test_labels_are_charged_when_they_are_read():
    def labels(steps, after=10):
        result = quiet_fit(supervised(), Asking(after), budget=Budget(steps=steps), **QUIET)
        assert result.parts["batches"].labels == result.cost.labels
        return result.cost.labels

    # In twenties: the first pass shows a hundred labels, the second the others too.
    assert [labels(steps) for steps in (1, 3, 5, 10, 15, 16, 20, 45)] == [20, 60, 100, 100, 100, 120, 200, 200]
    assert labels(15, after=1000) == 100


def test_a_run_that_reads_no_label_is_charged_none():
    result = quiet_fit(Self(), batches(), budget=Budget(steps=10), **QUIET)
    assert result.cost.labels == 0
    assert not any(cost.labels for cost in result.parts.values())
    assert quiet_fit(Self(), batches(), budget=Budget(steps=10, labels=1), **QUIET).steps == 10


def test_unlabelled_examples_and_repeats_are_no_labels():
    examples = planted(labelled=0.4)
    there = int((examples.tensors["label"] != IGNORE).sum())
    assert 0 < there < 60
    for source in (
        batches(examples),
        Phases([batches(examples), batches(examples, seed=1)], steps=12),
        Phases([batches(examples.select(torch.arange(60))), batches(examples)], steps=12),
        Phases([batches(examples.select(torch.arange(*ends))) for ends in ((60,), (60, 96))], steps=12),
    ):
        assert quiet_fit(supervised(), source, budget=Budget(steps=30), **QUIET).cost.labels == there


def test_regression_targets_are_labels_where_they_are_known():
    target = torch.arange(96.0)
    target[::3] = float("nan")
    examples = planted().with_tensors(label=target)
    assert quiet_fit(Regress(), batches(examples), budget=Budget(epochs=1), **QUIET).cost.labels == 64


class Regress(Method):
    """Reads the targets that are there."""

    def __init__(self):
        self.learner = ModuleLearner(net(classes=1))

    def loss(self, batch):
        known = ~batch["label"].isnan()
        off = self.learner(batch).logits[:, 0] - batch["label"].nan_to_num()
        return Terms(error=Term((off.square() * known).sum(), known.sum()))


def test_every_completion_is_a_label_however_they_lie_in_rows():
    costs = [quiet_fit(*written(), budget=Budget(steps=steps), **QUIET).cost for steps in (1, 3, 9)]
    assert [cost.labels for cost in costs] == [4, 12, 12]
    method, source = written(1, packed=True)
    assert 1 < source.epoch_size < len(SUMS)
    first = next(iter(written(1, packed=True)[1]))
    assert quiet_fit(method, source, budget=Budget(steps=1), **QUIET).cost.labels == int(first["segments"].max()) > 1
    assert quiet_fit(*written(1, packed=True), budget=Budget(steps=9), **QUIET).cost.labels == len(SUMS)


@pytest.mark.parametrize(("limit", "steps", "read"), [(40, 2, 40), (50, 2, 40), (96, 30, 96), (500, 30, 96)])
def test_no_more_labels_are_read_than_the_budget_allows(limit, steps, read):
    result = quiet_fit(supervised(), batches(), budget=Budget(steps=30, labels=limit), **QUIET)
    assert (result.status, result.steps, result.cost.labels) == ("done", steps, read)
    if steps < 30:
        assert result.reason == f"The next batch would read more than the {limit} labels that may be read."


def test_a_first_batch_beyond_the_budget_is_refused():
    with pytest.raises(ConfigError, match=r"allows 10 labels; 0 were read, and 20 more come next\. Allow"):
        quiet_fit(supervised(), batches(), budget=Budget(steps=5, labels=10), **QUIET)


def test_a_run_that_may_read_more_goes_on_as_if_it_always_might(run_directory):
    plain = {"optimizer": OptimizerConfig(schedule="constant"), **QUIET}
    whole = supervised()
    quiet_fit(whole, batches(seed=4), budget=Budget(steps=4), **plain)
    cut = supervised()
    first = quiet_fit(cut, batches(seed=4), budget=Budget(steps=4, labels=40), run=run_directory, **plain)
    assert (first.steps, first.cost.labels) == (2, 40)
    again = supervised()
    rest = quiet_fit(again, batches(seed=4), budget=Budget(steps=4, labels=96), run=run_directory, resume=True, **plain)
    assert (rest.steps, rest.cost.labels) == (4, 80)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


class AskMore(Method):
    """Learns from all labels that were told, and asks for five more in each round."""

    def __init__(self):
        self.learner = ModuleLearner(net())

    def collect(self, _chosen, pool):
        told = int(pool.known.sum())
        return pool.reveal(torch.arange(told + 5))

    def loss(self, batch):
        logits = self.learner(batch).logits
        return Terms(label=Term(nn.functional.cross_entropy(logits, batch["label"], reduction="sum"), batch.size))


def test_active_learning_costs_what_it_asks_for_and_ends_where_it_may_ask_no_more():
    method, pool = AskMore(), Oracle(planted())
    source = Rounds(None, pool, method.collect, size=1, epochs=3)
    result = quiet_fit(method, source, budget=Budget(steps=100, labels=22), **QUIET)
    # Four rounds of five labels, from each of which it learns three times; a fifth would be 25 labels.
    assert (result.status, result.steps, result.cost.labels, int(pool.known.sum())) == ("done", 12, 20, 20)
    assert result.parts["oracle"].labels == 20 and not result.parts["batches"].labels


@pytest.mark.parametrize(
    ("verifier", "share", "labels"), [("exact", 1.0, 8), ("regex:[0-9]", 1.0, 0), ("", 1.0, 0), ("", 0.0, 8)]
)
def test_a_question_is_a_label_where_its_answer_or_completion_is_read(verifier, share, labels):
    class Mixing(Method):
        feed = RolloutFeed()

        def __init__(self):
            self.learner = build_causal("decoder:1x16:32", seed=0)

        def collect(self, questions, writer):
            return writer.write(questions).batch if verifier else writer.mix(questions, share).batch

        def loss(self, batch):
            return Terms(size=Term(self.learner(batch).logits.square().sum(), batch.size))

    method = Mixing()
    sampling = Sampling(samples=2, max_new_tokens=4)
    writer = Writer(method.learner, sampling, verifier_of(verifier) if verifier else None)
    source = rollout_rounds(SUMS, writer, method.collect, batch_size=8)
    result = quiet_fit(method, source, budget=Budget(steps=2), **QUIET)
    # Two rounds of four questions, each completed twice.
    assert result.cost.labels == result.parts["writer"].labels == labels
    calls = 16 if verifier else 0
    assert result.cost.teacher_calls == result.parts["writer.verifier"].teacher_calls == calls
    assert result.cost.sampled_tokens == result.parts["writer"].sampled_tokens
    assert (result.cost.sampled_tokens > 0) == (share > 0)


# ---- who spent it, and when


def test_each_member_of_a_committee_is_charged_by_itself_and_a_cache_once():
    members = [cached(), FrozenTeacher(ModuleLearner(net(16)))]
    result = quiet_fit(distil(Committee(members)), batches(), budget=Budget(steps=10), **QUIET)
    assert result.parts["teacher.0"] == Cost(teacher_calls=96)
    assert result.parts["teacher.1"] == Cost(teacher_calls=192)
    assert result.cost.teacher_calls == 96 + 192


def test_what_evaluation_and_others_ask_is_not_charged():
    teacher = RandomTeacher(3)
    ask = planted().batch()

    def evaluate(_learner):
        teacher.signal(ask)
        return {"accuracy": 0.0}

    teacher.signal(ask)
    assert teacher.cost == Cost(teacher_calls=96)
    options = {"validation": Validation(evaluate), "evaluate_every": 2, **QUIET}
    result = quiet_fit(distil(teacher), batches(size=10), budget=Budget(steps=5), **options)
    assert result.cost.teacher_calls == result.parts["teacher"].teacher_calls == teacher.cost.teacher_calls == 50
    teacher.signal(ask)
    assert result.cost.teacher_calls == 50


def test_a_teacher_that_charges_nothing_costs_nothing():
    class Plain:
        def signal(self, batch):
            return RandomTeacher(3).signal(batch)

    assert quiet_fit(distil(Plain()), batches(), budget=Budget(steps=2), **QUIET).cost.teacher_calls == 0
    with pytest.raises(ConfigError, match="limits teacher_calls"):
        quiet_fit(distil(Plain()), batches(), budget=Budget(teacher_calls=2), **QUIET)


@pytest.mark.parametrize("stopped", [3, 7])
def test_a_run_that_was_cut_short_has_spent_what_a_whole_one_has(run_directory, monkeypatch, stopped):
    def teach(**options):
        teacher = Committee([cached(), RandomTeacher(3, seed=1)])
        examples = planted(labelled=0.5)
        source = Phases([batches(examples.select(torch.arange(60))), batches(examples, seed=2)], steps=5)
        return quiet_fit(distil(teacher), source, budget=Budget(steps=12, labels=90), **QUIET, **options)

    whole, left = teach(), [stopped]

    def interrupt(_method):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Method, "after_step", interrupt)
        cut = teach(run=run_directory)
    assert (cut.status, cut.steps) == ("interrupted", stopped)
    assert cut.cost.teacher_calls < whole.cost.teacher_calls
    rest = teach(run=run_directory, resume=True)
    assert rest.parts == whole.parts
    for axis in ("labels", "teacher_calls", "examples", "steps"):
        assert getattr(rest.cost, axis) == getattr(whole.cost, axis) > 0


@pytest.mark.slow
def test_two_processes_have_both_spent_what_one_spends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        import torch
        from test_ledger import Budget, QUIET, Committee, RandomTeacher, batches, distil, planted, quiet_fit
        teacher = Committee([RandomTeacher(3), RandomTeacher(3, seed=1)])
        source = batches(planted(labelled=0.5), size=11)
        result = quiet_fit(distil(teacher), source, budget=Budget(steps=3), **QUIET)
        parts = {{name: cost.as_dict() for name, cost in result.parts.items()}}
        torch.save([result.cost.as_dict(), parts], {str(tmp_path)!r} + "/" + os.environ.get("RANK", "alone"))
        """)
    )
    run_together([str(script)], 2)
    teacher = Committee([RandomTeacher(3), RandomTeacher(3, seed=1)])
    source = batches(planted(labelled=0.5), size=11)
    alone = quiet_fit(distil(teacher), source, budget=Budget(steps=3), **QUIET)
    assert alone.cost.teacher_calls == 66
    for rank in "01":
        cost, parts = torch.load(tmp_path / rank, weights_only=True)
        assert {name: Cost(**spent) for name, spent in parts.items()} == alone.parts
        for axis in ("labels", "teacher_calls", "examples", "steps", "flops"):
            assert cost[axis] == getattr(alone.cost, axis) > 0, axis


def test_a_ledger_by_itself():
    ledger = Ledger(labels=3)
    ledger.read([5, 7, 5], "one")
    ledger.read([7, 9], "other")
    assert (ledger.cost.labels, ledger.parts["one"].labels, ledger.parts["other"].labels) == (3, 2, 1)
    with pytest.raises(LabelsSpentError, match="allows 3 labels; 3 were read, and 1 more"):
        ledger.read([5, 11], "one")
    ledger.open = False
    ledger.read([11], "one")
    ledger.charge("teacher_calls", 4, "one")
    again = Ledger()
    again.load_state_dict(ledger.state_dict())
    assert (again.cost, again.parts) == (ledger.cost, ledger.parts)
    assert again.cost == Cost(labels=3)
    again.read([5, 7, 9, 11, 13], "one", each=[1, 1, 1, 2, 4])
    assert again.parts["one"].labels == 2 + 6
    with pytest.raises(ConfigError, match="one charges 'calls', but what is spent is labels, teacher_calls"):
        again.charge("calls", 1, "one")
