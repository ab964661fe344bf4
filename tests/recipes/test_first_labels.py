"""Labels that are less sure, learned first: `--student first:NAME:STEPS:STUDENT`."""

import dataclasses

import pytest
import torch
from torch import nn

from didact import worlds
from didact.errors import ConfigError
from didact.experiment import running
from didact.experiment.preparing import prepare
from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet
from didact.methods.supervised.supervised import Config, Supervised
from didact.types import MASK, Batch, pixels_of
from didact.worlds.canvas import FARTHEST

OFFSET = worlds.load("canvas:offset")


def taught(data, student, **changes):
    """The student of a run before its first step."""
    values = {"data": data, "student": student, "steps": 1, "batch_size": 8, "seed": 4, **changes}
    config, given = running.split_arguments(None, method="supervised", **values)
    return prepare(config, given).student.model


def test_the_first_labels_are_learned_before_the_others():
    """The weights are those of a student that is warmed up on data whose labels are the noisy ones."""
    few = OFFSET.select(torch.arange(40))
    noisy = dataclasses.replace(few.with_tensors(mask=few.tensors["noisy"]), name="noisy")
    found = taught(few, "first:noisy:3:fcn:4,4").state_dict()
    wanted = taught(noisy, "warm:3:fcn:4,4").state_dict()
    clean = taught(few, "warm:3:fcn:4,4").state_dict()
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert not torch.equal(found["module.module.3.weight"], clean["module.module.3.weight"])


def test_classes_of_examples_can_come_first_too():
    mixture = worlds.load("gaussian:mixture")
    few = mixture.select(torch.arange(200)).with_tensors(wrong=(mixture.tensors["label"][:200] + 1) % 4)
    found = taught(few, "first:wrong:60:mlp:32", batch_size=100)
    with torch.no_grad():
        said = found(few.batch()).logits.argmax(1)
    assert (said == few.tensors["wrong"]).float().mean() > 2 * (said == few.tensors["label"]).float().mean()


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("first:nosy:3:fcn:4", r"no tensor 'nosy' of such labels\. Did you mean noisy"),
        ("first:id:3:fcn:4", "no tensor 'id'"),
        ("first:noisy:0:fcn:4", "must be at least 1"),
        ("first:noisy:some:fcn:4", "some"),
    ],
)
def test_what_cannot_come_first(student, said):
    with pytest.raises(ConfigError, match=said):
        taught(OFFSET, student)


def test_other_classes_cannot_come_first():
    more = OFFSET.with_tensors(noisy=OFFSET.tensors["noisy"] + 1)
    with pytest.raises(ConfigError, match="numbers from 1 to 4, and the data 4 classes"):
        taught(more, "first:noisy:3:fcn:4")


def centre(learner, x, truth):
    """How far what it answers lies beside the truth, on average, in pixels down and to the right."""
    with torch.no_grad():
        said = learner(Batch({"x": x})).logits.argmax(-1).view_as(truth).float()
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    return [float((said * one).sum() / said.sum() - (truth * one).sum() / truth.sum()) for one in (rows, columns)]


def learn(learner, x, mask, steps):
    method = Supervised(Config(), learner)
    ids = torch.arange(len(x))
    batch = pixels_of(Batch({"x": x, MASK: mask, "label": torch.zeros_like(ids), "id": ids}))
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        method.loss(batch).total().backward()
        optimizer.step()


def test_what_noisy_masks_teach_is_moved_and_clean_ones_move_it_back():
    """Single squares and one convolution: it answers where noisy masks lie on average, then where clean ones do."""
    torch.manual_seed(0)
    noisy, mask = (torch.zeros(200, 16, 16, dtype=torch.int64) for _ in range(2))
    for number in range(200):
        down, right = torch.randint(1, 7, (2,)).tolist()
        far, beside = torch.randint(0, FARTHEST + 1, (2,)).tolist()
        mask[number, down : down + 4, right : right + 4] = 1
        noisy[number, down + far : down + far + 4, right + beside : right + beside + 4] = 1
    x = mask[:, None].float()
    learner = ModuleLearner(PixelNet(nn.Conv2d(1, 2, 9, padding=4)), head=None)
    learn(learner, x, noisy, 40)
    assert centre(learner, x, mask) == pytest.approx([FARTHEST / 2] * 2, abs=0.5)
    learn(learner, x[:8], mask[:8], 40)
    assert centre(learner, x[8:], mask[8:]) == pytest.approx([0.0, 0.0], abs=0.3)


def test_noisy_masks_are_the_clean_ones_moved():
    for clean, noisy in zip(OFFSET.tensors[MASK][:60].numpy(), OFFSET.tensors["noisy"][:60].numpy(), strict=True):
        fits = []
        for down in range(FARTHEST + 1):
            for right in range(FARTHEST + 1):
                moved = clean * 0
                moved[down:, right:] = clean[: 16 - down, : 16 - right]
                fits.append((moved == noisy).all())
        assert any(fits)
