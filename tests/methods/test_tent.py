"""Tent against the authors' step, written out on a net of torch's own."""

import copy

import pytest
import torch
from torch import nn

import didact
from didact.errors import ConfigError
from didact.learners import ModuleLearner, normalisation_layers
from didact.losses.classes.entropy import prediction_entropy
from didact.methods.adaptation.tent import Config, Tent
from didact.types import Batch

X = 2.0 + torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
BATCH = Batch({"x": X, "id": torch.arange(12)})


def net(norm=nn.BatchNorm2d):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = (nn.Conv2d(1, 6, 3), norm(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
    return nn.Sequential(*parts)


def test_a_step_is_that_of_the_authors():
    """Theirs: every parameter but those of batch normalisation is frozen, the net is in training mode, Adam steps."""
    theirs, mine = net(), net()
    for name, weight in theirs.named_parameters():
        weight.requires_grad = name in ("1.weight", "1.bias")
    optimizer = torch.optim.Adam([theirs[1].weight, theirs[1].bias], lr=1e-3)
    method = Tent(Config(), ModuleLearner(mine.train()))
    own = torch.optim.Adam(method.parameters(), lr=1e-3)
    for _ in range(3):
        logits = theirs.train()(X)
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean(0)
        torch.testing.assert_close(method.loss(BATCH).total(), entropy)
        for optimiser, loss in ((optimizer, entropy), (own, method.loss(BATCH).total())):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for (name, weight), other in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight, other, msg=name)
    assert set(method.named_parameters()) == {"learner.module.1.weight", "learner.module.1.bias"}
    assert mine[0].weight.grad is None and mine[4].weight.grad is None


def test_the_statistics_are_averaged_evenly_over_the_steps():
    module = net()
    before = module[1].momentum
    method = Tent(Config(), ModuleLearner(module.train()))
    means = []
    for step in range(3):
        method.step = step
        batch = Batch({"x": X * (step + 1), "id": BATCH["id"]})
        method.loss(batch)
        with torch.no_grad():
            means.append(module[0](batch["x"]).mean((0, 2, 3)))
    torch.testing.assert_close(module[1].running_mean, torch.stack(means).mean(0))
    assert module[1].momentum == before


def test_entropy_is_torchs():
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    trust = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.25, 0.0])
    wanted = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(prediction_entropy(logits).mean(), wanted.mean())
    torch.testing.assert_close(prediction_entropy(logits, trust=trust).mean(), (wanted * trust).sum() / trust.sum())


@pytest.mark.parametrize("norm", [lambda width: nn.GroupNorm(2, width), nn.InstanceNorm2d])
def test_which_layers_there_are(norm):
    module = net(norm)
    found = normalisation_layers(module)
    assert len(found) == (0 if norm is nn.InstanceNorm2d else 1)  # by default it has no scale


def test_a_student_without_normalisation_is_refused():
    with pytest.raises(ConfigError, match=r"no normalisation layer .* cnn:16,32, .* such as robust_mean_teacher"):
        Tent(Config(), ModuleLearner(nn.Linear(3, 2)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"student": "bn_cnn:4,8"},
            "student is 'bn_cnn:4,8', which has learned nothing that 'tent' could adapt",
        ),
        ({"data": "digits", "student": "warm:2:bn_cnn:4,8"}, "All rows of 'digits' have a label.*--unlabelled FILE"),
        ({"student": "warm:2:bn_cnn:4,8", "batch_size": 1}, "batch_size is 1, which is too few"),
    ],
)
def test_what_cannot_be_adapted_is_refused(settings, message):
    given = {"data": "digits:blurred", "steps": 2, "progress": False, **settings}
    with pytest.raises(ConfigError, match=message):
        didact.run("tent", **given)


def test_only_rows_of_the_other_domain_are_seen_and_no_label_is_charged():
    student = "warm:5:bn_cnn:4,8"
    result = didact.run("tent", data="digits:blurred", student=student, steps=4, lr=0.01, progress=False)
    assert result.cost.labels == 0
    plain = didact.run("supervised", data="digits:blurred", student=student, steps=1, lr=1e-12, progress=False)
    own, other = copy.deepcopy(result.learner.state_dict()), plain.learner.state_dict()
    moved = {name for name in own if not torch.allclose(own[name].double(), other[name].double(), atol=1e-9)}
    assert moved and all(".norm." in name for name in moved)
