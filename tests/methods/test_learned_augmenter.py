"""Augmenters that learn through a step of the student, against the authors' three losses, written out."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.pairs.views import too_alike
from didact.methods.semi_supervised.learned_augmenter import Config, LearnedAugmenter
from didact.types import IGNORE, Batch

HALF = planted(10, labelled=0.5, seed=3).batch()
X, LABEL = HALF["x"], HALF["label"]
KNOWN = LABEL != IGNORE
BATCH = Batch({**HALF, "first.x": X + 0.1, "second.x": X - 0.3})


def scores(a, b, tau):
    """Their `contrast` with cosines: the similarity of each anchor's positive [2B, 1], and its negatives."""
    size = len(a)
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.T / tau
    positive, negative = [], []
    for i in range(2 * size):
        own = (i + size) % (2 * size)
        positive.append(sim[i, own].view(1))
        negative.append(torch.stack([sim[i, j] for j in range(2 * size) if j not in (i, own)]))
    return torch.stack(positive), torch.stack(negative)


def info_nce(a, b, tau):
    positive, negative = scores(a, b, tau)
    return F.cross_entropy(torch.cat([positive, negative], 1), torch.zeros(len(positive), dtype=torch.int64))


def meta_contrast_rl(a, b, tau):
    """Their regulariser, which compares a tensor with one number in each row."""
    p, n = scores(a, b, tau)
    both = torch.cat([p, n.max(1).values[:, None]], 1)
    low, high = both.min(1).values[:, None], both.max(1).values[:, None]
    return torch.clamp(p - low, min=0).mean() + torch.clamp(high - n, min=0).mean()


def meta_contrast(h0, h1, augmenters, tau):
    """Their `meta_contrast` with `use_rl`."""
    h2, h3 = augmenters[0](h0), augmenters[1](h1)
    pairs = ((h0, h3), (h1, h2), (h2, h3))
    return sum(info_nce(*pair, tau) for pair in pairs) + 0.1 * sum(meta_contrast_rl(*pair, tau) for pair in pairs)


@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_the_augmenters_learn_at_the_weights_ahead(rate):
    config = Config(contrast=0.3, learned=0.2, rate=rate, temperature=0.6)
    method = LearnedAugmenter(config, ModuleLearner(net()))
    student = net()
    augmenters = copy.deepcopy(method.augmenters)

    def hidden(module):
        return module[:-1](X + 0.1), module[:-1](X - 0.3)

    first, second = hidden(student)
    of_student = F.cross_entropy(student(X)[KNOWN], LABEL[KNOWN]) + 0.3 * info_nce(first, second, 0.6)
    of_student = of_student + 0.2 * meta_contrast(first, second, augmenters, 0.6)
    slopes = torch.autograd.grad(of_student, list(student.parameters()))
    with torch.no_grad():
        ahead = net()
        for weight, slope in zip(ahead.parameters(), slopes, strict=True):
            weight -= rate * slope
        moved = hidden(ahead)
    told = torch.autograd.grad(meta_contrast(*moved, augmenters, 0.6), list(augmenters.parameters()))

    terms = method.loss(BATCH)
    groups = {name: group.parameters() for name, group in method.groups().items()}
    terms.backward(groups=groups)
    for found, wanted in zip(method.learner.parameters(), slopes, strict=True):
        torch.testing.assert_close(found.grad, wanted, rtol=1e-4, atol=1e-6)
    for found, wanted in zip(method.augmenters.parameters(), told, strict=True):
        torch.testing.assert_close(found.grad, wanted, rtol=1e-4, atol=1e-6)
    for one, other in zip(method.learner.parameters(), student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_views_that_are_less_alike_than_others_cost_what_others_lack():
    first = torch.eye(3)
    found = too_alike(first, first.roll(1, 0), temperature=0.5)
    # The positive is 0, and so is the largest negative but for an anchor's twin, which is 2.
    p, n = np.zeros(6), np.tile([2.0, 0.0, 0.0, 0.0], (6, 1))
    assert float(found.mean()) == pytest.approx(np.mean(p - np.minimum(p, 2.0) + (2.0 - n).mean(1)))
    same = too_alike(first, first, temperature=0.5)
    assert float(same.mean()) == pytest.approx(2.0 + 2.0)


def test_a_student_without_a_head_is_refused():
    with pytest.raises(ConfigError, match="no linear head, of whose input learned_augmenter"):
        LearnedAugmenter(Config(), ModuleLearner(nn.Sequential(nn.Conv1d(1, 2, 1)), head=None))
