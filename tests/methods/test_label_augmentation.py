"""Label augmentation against the authors' terms, written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.label_augmentation import Config, LabelAugmentation
from didact.types import IGNORE, Batch, Terms
from transcribed import same_loss

X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 2, IGNORE, 1, 2])
BATCH = Batch({"x": X, "label": LABEL, "id": torch.arange(5)})


def log_softmax(rows):
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def make(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(20, 6), nn.Tanh(), nn.Linear(6, 3))
    return LabelAugmentation(Config(**options), ModuleLearner(net), BATCH)


def scores(method):
    """The own head's logits [B, C], and the joint ones averaged over rotations [B, C] and by rotation [K][B, C K]."""
    net = method.learner.module
    turns = [torch.from_numpy(np.rot90(X.numpy(), k, (2, 3)).copy()) for k in range(4)]
    with torch.no_grad():
        joint = [method.head.linear(net[:5](x)).double().numpy() for x in turns]
        own = net(X).double().numpy()
    return own, sum(joint[k][:, k::4] for k in range(4)) / 4, joint


def test_the_loss_is_that_of_the_authors():
    method = make(joint=0.7, weight=0.4, temperature=2.0)
    own, average, joint = scores(method)
    there = [b for b in range(5) if LABEL[b] >= 0]
    label = -np.mean([log_softmax(own)[b, LABEL[b]] for b in there])
    both = -np.mean([log_softmax(joint[k])[b, 4 * LABEL[b] + k] for b in there for k in range(4)])
    p, q = log_softmax(average / 2), log_softmax(own / 2)
    aggregate = 4 * (np.exp(p) * (p - q)).sum(-1).mean()
    terms = method.loss(BATCH)
    assert terms.total().item() == pytest.approx(label + 0.7 * both + 0.4 * aggregate, rel=1e-5)
    assert {name: float(count) for name, count in method.counts(BATCH).items()} == {
        name: float(term.count) for name, term in terms.items()
    }


def test_the_loss_and_its_gradient_are_those_of_create_sla_sd_trainer():
    """In its layout: the rotations of an example one after the other, and the joint head first."""
    method = make(temperature=2.0)
    net, seen = method.learner.module, LABEL >= 0
    turned = torch.stack([torch.rot90(X, k, (2, 3)) for k in range(4)], 1).flatten(0, 1)
    joint, single = method.head.linear(net[:5](turned)), net(turned)[::4]
    joint_labels = torch.stack([LABEL * 4 + k for k in range(4)], 1)[seen].flatten()
    average = sum(joint[k::4, k::4] / 4 for k in range(4)).detach()
    apart = F.kl_div((single / 2).log_softmax(1), (average / 2).softmax(1), reduction="batchmean") * 4
    rows = seen.repeat_interleave(4)
    expected = F.cross_entropy(joint[rows], joint_labels) + F.cross_entropy(single[seen], LABEL[seen]) + apart
    same_loss(method.loss(BATCH).total(), expected, [*net.parameters(), *method.head.parameters()])


def test_the_own_head_is_pulled_to_the_average_over_rotations():
    """The gradient of its bias is the mean difference of the two distributions; with a weight of zero, none."""
    own, average, _ = scores(make())
    expected = (np.exp(log_softmax(own)) - np.exp(log_softmax(average))).mean(0)
    for weight in (1.0, 0.0):
        method = make(weight=weight)
        term = method.loss(BATCH)["aggregate"]
        Terms(aggregate=term).total().backward()
        bias = method.learner.module[5].bias.grad.numpy()
        assert bias == pytest.approx(weight * expected, abs=1e-6)
        assert method.head.linear.weight.grad is None  # the average is a target
    assert np.abs(expected).max() > 1e-3


def test_text_is_refused():
    with pytest.raises(ConfigError, match="label_augmentation cannot rotate"):
        LabelAugmentation(Config(), make().learner, Batch({"id": torch.arange(2)}))
