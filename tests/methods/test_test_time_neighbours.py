"""Learning at test time: against a head that torch's own optimizer tunes, one input at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.adaptation.test_time_neighbours import Config, TestTimeNeighbours
from didact.types import Batch

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
BATCH = Batch({"x": X, "label": torch.arange(12) % 3, "id": torch.arange(12)})


def make(bias=True, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=bias))
    return TestTimeNeighbours(Config(**options), ModuleLearner(net), BATCH, seed=5)


@pytest.mark.parametrize("bias", [True, False])
def test_an_unsure_answer_is_that_of_a_head_that_torch_tuned(bias):
    method = make(bias, threshold=0.2, neighbours=7, radius=0.8, rate=0.4, head_steps=3)
    net = method.learner.module
    noise = torch.randn(7, 4, generator=torch.Generator().manual_seed(5))
    spread = 0.8 * ((X - X.mean(0)) ** 2).mean(0).sqrt()
    unsure, wanted = 0, []
    for x in X:
        logits = net(x)
        high, low = sorted((logits - logits.max()).softmax(0).tolist())[:0:-1]
        if high - low < 0.2:
            unsure += 1
            near = x + noise * spread
            logits = tuned(net, near, net(near).argmax(1), x)
        wanted.append(logits.detach())
    assert 0 < unsure < 12
    torch.testing.assert_close(method.delivered(BATCH).logits, torch.stack(wanted))


def tuned(net, near, said, x):
    """What a head answers that is tuned to the neighbours; one without a bias gets one, which starts at 0."""
    head = nn.Linear(6, 3)
    with torch.no_grad():
        head.weight.copy_(net[2].weight)
        head.bias.copy_(torch.zeros(3) if net[2].bias is None else net[2].bias)
        features = net[:2](near)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.4)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(head(features), said).backward()
        optimizer.step()
    return head(net[:2](x))


def test_an_answer_does_not_depend_on_what_else_is_asked():
    net = make(threshold=0.3).delivered
    whole = net(BATCH).logits
    parts = torch.cat([net(BATCH.select(torch.tensor([i]))).logits for i in range(12)])
    torch.testing.assert_close(parts, whole)


def test_who_cannot_learn_at_test_time_is_refused():
    with pytest.raises(ConfigError, match="no linear head to tune"):
        TestTimeNeighbours(Config(), ModuleLearner(nn.Conv1d(3, 2, 1)), BATCH)
    text = Batch({"input_ids": torch.ones(2, 3, dtype=torch.int64), "id": torch.arange(2)})
    with pytest.raises(ConfigError, match="no numbers as inputs"):
        TestTimeNeighbours(Config(), make().learner, text)


def test_a_run_delivers_a_net_that_learns_as_it_answers():
    result = didact.run("test_time_neighbours", data="wine", student="mlp:6", steps=5, progress=False)
    x = didact.worlds.load("wine").tensors["x"][:20]
    answer = result.student.learner(Batch({"x": x, "id": torch.arange(20)})).logits
    plain = result.student.learner.module.learner(Batch({"x": x, "id": torch.arange(20)})).logits
    assert answer.shape == plain.shape and not torch.equal(answer, plain)
