"""A teacher whose answers have a gradient."""

import pytest
import torch

from conftest import net, planted
from didact.errors import TeacherError
from didact.learners import ModuleLearner
from didact.memory import SignalCache
from didact.teachers import CachedTeacher, FrozenTeacher, RandomTeacher, TransparentTeacher
from didact.types import Batch

BATCH = planted(6).batch()


def test_gradients_flow_into_what_it_sees_and_not_into_its_weights():
    plain = FrozenTeacher(ModuleLearner(net(seed=3)), order=torch.tensor([2, 0, 1]))
    teacher = TransparentTeacher(CachedTeacher(plain, SignalCache(BATCH["id"])))
    x = BATCH["x"].clone().requires_grad_()
    said = teacher.signal(Batch({"x": x, "id": BATCH["id"]})).logits
    torch.testing.assert_close(said.detach(), plain.signal(BATCH).logits)
    said[:, 0].sum().backward()
    first, last = plain.learner.module[0], plain.learner.module[3]
    open_units = (BATCH["x"] @ first.weight.T + first.bias > 0).float()
    torch.testing.assert_close(x.grad, (open_units * last.weight[2]) @ first.weight)
    assert all(p.grad is None for p in plain.learner.parameters())
    assert teacher.cost.teacher_calls == 6


def test_a_teacher_without_a_model_is_refused():
    with pytest.raises(TeacherError, match="whose signals have no gradient"):
        TransparentTeacher(RandomTeacher(3))
