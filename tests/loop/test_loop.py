"""The loop: what it computes, when it ends, and what makes it stop."""

import json
import math
import os
import signal
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import METHODS, make_method, net, planted, quiet_fit, weights
from didact.errors import ConfigError, RunError
from didact.learners import ModuleLearner
from didact.loop import Budget, LoopConfig, OptimizerConfig, RunDirectory, Validation
from didact.loop.checkpoint import list_checkpoints
from didact.loop.flops import count_flops
from didact.loop.guard import Guard
from didact.loop.recorder import Recorder
from didact.losses.labels.supervised import cross_entropy
from didact.methods.supervised.supervised import Config, Supervised
from didact.parts.models import build_causal
from didact.sources import BatchSource
from didact.types import IGNORE, Batch, Cost, ExampleFeed, Method, Term, Terms, Verdict

QUIET = {"monitors": []}


def supervised(seed=0):
    return Supervised(Config(), ModuleLearner(net(seed=seed)))


def test_the_loop_is_a_bare_pytorch_loop_to_the_bit(problem):
    steps, method, bare = 40, supervised(), net()
    source = BatchSource(problem, batch_size=20, seed=1)
    quiet_fit(method, source, budget=Budget(steps=steps), device="cpu", **QUIET)

    optimizer = torch.optim.AdamW(bare.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01, fused=True)
    batches = iter(BatchSource(problem, batch_size=20, seed=1))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(bare(batch["x"]), batch["label"]).backward()
        optimizer.step()
    for mine, theirs in zip(method.learner.module.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def taught_in_parts(name, micro_batch):
    """The losses and the weights of three steps, whose batches are cut."""
    method = make_method(name)
    source = BatchSource(planted(labelled=0.4), batch_size=40, views=method.feed.views)
    options = {"optimizer": OptimizerConfig(name="sgd", lr=0.1), "device": "cpu", "log_every": 1, **QUIET}
    result = quiet_fit(method, source, budget=Budget(steps=3), micro_batch=micro_batch, **options)
    return [record["loss/total"] for record in result.history], weights(method)


@pytest.mark.parametrize("name", METHODS)
def test_cutting_a_batch_changes_nothing(name):
    losses, whole = taught_in_parts(name, None)
    for micro_batch in (1, 7, 20, 64):
        found, cut = taught_in_parts(name, micro_batch)
        assert found == pytest.approx(losses, rel=1e-4), micro_batch
        for key, value in whole.items():
            torch.testing.assert_close(cut[key], value, rtol=1e-4, atol=1e-6)


def test_padding_with_unlabelled_examples_changes_nothing(batch):
    padded = Batch({k: torch.cat([t, t[:5]]) for k, t in batch.items()})
    padded["label"][-5:] = IGNORE
    gradients = []
    for one in (batch, padded):
        method = supervised()
        method.loss(one).backward()
        gradients.append([p.grad for p in method.parameters()])
    for plain, other in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, other)


def test_terms_divide_once_by_the_global_count():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    whole = Terms(a=Term((x**2).sum(), torch.tensor(4), 2.0), b=Term(x[:1].sum(), 1))
    whole.backward()
    expected = (2.0 * 2 * x.detach() / 4) + torch.tensor([1.0, 0, 0, 0])
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)
    assert whole.total().item() == pytest.approx(2.0 * 30 / 4 + 1.0)

    x.grad = None
    for part in (x[:3], x[3:]):
        count = {"a": torch.tensor(4), "b": 1}
        terms = Terms(a=Term((part**2).sum(), torch.tensor(len(part)), 2.0))
        if len(part) == 3:
            terms["b"] = Term(part[:1].sum(), 1)
        terms.backward(count)
    torch.testing.assert_close(x.grad, expected)


def test_a_term_with_nothing_to_count_gives_no_gradient_and_no_nan():
    logits = torch.zeros(2, 3, requires_grad=True)
    terms = Terms(label=cross_entropy(logits, torch.full((2,), IGNORE)), other=Term(logits.sum(), 2))
    terms.backward()
    assert terms.total().item() == 0.0
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0.5] * 6


