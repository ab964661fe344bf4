"""The mechanism of contrasting two views: what both views of an example have in common is what is learned."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact.losses.pairs.views import debiased_nt_xent, decoupled_nt_xent, nt_xent

N = 128
LOSSES = {"nt_xent": nt_xent, "decoupled": decoupled_nt_xent, "debiased": debiased_nt_xent}


def probe(loss, seed, *, shuffled=False, steps=60):
    """The accuracy of the nearest class mean on the representation; 20 of 24 columns are noise of each view's own."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(8, (N,), generator=generator)
    signal = 1.5 * torch.randn(8, 4, generator=generator)[label] + 0.3 * torch.randn(N, 4, generator=generator)

    def view():
        x = torch.cat([signal, 3 * torch.randn(N, 20, generator=generator)], 1)
        return x[torch.randperm(N, generator=generator)] if shuffled else x

    torch.manual_seed(seed)
    net = nn.Linear(24, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(steps):
        term = loss(net(view()), net(view()))
        optimizer.zero_grad()
        term.mean().backward()
        optimizer.step()
    shuffled = False  # from here on, views are those of the examples whose labels are known
    with torch.no_grad():
        found, held_out = F.normalize(net(view()), dim=1), F.normalize(net(view()), dim=1)
    means = torch.stack([found[label == number].mean(0) for number in range(8)])
    return float(((held_out @ means.T).argmax(1) == label).double().mean())


@pytest.mark.parametrize("name", LOSSES)
def test_views_of_an_example_share_what_augmentation_leaves(name):
    """With the views of other examples as positives, which is the control, nothing is learned."""
    assert probe(LOSSES[name], 0) > 0.7
    assert probe(LOSSES[name], 0, shuffled=True) < 0.4
