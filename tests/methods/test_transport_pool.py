"""Transport of the instances of bags to prototypes, against the authors' terms written out for one bag at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from didact import parts
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.bag_transport import partial_plan, transport_bag_net
from didact.learners.bags import bag_net
from didact.methods.bags.transport_pool import Config, TransportPool
from didact.parts.part import ForExamples
from didact.types import Batch, Examples

X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
BATCH = Batch({"x": X, "label": torch.tensor([0, 1, 1, 0, 1, 0]), "id": torch.arange(6)})


def bags(pooling="mean"):
    torch.manual_seed(1)
    return bag_net(ModuleLearner(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))), pooling)


def learner_of():
    return transport_bag_net(bags(), 5)


def weights_of(learner):
    state = {name: value.detach().double().numpy() for name, value in learner.module.state_dict().items()}
    return state, lambda name, x: x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def transported(cost, mass):
    """`cost_forward` of `SemiCurrSinkhornKnopp` (rhfeiyang/PPOT): an instance a row, epsilon 0.1, gamma 1, no prior."""
    count, prototypes = cost.shape
    kernel = np.exp(-np.concatenate([cost, np.zeros((count, 1))], 1) / 0.1)
    rows, columns = np.full((count, 1), 1 / count), np.full((prototypes + 1, 1), mass / prototypes)
    columns[-1] = 1 - mass
    right = np.full((prototypes + 1, 1), 1 / (prototypes + 1))
    for _ in range(1000):
        before = right
        left = rows / (kernel @ right)
        right = columns / (kernel.T @ left)
        right[:-1] **= 1 / 1.1
        if np.linalg.norm(right - before) < 1e-10:
            break
    return (left * kernel * right.T)[:, :-1] / mass


@pytest.mark.parametrize("mass", [0.1, 0.6, 1.0])
def test_instances_are_moved_as_by_the_authors_scaling(mass):
    """`OT_Attn` and `OTSurv.forward_no_loss` of Y-Research-SBU/OTSurv, a bag at a time."""
    learner = learner_of()
    state, linear = weights_of(learner)
    net, found = learner.module, learner.module.pool(learner.module.encode(X), mass=mass)
    moved = net.attend(net.encode(X), mass=mass)
    for i, bag in enumerate(X.double().numpy()):
        hidden = np.tanh(linear("instance.0", bag))
        vectors, goals = (rows - rows.min(1, keepdims=True) for rows in (hidden, state["prototypes"]))
        cost = np.linalg.norm(vectors[:, None] - goals, axis=2)
        plan = transported(cost / cost.max(), mass)
        np.testing.assert_allclose(found[i].detach().numpy(), linear("weights", (plan.T @ hidden).T)[:, 0], atol=2e-4)
        np.testing.assert_allclose(moved[i].detach().numpy(), plan.sum(1), atol=2e-4)
    if mass == 1.0:
        torch.testing.assert_close(learner(BATCH).logits, net.head(found))


def test_the_mass_rises_as_in_the_authors_code():
    """`set_rho` of ot_attn.py, over 10 of 20 epochs."""
    method = TransportPool(Config(), learner_of())
    for epoch in (0, 2, 5, 9, 10, 19):
        method.fraction = epoch / 20
        expected = min(np.exp(-5 * (1 - min(epoch, 10) / 10) ** 2) + 0.1, 1.0)
        assert method.mass == pytest.approx(expected)
    assert TransportPool(Config(ramp=0.0), learner_of()).mass == 1.0


@pytest.mark.parametrize("mass", [0.3, 1.0])
def test_the_gradient_of_the_plan_is_that_of_finite_differences(mass):
    cost, weight = (
        torch.rand(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)
    )
    given = cost.clone().requires_grad_()
    (slope,) = torch.autograd.grad((partial_plan(given, mass) * weight).sum(), [given])
    expected = np.zeros((5, 3))
    for place in np.ndindex(5, 3):
        moved = [cost[0].numpy().copy() for _ in range(2)]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        up, down = ((transported(one, mass) * weight[0].numpy()).sum() for one in moved)
        expected[place] = (up - down) / 2e-5
    np.testing.assert_allclose(slope[0].numpy(), expected, atol=0.02 * np.abs(expected).max())


def test_instances_that_are_left_out_do_not_count():
    kept, net = torch.tensor([[True, False, True, True]]).expand(6, -1), learner_of().module
    hidden = net.encode(X)
    torch.testing.assert_close(net.pool(hidden, kept), net.pool(hidden[:, [0, 2, 3]]), atol=1e-5, rtol=1e-4)
    assert net.attend(hidden, kept)[:, 1].tolist() == [0.0] * 6


def test_a_student_is_drawn_by_its_seed_and_the_order_means_nothing():
    examples = Examples(tensors=dict(BATCH), task="classification", modality="table", classes=("no", "yes"))
    purpose = ForExamples(examples=examples, seed=3)
    model, again = (purpose.open("transport_bag:3:mlp:8", "student").model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    turned = Batch({**BATCH, "x": X.flip(1)})
    torch.testing.assert_close(model(BATCH).logits, model(turned).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="it takes one number of prototypes, as in transport_bag:16:mlp:64"):
        purpose.build(parts.parse("transport_bag:2,3:mlp:8", "student"))


def test_a_student_that_moves_nothing_is_refused():
    with pytest.raises(ConfigError, match="transport_pool needs a student that moves the instances of a bag"):
        TransportPool(Config(), bags("attention"))