class Poisoned(Supervised):
    """Gives a loss that is not finite once, at a given call."""

    def __init__(self, at, where="loss"):
        super().__init__(Config(), ModuleLearner(net()))
        self.at, self.where, self.calls = at, where, 0

    def loss(self, batch):
        terms = super().loss(batch)
        self.calls += 1
        if self.calls == self.at:
            if self.where == "loss":
                terms["label"] = Term(terms["label"].sum * float("inf"), 1)
            else:
                # sqrt has an infinite derivative at 0: a finite loss with a gradient that is not.
                weight = next(self.learner.parameters())
                terms["bad"] = Term((weight * 0).abs().sum().sqrt(), 1)
        return terms


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_not_finite_halts_before_the_weights_change(problem, where):
    method, calm = Poisoned(8, where), supervised()
    options = {"optimizer": OptimizerConfig(schedule="constant")}
    result = quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(steps=30), **options)
    quiet_fit(calm, BatchSource(problem, batch_size=20), budget=Budget(steps=7), **options)
    assert result.status == "stopped"
    assert result.steps == 7
    assert "7" in result.reason
    assert "finite" in result.reason or "inf" in result.reason
    for mine, theirs in zip(method.parameters(), calm.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_halting_without_waiting_for_the_device(problem, monkeypatch, name, where):
    """The way that a GPU takes, on the CPU, whose fused kernels know the flag too."""

    def defer(kind):
        plain = kind.__init__

        def init(self, *args):
            plain(self, *args)
            self.at_once = False

        monkeypatch.setattr(kind, "__init__", init)

    options = {"optimizer": OptimizerConfig(name=name, schedule="constant"), "device": "cpu"}
    method, calm = Poisoned(8, where), supervised()
    quiet_fit(calm, BatchSource(problem, batch_size=20), budget=Budget(steps=7), **options)
    defer(Guard)
    defer(Recorder)
    result = quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(steps=30), clip_norm=100.0, **options)
    assert (result.status, result.steps) == ("stopped", 7)
    for mine, theirs in zip(method.parameters(), calm.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_halting_needs_no_monitor(problem):
    result = quiet_fit(Poisoned(3), BatchSource(problem, batch_size=20), budget=Budget(steps=30), **QUIET)
    assert (result.status, result.steps) == ("stopped", 2)


class Says:
    """A monitor that asks for something at a given step."""

    def __init__(self, level, at, times=1):
        self.action, self.at, self.times = level, at, times

    def observe(self, window):
        if window.step >= self.at and self.times:
            self.times -= 1
            return Verdict(self.action, "Says", float(window.step), "It was asked to.")
        return Verdict("ok", "Says", 0.0, "All is well.")


@pytest.mark.parametrize(("level", "status"), [("warn", "done"), ("pause", "paused"), ("stop", "stopped")])
def test_the_loop_does_what_a_monitor_asks(problem, run_directory, level, status):
    result = quiet_fit(
        supervised(),
        BatchSource(problem, batch_size=20),
        budget=Budget(steps=40),
        monitors=[Says(level, 20)],
        log_every=10,
        run=run_directory,
    )
    assert result.status == status
    assert result.steps == (40 if status == "done" else 20)
    assert [(step, verdict.level) for step, verdict in result.verdicts] == [(20, level)]
    record = json.loads((run_directory / "verdicts.jsonl").read_text())
    assert (record["step"], record["level"], record["reason"]) == (20, level, "It was asked to.")
    if status == "paused":
        resumed = quiet_fit(
            supervised(),
            BatchSource(problem, batch_size=20),
            budget=Budget(steps=40),
            run=run_directory,
            resume=True,
            **QUIET,
        )
        assert (resumed.status, resumed.steps) == ("done", 40)


def test_rolling_back_restores_the_weights_and_halves_the_rate(problem, run_directory):
    seen = {}

    class Spy(Supervised):
        def loss(self, batch):
            seen.setdefault(len(seen), next(self.parameters_at()))
            return super().loss(batch)

        def parameters_at(self):
            yield self.learner.module[0].weight.detach().clone()

    method = Spy(Config(), ModuleLearner(net()))
    result = quiet_fit(
        method,
        BatchSource(problem, batch_size=20),
        budget=Budget(steps=40),
        monitors=[Says("roll_back", 30)],
        optimizer=OptimizerConfig(schedule="constant"),
        log_every=10,
        checkpoint_every=20,
        run=run_directory,
    )
    assert result.status == "done"
    assert torch.equal(seen[30], seen[20])
    assert not torch.equal(seen[29], seen[20])
    assert result.history[-1]["lr"] == pytest.approx(0.5e-3)


def test_rolling_back_without_checkpoints_is_refused(problem):
    with pytest.raises(ConfigError, match="roll back, which needs checkpoints"):
        quiet_fit(
            supervised(),
            BatchSource(problem, batch_size=20),
            budget=Budget(steps=5),
            monitors=[Says("roll_back", 1)],
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_ends_the_run(problem, run_directory, number):
    method = supervised()
    before = signal.getsignal(number)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), number)).start()
    result = quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(seconds=60), run=run_directory)
    assert result.status == "interrupted"
    assert signal.getsignal(number) is before
    assert int(list_checkpoints(run_directory / "checkpoints")[0].name.split("-")[1]) == result.steps > 0


