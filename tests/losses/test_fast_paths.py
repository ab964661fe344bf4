"""Where full trust is computed in a shorter way than trust that is given, both are the same."""

import pytest
import torch

from didact.losses.classes.divergence import forward_kl
from didact.losses.features.attention import attention_transfer
from didact.losses.features.distances import feature_mse
from didact.losses.pairs.contrastive import nce_loss
from didact.losses.pairs.relational import rkd_angle, rkd_distance


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CASES = {
    "attention_transfer": lambda s, t, **o: attention_transfer(
        s.unflatten(1, (3, 2, 4)), t.unflatten(1, (3, 2, 4)), **o
    ),
    "feature_mse": feature_mse,
    "forward_kl": lambda s, t, **o: forward_kl(s, t.log_softmax(-1), temperature=2.0, **o),
    "nce_loss": lambda s, t, **o: nce_loss(s, t, t.flip(0), log_normaliser=0.1, temperature=2.0, **o),
    "rkd_angle": rkd_angle,
    "rkd_distance": rkd_distance,
}


@pytest.mark.parametrize("name", CASES)
def test_full_trust_is_trust_of_one(name):
    student, teacher = draw(0, 6, 24).requires_grad_(), draw(1, 6, 24)
    found = []
    for options in ({}, {"trust": torch.ones(6)}):
        term = CASES[name](student, teacher, **options)
        (gradient,) = torch.autograd.grad(term.sum, student)
        found.append((term.sum.detach(), gradient, float(term.count)))
    torch.testing.assert_close(found[0][:2], found[1][:2])
    assert found[0][2] == found[1][2]


def test_a_teacher_that_learns_gets_a_gradient_from_forward_kl_either_way():
    student, teacher = draw(2, 4, 5), draw(3, 4, 5).requires_grad_()
    gradients = [
        torch.autograd.grad(forward_kl(student, teacher.log_softmax(-1), **options).sum, teacher)[0]
        for options in ({}, {"trust": torch.ones(4)})
    ]
    assert gradients[0].abs().sum() > 0.1
    torch.testing.assert_close(*gradients)
