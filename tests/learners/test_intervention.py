"""Going on from another state, against the net's own layers."""

import pytest
import torch
from torch import nn

from conftest import net, planted
from didact.learners import HIDDEN, ModuleLearner, middle_layer, replace_activation


def test_the_rest_of_the_net_sees_the_other_state():
    module, batch = net(), planted(6).batch()
    learner = ModuleLearner(module)
    state = torch.randn(6, 2, 4, requires_grad=True)
    output = replace_activation(learner, batch, "1", state)
    expected = module[3](module[2](state.flatten(1)))
    torch.testing.assert_close(output.logits, expected)
    (gradient,) = torch.autograd.grad(output.logits.sum(), state)
    torch.testing.assert_close(gradient.flatten(1), module[3].weight.sum(0).expand(6, -1))
    torch.testing.assert_close(learner(batch).logits, module(batch["x"]))


def test_the_middle_layer_is_counted_by_use():
    assert middle_layer(ModuleLearner(net()), planted(6).batch()) == "1"
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 3))
    assert middle_layer(ModuleLearner(twice), planted(6).batch()) == "2"
    assert middle_layer(ModuleLearner(nn.Sequential(nn.Linear(4, 3))), planted(6).batch()) == HIDDEN


def test_a_layer_that_is_not_there():
    with pytest.raises(AttributeError):
        replace_activation(ModuleLearner(net()), planted(6).batch(), "9", torch.zeros(6, 8))