def test_budgets_on_each_axis(problem):
    def spent(**budget):
        method = make_method("distill")
        return quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(**budget), **QUIET).cost

    assert spent(steps=7).steps == 7
    # Epochs of 96 in batches of 20 have 5 steps.
    assert (spent(epochs=2).steps, spent(epochs=2).examples) == (10, 192)
    assert spent(teacher_calls=100).teacher_calls == 116
    assert spent(seconds=0.05).seconds >= 0.05
    assert spent(steps=500, teacher_calls=40).steps == 2


@pytest.mark.parametrize("axis", ["steps", "epochs", "labels", "teacher_calls", "tokens", "env_steps", "seconds"])
def test_a_budget_of_zero_is_refused(axis):
    with pytest.raises(ConfigError, match=f"budget of {axis} is 0, but must be above 0"):
        Budget(**{axis: 0})


@pytest.mark.parametrize("amount", [float("inf"), float("nan")])
def test_a_budget_without_an_end_is_refused(amount):
    with pytest.raises(ConfigError, match=r"The budget of epochs is (inf|nan), but must be"):
        Budget(epochs=amount)


def test_budgets_that_cannot_be_held(problem):
    with pytest.raises(ConfigError, match="no limit"):
        Budget()


def test_flops_are_counted_by_hand(problem):
    result = quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), device="cpu", **QUIET)
    # Forward 2·(4·8 + 8·3) a example; backward as much for weights, and 2·8·3 for the hidden layer. 96 examples.
    assert result.cost.flops == 96 * (2 * (2 * (4 * 8 + 8 * 3)) + 2 * 8 * 3)


def test_flops_are_counted_anew_in_each_stage(problem):
    """A stage is told by the names of its terms; the step that begins it is charged as the one before."""
    method = supervised()
    first = method.loss

    def loss(batch):
        terms = first(batch)
        if method.step < 4:
            return terms
        return Terms(**terms, size=Term(method.learner(batch).logits.square().sum(), batch.size))

    method.loss = loss
    source = BatchSource(problem, batch_size=24)
    result = quiet_fit(method, source, budget=Budget(steps=8), device="cpu", **QUIET)
    # By hand as above, of 24 examples; the second stage has two passes, forward and backward.
    once = 24 * (2 * (2 * (4 * 8 + 8 * 3)) + 2 * 8 * 3)
    assert result.cost.flops == 5 * once + 3 * 2 * once


def test_counting_flops_changes_no_digit():
    learner = build_causal("decoder:2x32")
    ids = torch.randint(4, 200, (16, 12), generator=torch.Generator().manual_seed(0))
    batch = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def gradients():
        learner(batch).logits.logsumexp(-1).sum().backward()
        found = [p.grad for p in learner.parameters()]
        for parameter in learner.parameters():
            parameter.grad = None
        return found

    counted, flops = count_flops(gradients, [])
    assert flops > 0
    assert all(torch.equal(one, other) for one, other in zip(counted, gradients(), strict=True))


def test_flops_leave_the_teacher_out(problem):
    flops = [
        quiet_fit(
            make_method(name), BatchSource(problem, batch_size=20), budget=Budget(steps=5), device="cpu", **QUIET
        ).cost.flops
        for name in ("supervised", "distill")
    ]
    assert flops[0] == flops[1] > 0


def test_clipping_bounds_the_step(problem):
    options = {"optimizer": lambda p: torch.optim.SGD(p, lr=1.0), "device": "cpu", **QUIET}
    method = supervised()
    before = [p.detach().clone() for p in method.parameters()]
    result = quiet_fit(method, BatchSource(problem, batch_size=96), budget=Budget(steps=1), clip_norm=0.01, **options)
    moved = torch.stack([(p - b).square().sum() for p, b in zip(method.parameters(), before, strict=True)]).sum().sqrt()
    assert moved.item() == pytest.approx(0.01, rel=1e-4)
    assert result.history[-1]["grad_norm"] > 0.01


