"""Frozen, averaged, lagging and peer teachers against slow transcriptions."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.teachers import EmaTeacher, FrozenTeacher, LaggingTeacher, PeerTeacher, RandomTeacher
from didact.types import Batch, Cost, Features, Labels, Logits, Stateful


def net(seed=0, classes=3):
    torch.manual_seed(seed)
    return ModuleLearner(
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, classes))
    )


def batch(size=5, seed=1):
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    return Batch({"x": x, "strong.x": x + 1.0, "id": torch.arange(size)})


def by_hand(learner, x):
    """The net in NumPy, in evaluation mode."""
    first, norm, _, _, last = learner.module
    h = x.numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    h = (h - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
    h = np.maximum(h * norm.weight.detach().numpy() + norm.bias.detach().numpy(), 0.0)
    return h @ last.weight.detach().numpy().T + last.bias.detach().numpy()


def test_frozen_teacher_answers_in_evaluation_mode_and_counts_calls():
    learner = net().train()
    teacher = FrozenTeacher(learner)
    signal = teacher.signal(batch())
    assert isinstance(signal, Logits)
    np.testing.assert_allclose(signal.logits, by_hand(learner, batch()["x"]), rtol=1e-5, atol=1e-6)
    assert not any(part.training for part in learner.modules())
    assert not any(parameter.requires_grad for parameter in learner.parameters())
    teacher.signal(batch(3))
    assert teacher.cost == Cost(teacher_calls=8)


def test_frozen_teacher_is_left_out_of_checkpoints():
    assert not isinstance(FrozenTeacher(net()), Stateful)
    assert not hasattr(FrozenTeacher(net()), "state_dict")


def test_frozen_teacher_looks_at_its_view_where_there_is_one():
    learner = net()
    plain = FrozenTeacher(learner).signal(batch()).logits
    viewed = FrozenTeacher(learner, view="strong")
    torch.testing.assert_close(viewed.signal(batch()).logits, learner(batch().view("strong")).logits)
    assert not torch.equal(viewed.signal(batch()).logits, plain)
    without = Batch({key: batch()[key] for key in ("x", "id")})
    assert torch.equal(viewed.signal(without).logits, plain)


def test_frozen_teacher_brings_its_classes_into_the_data_order():
    learner = net()
    own = FrozenTeacher(learner).signal(batch()).logits
    signal = FrozenTeacher(learner, order=torch.tensor([2, 0, 1])).signal(batch())
    assert torch.equal(signal.logits, torch.stack([own[:, 2], own[:, 0], own[:, 1]], 1))
    with pytest.raises(TeacherError, match="no permutation"):
        FrozenTeacher(net(), order=torch.tensor([0, 0, 1]))
    with pytest.raises(TeacherError, match="has 3 classes, but its order has 4"):
        FrozenTeacher(net(), order=torch.tensor([1, 0, 2, 3])).signal(batch())


def test_tapped_teacher_gives_features_that_a_loss_can_use():
    teacher = FrozenTeacher(net())
    teacher.tap("0")
    signal = teacher.signal(batch())
    assert isinstance(signal, Features)
    (feature,) = signal.features.values()
    first = teacher.learner.module[0]
    np.testing.assert_allclose(
        feature, batch()["x"].numpy() @ first.weight.numpy().T + first.bias.numpy(), rtol=1e-5, atol=1e-6
    )
    student = torch.randn(5, 6, requires_grad=True)
    scale = torch.ones(3, requires_grad=True)
    # Products save the teacher's tensors for the backward pass, which inference tensors would refuse.
    loss = ((student * feature).sum() + (scale * signal.logits).sum()) ** 2
    loss.backward()
    total = float((student * feature).sum().detach() + signal.logits.sum())
    torch.testing.assert_close(student.grad, 2 * total * feature, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="tap is 'nowhere'"):
        teacher.tap("nowhere")


def test_a_teacher_with_one_output_gives_targets():
    learner = net(classes=1)
    signal = FrozenTeacher(learner).signal(batch())
    assert isinstance(signal, Labels)
    np.testing.assert_allclose(signal.labels, by_hand(learner, batch()["x"])[:, 0], rtol=1e-5, atol=1e-6)


def test_a_teacher_without_features_says_which_kinds_have_them():
    with pytest.raises(TeacherError, match=r"'conv'.*a random teacher, which has none; a frozen module"):
        RandomTeacher(3).tap("conv")
    assert RandomTeacher(3).candidates() == []


def test_peer_answers_in_the_mode_of_its_learner_without_gradient():
    learner = net().train()
    peer = PeerTeacher(learner)
    torch.manual_seed(3)
    signal = peer.signal(batch())
    torch.manual_seed(3)
    expected = copy.deepcopy(learner)
    # The peer's own pass has moved the running statistics, which batch normalisation doesn't use in training mode.
    assert torch.equal(signal.logits, expected(batch()).logits)
    assert learner.training
    assert not signal.logits.requires_grad
    assert all(parameter.requires_grad for parameter in learner.parameters())
    assert not isinstance(peer, Stateful)


def test_tokens_read_are_counted():
    class Bag(nn.Module):
        def forward(self, input_ids, attention_mask):
            return (input_ids * attention_mask).float()[:, :2]

    teacher = FrozenTeacher(ModuleLearner(Bag()))
    tokens = torch.arange(12).reshape(3, 4)
    teacher.signal(Batch({"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "id": torch.arange(3)}))
    assert teacher.cost == Cost(teacher_calls=3, teacher_tokens=12)


def changed(learner, rng):
    """Move every parameter and buffer of a learner somewhere else."""
    with torch.no_grad():
        for tensor in (*learner.parameters(), *learner.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(rng.normal(size=tuple(tensor.shape))))
            else:
                tensor.add_(1)


@settings(max_examples=15, deadline=None)
@given(decay=st.floats(0.01, 0.9999), warmup=st.booleans(), steps=st.integers(1, 6), seed=st.integers(0, 99))
def test_ema_is_the_slow_average(decay, warmup, steps, seed):
    rng = np.random.default_rng(seed)
    learner = net(seed)
    expected = {name: t.double().numpy().copy() for name, t in learner.state_dict().items()}
    teacher = EmaTeacher(learner, decay=decay, warmup=warmup)
    for step in range(steps):
        changed(learner, rng)
        teacher.update(learner)
        d = min(decay, (1 + step) / (10 + step)) if warmup else decay
        for name, tensor in learner.state_dict().items():
            new = tensor.double().numpy()
            floating = tensor.is_floating_point()
            expected[name] = d * expected[name] + (1 - d) * new if floating else new
    for name, tensor in teacher.learner.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_ema_answers_with_the_average_in_evaluation_mode():
    learner = net().train()
    teacher = EmaTeacher(learner, decay=0.5, warmup=False)
    changed(learner, np.random.default_rng(0))
    with torch.no_grad():
        for name, tensor in learner.named_buffers():
            if "var" in name:
                tensor.abs_()
    teacher.update(learner)
    np.testing.assert_allclose(
        teacher.signal(batch()).logits, by_hand(teacher.learner, batch()["x"]), rtol=1e-4, atol=1e-5
    )
    assert learner.training
    assert not teacher.learner.training
    assert all(parameter.requires_grad for parameter in learner.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.learner.parameters())


def test_ema_resumes_to_the_bit():
    rng = np.random.default_rng(0)
    learner = net()
    one, other = EmaTeacher(learner, decay=0.99), EmaTeacher(net(5), decay=0.99)
    for _ in range(3):
        changed(learner, rng)
        one.update(learner)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    changed(learner, rng)
    one.update(learner)
    other.update(learner)
    assert other.updates == 4
    for name, tensor in one.learner.state_dict().items():
        assert torch.equal(tensor, other.learner.state_dict()[name]), name


def test_ema_moves_tied_weights_once():
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    learner = ModuleLearner(module)
    start = module[0].weight.detach().clone()
    teacher = EmaTeacher(learner, decay=0.5, warmup=False)
    with torch.no_grad():
        module[0].weight.add_(4.0)
    teacher.update(learner)
    torch.testing.assert_close(teacher.learner.module[1].weight, start + 2.0)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_ema_refuses_a_decay_out_of_range(decay):
    with pytest.raises(ConfigError, match="ema_decay is"):
        EmaTeacher(net(), decay=decay)


def test_ema_refuses_a_precision_in_which_it_would_stand_still():
    with pytest.raises(ConfigError, match=r"module.0.weight is torch.bfloat16"):
        EmaTeacher(net().to(torch.bfloat16), decay=0.999)
    EmaTeacher(net().to(torch.bfloat16), decay=0.9)


@pytest.mark.parametrize("lag", [1, 2, 3, 5])
def test_lagging_teacher_is_between_lag_and_twice_lag_behind(lag):
    learner = ModuleLearner(nn.Linear(1, 2))
    teacher = LaggingTeacher(learner, lag=lag)
    with torch.no_grad():
        for step in range(1, 4 * lag + 2):
            learner.module.bias.fill_(float(step))
            teacher.update(learner)
            age = step - teacher.learner.module.bias[0].item()
            if step >= 2 * lag:
                assert lag <= age <= 2 * lag - 1
                assert (step - age) % lag == 0
            else:
                assert teacher.learner.module.bias[0] < 1.0


def test_lagging_teacher_resumes_to_the_bit():
    rng = np.random.default_rng(0)
    learner = net()
    one, other = LaggingTeacher(learner, lag=2), LaggingTeacher(net(7), lag=2)
    for step in range(9):
        if step == 5:
            other.load_state_dict(copy.deepcopy(one.state_dict()))
        changed(learner, rng)
        one.update(learner)
        if step >= 5:
            other.update(learner)
    for name, tensor in one.learner.state_dict().items():
        assert torch.equal(tensor, other.learner.state_dict()[name]), name
    with pytest.raises(ConfigError, match="lag is 0"):
        LaggingTeacher(net(), lag=0)
