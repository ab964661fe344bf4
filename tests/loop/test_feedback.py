"""What sources are told of how their examples went, and curricula that learn from it, in whole runs."""

import pytest
import torch
from torch.nn import functional as F

from conftest import make_method, net, planted, quiet_fit
from didact.curricula import ByLoss, SelfPaced, Uniform
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.supervised import label_loss
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import IGNORE, Method, Term, Terms, Verdict

PLAIN = OptimizerConfig(name="sgd", lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")
QUIET = {"optimizer": PLAIN, "device": "cpu", "monitors": []}


class Told(Uniform):
    """In random order, and notes what it is told."""

    uses_feedback = True

    def __init__(self, size, seed=0):
        super().__init__(size, seed)
        self.told = []

    def update(self, index, progress):
        self.told.append((index, progress))


class TwoTerms(Method):
    """Labels, a pull towards even answers, a figure without a weight, and a term that is no sum over examples."""

    def __init__(self, learner):
        self.learner = learner

    def loss(self, batch):
        logits = self.learner(batch).logits
        even = torch.full_like(logits, 1 / 3).log()
        return Terms(
            label=label_loss(logits, batch["label"]),
            even=forward_kl(logits, even).times(0.5),
            watched=forward_kl(logits, even).times(0.0),
            weights=Term(sum(p.square().sum() for p in self.learner.parameters()), 1.0, 0.01),
        )

    def counts(self, batch):
        return {"label": (batch["label"] != IGNORE).sum(), "even": batch.size, "watched": batch.size, "weights": 1.0}


def told_by(method, examples, *, progress="total", **options):
    curriculum = Told(examples.size)
    source = BatchSource(examples, batch_size=20, curriculum=curriculum, progress=progress)
    quiet_fit(method, source, budget=Budget(steps=3), **QUIET, **options)
    return curriculum.told


def test_each_example_is_told_its_loss_before_the_step():
    examples, bare = planted(labelled=0.5), net()
    told = told_by(TwoTerms(ModuleLearner(net())), examples)
    assert len(told) == 3
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    for index, progress in told:
        x, label = examples.tensors["x"][index], examples.tensors["label"][index]
        logits = bare(x)
        rows = F.cross_entropy(logits, label, reduction="none", ignore_index=IGNORE)
        even = (torch.full_like(logits, 1 / 3) * (-torch.tensor(3.0).log() - logits.log_softmax(-1))).sum(-1)
        expected = torch.where(label == IGNORE, 0.0, rows) + 0.5 * even
        torch.testing.assert_close(progress, expected.detach(), rtol=1e-4, atol=1e-5)
        assert not progress.requires_grad
        optimizer.zero_grad()
        known = label != IGNORE
        penalty = 0.01 * sum(p.square().sum() for p in bare.parameters())
        (rows[known].mean() + 0.5 * even.mean() + penalty).backward()
        optimizer.step()


def test_one_term_may_be_told_and_says_nothing_of_an_example_without_a_label():
    examples = planted(labelled=0.5)
    for index, progress in told_by(TwoTerms(ModuleLearner(net())), examples, progress="label"):
        assert torch.equal(progress.isnan(), examples.tensors["label"][index] == IGNORE)


def test_a_batch_that_is_cut_is_told_whole():
    examples = planted(labelled=0.5)
    whole = told_by(make_method("distill"), examples)
    cut = told_by(make_method("distill"), examples, micro_batch=7)
    for (index, progress), (same, found) in zip(whole, cut, strict=True):
        assert torch.equal(index, same)
        torch.testing.assert_close(progress, found, equal_nan=True)


def test_a_step_that_is_not_taken_is_not_told():
    class Poisoned(Supervised):
        def loss(self, batch):
            terms = super().loss(batch)
            if self.step < 1:
                return terms
            return Terms(label=Term(terms["label"].sum * torch.nan, batch.size, rows=terms["label"].rows))

    assert len(told_by(Poisoned(Config(), ModuleLearner(net())), planted())) == 1


def test_a_loss_without_examples_is_refused():
    class Whole(Supervised):
        def loss(self, batch):
            return Terms(label=Term(super().loss(batch)["label"].sum, batch.size))

    with pytest.raises(ConfigError, match="progress is 'total', but the loss has no such term"):
        told_by(Whole(Config(), ModuleLearner(net())), planted())


# ---- curricula in whole runs


def noisy(size=90):
    """Points of which every sixth has another's label."""
    examples = planted(size)
    label = examples.tensors["label"].clone()
    label[::6] = (label[::6] + 1) % 3
    return examples.with_tensors(label=label)


def drawn(curriculum, *, steps, wrong):
    """How often the examples with a wrong label came in the last half of the steps."""
    method, seen = Supervised(Config(), ModuleLearner(net(16))), []

    class Noting(BatchSource):
        def __iter__(self):
            for batch in super().__iter__():
                seen.append(batch["row"])
                yield batch

    quiet_fit(method, Noting(noisy(), batch_size=15, curriculum=curriculum), budget=Budget(steps=steps), **QUIET)
    return torch.isin(torch.cat(seen[steps // 2 :]), wrong).float().mean().item()


def test_self_paced_leaves_wrong_labels_to_the_last_and_by_loss_seeks_them():
    wrong = torch.arange(0, 90, 6)
    easy = drawn(SelfPaced(90, warmup=5, start=0.5, growth=1.0), steps=120, wrong=wrong)
    plain = drawn(Uniform(90), steps=120, wrong=wrong)
    hard = drawn(ByLoss(90, uniform=0.0), steps=120, wrong=wrong)
    assert easy < 0.08 < plain < 0.25 < hard
    assert plain == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("kind", [SelfPaced, ByLoss])
def test_a_run_by_a_curriculum_is_resumed_to_the_bit(kind, tmp_path):
    class Asks:
        """Asks for a pause at a step."""

        def __init__(self, step):
            self.step = step

        def observe(self, window):
            return Verdict("pause" if window.step == self.step else "ok", "asks", 0.0, "A test wants it.")

    def go(directory, pause, *, resume=False):
        method = Supervised(Config(), ModuleLearner(net(dropout=0.2)))
        source = BatchSource(noisy(), batch_size=15, curriculum=kind(90, seed=3))
        options = {**QUIET, "monitors": [Asks(pause)], "log_every": 1, "run": tmp_path / directory, "resume": resume}
        return method, quiet_fit(method, source, budget=Budget(steps=50), **options)

    whole, _ = go("whole", 0)
    _, paused = go("cut", 23)
    assert (paused.status, paused.steps) == ("paused", 23)
    resumed, result = go("cut", 0, resume=True)
    assert result.steps == 50
    for one, other in zip(whole.learner.parameters(), resumed.learner.parameters(), strict=True):
        assert torch.equal(one, other)
