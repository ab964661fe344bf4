"""The three phases of self-distillation for further pre-training, against NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner, random_mask
from didact.methods.distillation.further_pretraining import Config, FurtherPretraining
from didact.types import IGNORE, Batch
from transcribed import same_loss


def half():
    examples = planted(12)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def made(batch, **options):
    config = Config(teacher_share=0.25, student_share=0.5, hidden_share=0.5, **options)
    return FurtherPretraining(config, ModuleLearner(net()), batch, seed=3)


def representation(learner, x):
    first = learner.module[0]
    weight, bias = first.weight.detach().double().numpy(), first.bias.detach().double().numpy()
    return np.maximum(x @ weight.T + bias, 0)


def filled(learner, filling, x, hidden):
    """The slow way to what a net of `conftest` fills in, and its error."""
    floor = 0.01 * x.var(0).mean()
    mean, spread = x.mean(0), np.sqrt(np.maximum(x.var(0), floor))
    seen = np.where(hidden, mean, x)
    weight, bias = filling.weight.detach().double().numpy(), filling.bias.detach().double().numpy()
    found = representation(learner, seen) @ weight.T + bias
    target = (x - mean) / spread
    return np.mean([np.mean((f - t)[h] ** 2) for f, t, h in zip(found, target, hidden, strict=True)])


def drawn(batch):
    """What the method hides at this state of the generator."""
    torch.manual_seed(7)
    hidden = random_mask(batch["x"], 0.5).numpy()
    torch.manual_seed(7)
    return hidden


def test_first_the_copy_alone_learns_to_fill_in():
    batch = half()
    method = made(batch)
    method.fraction = 0.24
    hidden = drawn(batch)
    terms = method.loss(batch)
    assert set(terms) == {"copy"}
    expected = filled(method.copy, method.copy_reconstruction, batch["x"].double().numpy(), hidden)
    assert terms.total().item() == pytest.approx(expected, rel=1e-4)
    terms.backward()
    assert all(p.grad is None for p in (*method.learner.parameters(), *method.reconstruction.parameters()))
    assert method.copy.module[0].weight.grad.abs().sum() > 0


def test_then_the_student_fills_in_near_the_frozen_copy():
    batch = half()
    method = made(batch, weight=0.7)
    with torch.no_grad():
        method.copy.module[0].weight.mul_(-1.5)
    method.fraction = 0.25
    hidden, x = drawn(batch), batch["x"].double().numpy()
    terms = method.loss(batch)
    apart = ((representation(method.learner, x) - representation(method.copy, x)) ** 2).sum(1).mean()
    expected = filled(method.learner, method.reconstruction, x, hidden) + 0.7 * apart
    assert terms.total().item() == pytest.approx(expected, rel=1e-4)
    terms.backward()
    assert all(p.grad is None for p in (*method.copy.parameters(), *method.copy_reconstruction.parameters()))
    assert method.learner.module[0].weight.grad.abs().sum() > 0


def test_the_distance_and_its_gradient_are_those_of_the_authors():
    """`SelfPreTrainer` of their code: a sum over elements, divided by the number of examples."""
    batch = half()
    method = made(batch, weight=0.7)
    with torch.no_grad():
        method.copy.module[0].weight.mul_(-1.5)
    method.fraction = 0.25
    hidden, x = torch.from_numpy(drawn(batch)), batch["x"]
    terms = method.loss(batch)
    body, mean = method.learner.module[:2], x.mean(0)
    spread = x.var(0, correction=0).clamp(min=0.01 * x.var(0, correction=0).mean()).sqrt()
    filled_in = method.reconstruction(body(torch.where(hidden, mean, x)))
    squares = (filled_in - (x - mean) / spread) ** 2 * hidden
    apart = nn.MSELoss(reduction="sum")(body(x), method.copy.module[:2](x).detach()) / 12
    expected = (squares.sum(1) / hidden.sum(1).clamp(min=1)).mean() + 0.7 * apart
    same_loss(terms.total(), expected, [*body.parameters(), *method.reconstruction.parameters()])


def test_the_student_starts_from_the_initial_weights_when_the_copy_is_done():
    batch = half()
    method = made(batch)
    initial = copy.deepcopy(method.learner.state_dict())
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(3):
        method.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    assert all(torch.equal(initial[key], value) for key, value in method.learner.state_dict().items())
    assert not torch.equal(initial["module.0.weight"], method.copy.module[0].weight)
    assert method.delivered is method.learner


def test_in_the_end_only_labels_count():
    batch = half()
    method = made(batch)
    method.fraction = 0.75
    terms = method.loss(batch)
    there = batch["label"].numpy() != IGNORE
    logits = method.learner(batch).logits.detach().double().numpy()[there]
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert set(terms) == {"label"}
    expected = -log_probs[np.arange(there.sum()), batch["label"].numpy()[there]].mean()
    assert terms.total().item() == pytest.approx(expected, rel=1e-5)


def test_without_a_share_for_the_teacher_there_is_none():
    batch = half()
    method = FurtherPretraining(Config(teacher_share=0.0), ModuleLearner(net()), batch)
    assert set(method.loss(batch)) == {"student"}
    assert set(method.state_dict()) == {"learner", "moments", "reconstruction"}


def test_text_is_refused():
    tokens = Batch({name: torch.ones(2, 3, dtype=torch.int64) for name in ("input_ids", "attention_mask")})
    with pytest.raises(ConfigError, match="are text"):
        FurtherPretraining(Config(), ModuleLearner(nn.Identity()), tokens)


@pytest.mark.parametrize(
    "options",
    [
        {"teacher_share": 1.0},
        {"student_share": -0.1},
        {"weight": -1},
        {"hidden_share": 0.0},
        {"hidden_share": 1.0},
        {"patch": 0},
    ],
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)


def test_shares_beyond_the_budget_are_refused():
    with pytest.raises(ConfigError, match=r"teacher_share \+ student_share is 1.2"):
        Config(teacher_share=0.6, student_share=0.6)
