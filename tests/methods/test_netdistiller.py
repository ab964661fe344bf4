"""NetDistiller's losses and gradient surgery against a transcription on a net whose wiring is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.distillation.netdistiller import Config, NetDistiller

BATCH = planted(12).batch()


def make(**options):
    return NetDistiller(Config(expansion=2, **options), ModuleLearner(net(5)), BATCH, seed=3)


def losses(method, temperature, weight):
    """The two losses, from the wide net's matrices alone."""
    first, last = method.wide.module[0], method.wide.module[3]
    x, label = BATCH["x"], BATCH["label"]
    wide = F.relu(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    tiny = F.relu(x @ first.weight[:5].T + first.bias[:5]) @ last.weight[:, :5].T + last.bias
    soft, mine = (wide.detach() / temperature).softmax(-1), (tiny / temperature).log_softmax(-1)
    kl = temperature**2 * (soft * (soft.log() - mine)).sum(-1)
    return F.cross_entropy(tiny, label) + weight * kl.mean(), F.cross_entropy(wide, label)


@pytest.mark.parametrize("surgery", [True, False])
def test_each_net_learns_and_conflicts_are_taken_out_of_the_wide_ones_gradient(surgery):
    method = make(surgery=surgery, temperature=2.0, weight=0.7)
    weights = list(method.wide.parameters())
    with torch.no_grad():
        # The tiny net is drawn to the last class, and the wide net, by its new half, to the first.
        first, last = method.wide.module[0], method.wide.module[3]
        last.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
        first.weight[5:], first.bias[5:] = 0.0, 1.0
        last.weight[:, 5:] = torch.tensor([[0.5], [0.0], [-0.5]])
    tiny, wide = losses(method, 2.0, 0.7)
    kept = torch.autograd.grad(tiny, weights, retain_graph=True)
    added = torch.autograd.grad(wide, weights)
    flat_kept, flat_added = (torch.cat([g.flatten() for g in gs]) for gs in (kept, added))
    product = flat_kept @ flat_added
    assert product < 0
    if surgery:
        flat_added = flat_added - product / (flat_kept @ flat_kept) * flat_kept
    terms = method.loss(BATCH)
    terms.backward()
    found = torch.cat([p.grad.flatten() for p in weights])
    assert terms["tiny"].mean().item() == pytest.approx(tiny.item(), rel=1e-5)
    assert terms["wide"].mean().item() == pytest.approx(wide.item(), rel=1e-5)
    torch.testing.assert_close(found, flat_kept + flat_added, rtol=1e-4, atol=1e-6)


def test_what_is_delivered_is_cut_out_after_each_step():
    method = make()
    with torch.no_grad():
        for parameter in method.wide.parameters():
            parameter.add_(torch.randn(parameter.shape))
    method.after_step()
    first, last = method.wide.module[0], method.wide.module[3]
    assert method.delivered is method.learner
    expected = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        hidden = F.relu(BATCH["x"] @ first.weight[:5].T + first.bias[:5])
        torch.testing.assert_close(method.delivered(BATCH).logits, hidden @ last.weight[:, :5].T + last.bias)
    count = sum(p.numel() for p in method.delivered.parameters())
    assert count == sum(p.numel() for p in expected.parameters())


def test_the_tiny_net_starts_where_it_would_without():
    assert torch.equal(make().wide.module[0].weight[:5], net(5)[0].weight)


@pytest.mark.parametrize("options", [{"expansion": 1}, {"weight": -1.0}, {"temperature": 0.0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        Config(**options)
