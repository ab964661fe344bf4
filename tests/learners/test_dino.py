"""Starting near another net, the head of many prototypes, and the probe, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net
from didact.errors import ConfigError
from didact.learners import DinoHead, LinearProbe, init_near


def arrays(module):
    return {name: p.detach().double().numpy().copy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.5, 1.0])
def test_weights_keep_their_variance_on_the_way(distance):
    module, other = net(seed=1), net(seed=2)
    mine, theirs = arrays(module), arrays(other)
    init_near(module, other, distance)
    for name, found in arrays(module).items():
        expected = (1 - distance) * theirs[name] + distance * mine[name]
        if found.ndim == 2:
            expected /= np.sqrt((1 - distance) ** 2 + distance**2)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_independent_weights_are_as_large_half_way_as_before():
    module, other = nn.Linear(300, 300), nn.Linear(300, 300)
    before = module.weight.std().item()
    init_near(module, other, 0.5)
    assert module.weight.std().item() == pytest.approx(before, rel=0.02)


def test_another_architecture_is_refused():
    with pytest.raises(ConfigError, match="same architecture"):
        init_near(net(8), net(16), 0.1)
    with pytest.raises(ConfigError, match=r"distance is 1.5.*at most 1"):
        init_near(net(8), net(8), 1.5)


def test_prototypes_score_a_direction():
    head = DinoHead(5, hidden=7, bottleneck=3, outputs=11, seed=4)
    hidden = torch.randn(6, 5)
    w = arrays(head)
    pre = hidden.double().numpy() @ w["body.0.weight"].T + w["body.0.bias"]
    gelu = pre * 0.5 * (1 + np.vectorize(lambda v: float(torch.erf(torch.tensor(v / np.sqrt(2)))))(pre))
    low = gelu @ w["body.2.weight"].T + w["body.2.bias"]
    expected = (low / np.linalg.norm(low, axis=1, keepdims=True)) @ w["scores.weight"].T
    np.testing.assert_allclose(head(hidden).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    again = DinoHead(5, hidden=7, bottleneck=3, outputs=11, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))


def test_a_probe_written_into_a_head_computes_the_same():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, 5, generator=generator) * torch.tensor([1.0, 0.01, 5.0, 1.0, 0.0]) + 3.0
    probe, head = LinearProbe(hidden[:8], 4), nn.Linear(5, 4)
    for _ in range(200):
        probe.moments.accumulate(hidden)
        probe.moments.update()
    with torch.no_grad():
        probe.weight.normal_(generator=generator)
        probe.bias.normal_(generator=generator)
    probe.write(head)
    rows = hidden.double().numpy()
    spread = np.sqrt(np.maximum(rows.var(0), 0.01 * rows.var(0).mean())) / 10
    expected = (rows - rows.mean(0)) / spread @ arrays(probe)["weight"].T + arrays(probe)["bias"]
    np.testing.assert_allclose(probe(hidden).detach().numpy(), expected, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(head(hidden), probe(hidden), rtol=1e-3, atol=1e-2)


def test_a_probe_leaves_the_features_alone():
    hidden = torch.randn(8, 5, requires_grad=True)
    probe = LinearProbe(hidden, 3)
    probe(hidden).square().sum().add(probe(hidden).sum()).backward()
    assert hidden.grad is None and probe.weight.grad is not None
