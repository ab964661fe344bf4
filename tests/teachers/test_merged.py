"""A teacher that is the mean of its student's checkpoints."""

import pytest
import torch

import didact
from contract import SAMPLING
from didact.errors import ConfigError
from didact.parts.models import build_causal
from didact.teachers import MergedTeacher
from didact.types import Batch, States
from small_questions import questions


def model():
    return build_causal("decoder:1x16", seed=0)


def shake(learner, seed):
    """Other weights, as after a step."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def batch():
    ids = torch.randint(0, 250, (3, 7), generator=torch.Generator().manual_seed(0))
    return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.arange(3)})


@pytest.mark.parametrize("every", [1, 3])
def test_it_is_the_mean_of_the_checkpoints_and_at_first_the_beginning(every):
    learner = model()
    teacher, kept = MergedTeacher(learner, every=every), []
    shake(learner, 99)  # a warm start, before the first signal
    begun = learner.head.weight.detach().clone()
    for step in range(1, 8):
        signal = teacher.signal(batch())
        assert isinstance(signal, States)
        expected = torch.stack(kept).mean(0) if kept else begun
        torch.testing.assert_close(signal.head.weight, expected)
        assert not signal.hidden.requires_grad
        shake(learner, step)
        teacher.follow(learner)
        if step % every == 0:
            kept.append(learner.head.weight.detach().clone())
    assert teacher.merged == len(kept) == 7 // every
    assert learner.head.weight.requires_grad
    assert learner.head.weight is not teacher.learner.head.weight


def test_frozen_weights_are_shared_and_not_written_to():
    learner = model()
    learner.head.weight.requires_grad_(False)
    teacher = MergedTeacher(learner, every=1)
    written = learner.head.weight._version
    teacher.follow(learner)
    assert teacher.learner.head.weight is learner.head.weight
    assert learner.head.weight._version == written


def test_its_state_goes_on_where_it_stopped():
    learner = model()
    teacher = MergedTeacher(learner, every=2)
    for step in range(3):
        shake(learner, step)
        teacher.follow(learner)
    again = MergedTeacher(model(), every=2)
    again.load_state_dict(teacher.state_dict())
    for one in (teacher, again):
        one.follow(learner)
        assert (one.steps, one.merged) == (4, 2)
    for mine, theirs in zip(teacher.learner.parameters(), again.learner.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_merges_its_own_checkpoints():
    """The loop has it follow: one in two of five steps is a checkpoint, and the mean is not the student."""
    given = {"data": questions(), "student": "decoder:1x32", "sampling": SAMPLING, "steps": 5, "batch_size": 16}
    run = didact.run(method="kdrl", teacher="merged:2", lr=1e-2, progress=False, **given)
    assert run.status == "done"
    assert run.teacher["accuracy"] >= 0.0
    assert run.metrics["teacher_kl"] > 0.0


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="every is 0, but must be at least 1"):
        MergedTeacher(model(), every=0)
    with pytest.raises(ConfigError, match=r"the steps in teacher='merged:often' is 'often'"):
        didact.run(method="kdrl", teacher="merged:often", data=questions(), student="decoder:1x32", progress=False)


@pytest.mark.parametrize("count", [4, 16])
def test_the_mean_is_nearer_to_what_noisy_checkpoints_scatter_about_than_the_last(count):
    """By 1 / K in the mean square, since their noise is independent; the control has the same noise in all of them."""
    centre, distances = model(), {"merged": [], "last": [], "control": []}
    target = torch.cat([p.detach().flatten() for p in centre.parameters()])

    def apart(learner):
        return float((torch.cat([p.detach().flatten() for p in learner.parameters()]) - target).square().mean())

    for noise in ("own", "same"):
        teacher = MergedTeacher(centre, every=1)
        for step in range(count):
            learner = model()
            shake(learner, 0 if noise == "same" else step)
            teacher.follow(learner)
        distances["merged" if noise == "own" else "control"] = apart(teacher.learner)
        distances["last"] = apart(learner)
    assert distances["merged"] / distances["last"] == pytest.approx(1 / count, rel=0.1)
    assert distances["control"] / distances["last"] == pytest.approx(1.0, rel=1e-3)