@pytest.mark.parametrize(
    ("schedule", "at_half"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)], ids=lambda v: str(v)
)
def test_schedules(schedule, at_half):
    config = OptimizerConfig(schedule=schedule, warmup=0.2)
    assert config.factor(0.1) == pytest.approx(0.5)
    assert config.factor(0.6) == pytest.approx(at_half)
    assert config.factor(1.0) == pytest.approx(1.0 if schedule == "constant" else 0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizers_go_downhill(problem, name):
    method = supervised()
    optimizer = OptimizerConfig(name=name, lr=0.1 if name == "sgd" else 1e-2)
    result = quiet_fit(
        method,
        BatchSource(problem, batch_size=32),
        budget=Budget(steps=150),
        optimizer=optimizer,
        log_every=25,
        **QUIET,
    )
    losses = [record["loss/total"] for record in result.history]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("name", "adamx", "Did you mean adam"),
        ("lr", 0.0, "lr is 0.0, but must be above 0"),
        ("weight_decay", -1.0, "weight_decay is -1"),
        ("momentum", 1.0, "below 1"),
        ("schedule", "cosin", "Did you mean cosine"),
        ("warmup", 1.0, "warmup is 1"),
    ],
)
def test_optimizer_settings_out_of_range(field, value, match):
    with pytest.raises(ConfigError, match=match):
        OptimizerConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("precision", "half", "precision is 'half'"),
        ("clip_norm", -1.0, "clip_norm is -1.0, but must be at least 0"),
        *((name, 0, f"{name} is 0") for name in ("micro_batch", "log_every", "evaluate_every", "checkpoint_every")),
        ("keep_checkpoints", 0, "keep_checkpoints is 0"),
    ],
)
def test_loop_settings_out_of_range(field, value, match):
    with pytest.raises(ConfigError, match=match):
        LoopConfig(**{field: value})


def test_an_evaluation_that_nothing_measures_is_refused(problem):
    with pytest.raises(ConfigError, match="evaluate_every is 5, but there is no `validation`"):
        quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), evaluate_every=5)
    with pytest.raises(ConfigError, match="select is 'first'"):
        Validation(lambda _: {}, select="first")
    with pytest.raises(ConfigError, match="metric is 'accuracy', but the evaluation gives nll"):
        validation = Validation(lambda _: {"nll": 0.5})
        quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), validation=validation)


def test_a_learner_without_parameters_is_refused(problem):
    method = supervised()
    method.learner.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(steps=5), **QUIET)


def test_micro_batches_are_refused_where_they_would_weigh_wrongly(problem):
    class Coupled(Supervised):
        feed = ExampleFeed(coupled=True)

    class Uncounted(Supervised):
        counts = Method.counts

    class Miscounted(Supervised):
        def counts(self, batch):
            return {"label": batch.size + 1}

    for kind, layers, match in [
        (Coupled, (), "compares the examples"),
        (Supervised, (nn.BatchNorm1d(3),), "has batch normalisation"),
        (Uncounted, (), "has no `counts`"),
        (Miscounted, (), "counted 96 where 97"),
    ]:
        method = kind(Config(), ModuleLearner(nn.Sequential(net(), *layers), head=None))
        with pytest.raises(ConfigError, match=match):
            quiet_fit(method, BatchSource(problem, batch_size=96), budget=Budget(steps=5), micro_batch=8, **QUIET)


@pytest.mark.parametrize("stop", [None, 15, 25])
@pytest.mark.parametrize("select", ["last", "best"])
def test_the_best_weights_are_delivered_where_they_are_wanted(problem, tmp_path, stop, select):
    weights, scores = {}, {0: 0.1, 10: 0.3, 20: 0.9, 30: math.nan, 40: 0.2}

    class Notes(Supervised):
        def after_step(self):
            weights[self.step + 1] = self.learner.module[0].weight.detach().clone()
            if self.step + 1 == stop and len(weights) == stop:
                os.kill(os.getpid(), signal.SIGTERM)

    for resume in (False, True) if stop else (False,):
        method = Notes(Config(), ModuleLearner(net()))
        result = quiet_fit(
            method,
            BatchSource(problem, batch_size=20),
            budget=Budget(steps=40),
            validation=Validation(lambda _: {"accuracy": scores[max(weights, default=0)]}, select=select),
            evaluate_every=10,
            run=tmp_path / "run" if stop else None,
            resume=resume,
            **QUIET,
        )
    assert result.best == {"accuracy": 0.9, "step": 20}
    assert torch.equal(method.learner.module[0].weight, weights[20 if select == "best" else 40])


