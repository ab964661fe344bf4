"""predict leaves no trace on the learner and the generators, and asks in order."""

import pytest
import torch
from torch import nn

from didact.errors import DataError, RunError
from didact.evaluation import Predictions, metrics, predict
from didact.types import IGNORE, Examples, Output


class Net(nn.Module):
    """A stand-in for a learner, with everything that could betray a careless evaluation."""

    def __init__(self, width=3, classes=4):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.drop, self.head = nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, classes)
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(batch.size)
        assert torch.is_inference_mode_enabled()
        return Output(logits=self.head(self.drop(self.norm(batch["x"]))))


def examples(count=10, width=3, classes=4):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        "x": torch.randn(count, width, generator=generator),
        "label": torch.randint(0, classes, (count,), generator=generator),
        "id": torch.arange(count),
    }
    return Examples(tensors=tensors, task="classification", modality="table", classes=tuple("abcd"[:classes]))


def test_answers_are_those_of_evaluation_mode_in_order_however_they_are_cut():
    net, given = Net(), examples()
    found = predict(net, given, batch_size=4)
    assert net.sizes == [4, 4, 2]
    whole = predict(net, given)
    normed = given.tensors["x"] / (1 + net.norm.eps) ** 0.5
    expected = normed @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(found.logits, expected.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.logits, whole.logits)
    assert torch.equal(found.labels, given.tensors["label"])
    assert found.classes == given.classes and found.size == 10


def test_modes_statistics_and_generators_are_as_before():
    net = Net().train()
    net.drop.eval()
    before, running = torch.get_rng_state(), net.norm.running_mean.clone()
    predict(net, examples())
    assert (net.training, net.norm.training, net.drop.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(net.norm.running_mean, running)


def test_modes_are_put_back_after_a_failure():
    net = Net().train()
    with pytest.raises(RuntimeError):
        predict(net, examples(width=5))
    assert net.training and net.drop.training


def test_a_learner_that_draws_in_evaluation_mode_leaves_the_generator_alone():
    before = torch.get_rng_state()
    found = predict(lambda batch: Output(logits=torch.randn(batch.size, 4)), examples(), batch_size=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(found.logits[:5], found.logits[5:])


def test_the_answers_are_ordinary_tensors():
    weight = nn.Parameter(torch.ones(4))
    (predict(Net(), examples()).logits * weight).sum().backward()
    assert weight.grad is not None


def test_only_labelled_examples_are_scored():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    found = Predictions(logits=logits, labels=torch.tensor([0, IGNORE, 0]), task="classification")
    assert metrics(found)["accuracy"] == 0.5
    values = Predictions(
        logits=torch.tensor([[1.0], [5.0]]), labels=torch.tensor([3.0, float("nan")]), task="regression"
    )
    assert metrics(values)["mae"] == 2.0


def test_what_cannot_be_scored_is_refused():
    none = Predictions(logits=torch.zeros(2, 2), labels=torch.tensor([IGNORE, IGNORE]), task="classification")
    with pytest.raises(DataError, match="None of the 2"):
        metrics(none)
    broken = Predictions(
        logits=torch.tensor([[0.0, float("nan")], [0.0, 1.0]]), labels=torch.tensor([0, 1]), task="classification"
    )
    with pytest.raises(RunError, match="1 of 2"):
        metrics(broken)
    with pytest.raises(DataError, match="no examples"):
        predict(Net(), examples().select(torch.tensor([], dtype=torch.int64)))
