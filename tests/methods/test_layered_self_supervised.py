"""Layered self-supervised distillation against a transcription."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.layered_self_supervised import Config, LayeredSelfSupervised
from didact.types import IGNORE, Batch
from transcribed import same_loss

X = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 2, IGNORE, 1, IGNORE, 2])
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(6)})


def log_softmax(rows):
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(20, 6), nn.Tanh(), nn.Linear(6, 3))
    return LayeredSelfSupervised(Config(**options), ModuleLearner(net), BATCH)


def test_the_loss_is_that_of_all_stages():
    method = make(auxiliary=0.8, weight=0.6, temperature=2.0)
    assert method.taps == ("0", "3")
    net, heads = method.learner.module, method.heads
    turns = [torch.from_numpy(np.rot90(X.numpy(), k, (2, 3)).copy()) for k in range(4)]
    with torch.no_grad():
        logits = net(X).double().numpy()
        joint = [
            [heads[0].linear(net[:1](x).mean((2, 3))).double().numpy() for x in turns],
            [heads[1].linear(net[:4](x)).double().numpy() for x in turns],
        ]
    there = [b for b in range(6) if LABEL[b] >= 0]
    label = -np.mean([log_softmax(logits)[b, LABEL[b]] for b in there])
    own = [-np.mean([log_softmax(joint[s][k])[b, 4 * LABEL[b] + k] for b in there for k in range(4)]) for s in range(2)]
    p, q = (np.array([log_softmax(rows / 2.0) for rows in joint[s]]) for s in (1, 0))
    deeper = 4.0 * (np.exp(p) * (p - q)).sum(-1).mean()
    scores = np.array([[np.mean([joint[1][k][b, 4 * c + k] for k in range(4)]) for c in range(3)] for b in range(6)])
    p, q = log_softmax(scores / 2.0), log_softmax(logits / 2.0)
    final = 4.0 * (np.exp(p) * (p - q)).sum(-1).mean()
    expected = label + 0.8 / 2 * sum(own) + 0.6 / 2 * (deeper + final)
    terms = method.loss(BATCH)
    assert terms.total().item() == pytest.approx(expected, rel=1e-5)
    assert {name: float(count) for name, count in method.counts(BATCH).items()} == {
        name: float(term.count) for name, term in terms.items()
    }


def test_the_loss_and_its_gradient_in_torch():
    method = make(auxiliary=0.8, weight=0.6, temperature=2.0)
    net, heads, seen = method.learner.module, method.heads, LABEL >= 0
    turns = [torch.rot90(X, k, (2, 3)) for k in range(4)]
    shallow = torch.cat([heads[0].linear(net[:1](x).mean((2, 3))) for x in turns])
    deep = torch.cat([heads[1].linear(net[:4](x)) for x in turns])
    logits, labels = net(X), torch.cat([torch.where(seen, 4 * LABEL + k, IGNORE) for k in range(4)])

    def kl(mine, theirs):
        target = (theirs / 2.0).softmax(1).detach()
        return 4.0 * F.kl_div((mine / 2.0).log_softmax(1), target, reduction="batchmean")

    average = sum(deep[6 * k : 6 * (k + 1), k::4] for k in range(4)) / 4
    own = sum(F.cross_entropy(joint, labels, ignore_index=IGNORE) for joint in (shallow, deep))
    expected = F.cross_entropy(logits, LABEL, ignore_index=IGNORE) + 0.8 / 2 * own
    expected = expected + 0.6 / 2 * (kl(shallow, deep) + kl(logits, average))
    same_loss(method.loss(BATCH).total(), expected, [*net.parameters(), *heads.parameters()])


def test_what_is_deeper_learns_nothing_from_what_is_shallower():
    method = make()
    method.loss(BATCH)["deeper_0"].sum.backward()
    assert method.heads[1].linear.weight.grad is None
    assert method.learner.module[3].weight.grad is None
    assert method.heads[0].linear.weight.grad.abs().sum() > 0


def test_what_is_delivered_has_no_auxiliary_heads():
    method = make()
    assert method.delivered is method.learner
    assert sum(p.numel() for p in method.delivered.parameters()) == 5 * 9 + 5 + 20 * 6 + 6 + 6 * 3 + 3


def test_text_is_refused():
    tokens = Batch({"input_ids": torch.zeros(2, 3).long(), "id": torch.arange(2)})
    with pytest.raises(ConfigError, match="text"):
        LayeredSelfSupervised(Config(), ModuleLearner(nn.Linear(3, 2)), tokens)


@pytest.mark.parametrize("options", [{"auxiliary": 0.0}, {"weight": -1.0}, {"temperature": 0.0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)