def test_lower_is_better_for_losses(problem):
    scores = iter([0.5, 0.3, 0.9])
    result = quiet_fit(
        supervised(),
        BatchSource(problem, batch_size=20),
        budget=Budget(steps=20),
        validation=Validation(lambda _: {"nll": next(scores)}, metric="nll"),
        evaluate_every=10,
        **QUIET,
    )
    assert result.best == {"nll": 0.3, "step": 10}


def test_only_the_last_checkpoints_are_kept(problem, run_directory):
    options = {"run": run_directory, "checkpoint_every": 5, "keep_checkpoints": 2, **QUIET}
    quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=30), **options)
    names = [path.name for path in list_checkpoints(run_directory / "checkpoints")]
    assert names == ["step-0000000030", "step-0000000025"]


def test_a_directory_in_use_is_refused(problem, run_directory):
    held = RunDirectory(run_directory)
    with pytest.raises(RunError, match=rf"in use by a live run \(process {os.getpid()}\)"):
        quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), run=run_directory, **QUIET)
    held.close()
    quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), run=run_directory, **QUIET)


def test_the_callers_generator_is_given_back(problem):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    quiet_fit(
        make_method("supervised", dropout=0.5), BatchSource(problem, batch_size=20), budget=Budget(steps=5), **QUIET
    )
    assert torch.equal(torch.rand(3), expected)


def test_the_same_seed_gives_the_same_weights(problem):
    def final(seed):
        method = make_method("supervised", dropout=0.5)
        quiet_fit(
            method, BatchSource(problem, batch_size=20), budget=Budget(steps=20), seed=seed, device="cpu", **QUIET
        )
        return method.learner.module[0].weight

    assert torch.equal(final(1), final(1))
    assert not torch.equal(final(1), final(2))


def test_costs_add_up():
    total = Cost(labels=3, seconds=1.5, peak_memory=10) + Cost(labels=2, seconds=0.5, peak_memory=7)
    assert (total.labels, total.seconds, total.peak_memory) == (5, 2.0, 10)


def test_bfloat16_on_the_cpu_trains(problem):
    method = supervised()
    options = {"precision": "bfloat16", "device": "cpu", "log_every": 25, **QUIET}
    result = quiet_fit(
        method,
        BatchSource(problem, batch_size=32),
        budget=Budget(steps=150),
        optimizer=OptimizerConfig(lr=1e-2),
        **options,
    )
    assert result.history[-1]["loss/total"] < 0.5 * result.history[0]["loss/total"]
    assert method.learner.module[0].weight.dtype == torch.float32


def test_an_unknown_device_is_refused(problem):
    with pytest.raises(ConfigError, match="device is 'cuda:77'"):
        quiet_fit(supervised(), BatchSource(problem, batch_size=20), budget=Budget(steps=5), device="cuda:77", **QUIET)


@pytest.mark.parametrize("stop", [None, 15, 35])
@pytest.mark.parametrize(("patience", "end"), [(None, 60), (1, 20), (2, 50), (4, 60)])
def test_evaluations_that_do_not_improve_end_a_run_at_the_same_step_however_it_is_stopped(
    tmp_path, problem, patience, end, stop
):
    scores = {0: 0.1, 10: 0.5, 20: 0.4, 30: 0.6, 40: 0.6, 50: 0.2, 60: 0.3}
    taken = []

    class Counts(Supervised):
        def after_step(self):
            taken.append(self.step + 1)
            if len(taken) == stop:
                os.kill(os.getpid(), signal.SIGINT)

    for resume in [False, True][: 2 if stop else 1]:
        result = quiet_fit(
            Counts(Config(), ModuleLearner(net())),
            BatchSource(problem, batch_size=20),
            budget=Budget(steps=60),
            validation=Validation(lambda _: {"accuracy": scores[taken[-1] if taken else 0]}, select="best"),
            evaluate_every=10,
            patience=patience,
            run=tmp_path / "run",
            resume=resume,
            **QUIET,
        )
        assert result.status == ("done" if resume or not stop or stop > end else "interrupted")
    assert result.steps == max(taken) == end
    assert result.best["step"] == (10 if end == 20 else 30)
    assert result.reason.startswith("No evaluation has been better" if end < 60 else "The budget is used up")


def test_patience_without_evaluations_is_refused(problem):
    method = Supervised(Config(), ModuleLearner(net()))
    with pytest.raises(ConfigError, match="patience is 2, but nothing is evaluated"):
        quiet_fit(method, BatchSource(problem, batch_size=20), budget=Budget(steps=5), patience=2, **QUIET)
