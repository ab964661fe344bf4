"""Learning from bags: the net, its losses, and the methods, against the authors' terms written out."""

import numpy as np
import pytest
import torch
from torch import nn

from didact import parts, worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.bags import bag_net, keep_hard
from didact.losses.features.pooling import attention_entropy
from didact.methods.bags import hard_instances
from didact.methods.bags.attention_pool import AttentionPool, Config
from didact.parts.part import ForExamples
from didact.types import Batch

X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
BATCH = Batch({"x": X, "label": LABELS, "id": torch.arange(6)})


def learner(pooling, seed=1):
    torch.manual_seed(seed)
    return bag_net(ModuleLearner(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))), pooling)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def of_one_bag(net, bag):
    """The authors' `forward` for one bag [K, F]: the attention over instances, and the logits; with a gate if any."""
    weights = {name: value.detach().double().numpy() for name, value in net.module.state_dict().items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    hidden = np.tanh(linear("instance.0", bag))
    scored = np.tanh(linear("scores.value", hidden))
    if "scores.gate.weight" in weights:
        scored = scored / (1 + np.exp(-linear("scores.gate", hidden)))
    attention = softmax(linear("scores.score", scored)[:, 0])
    return attention, linear("head", attention @ hidden)


@pytest.mark.parametrize("pooling", ["attention", "gated"])
def test_attention_pools_as_the_authors_code(pooling):
    """`forward` of model.py in AMLab-Amsterdam/AttentionDeepMIL, and `div_loss` of main.py in dazhangyu123/AEM."""
    net = learner(pooling)
    method = AttentionPool(Config(entropy=0.1), net)
    terms = method.loss(BATCH)
    found = net(BATCH)
    entropy = loss = 0.0
    for i, bag in enumerate(X.double().numpy()):
        attention, logits = of_one_bag(net, bag)
        np.testing.assert_allclose(found.features["attention"][i].detach().numpy(), attention, atol=1e-6)
        np.testing.assert_allclose(found.logits[i].detach().numpy(), logits, atol=1e-6)
        entropy += float((attention * np.log(attention)).sum())
        loss -= float(np.log(softmax(logits))[LABELS[i]])
    assert terms["entropy"].mean().item() == pytest.approx(entropy / 6, rel=1e-5)
    assert terms.total().item() == pytest.approx(loss / 6 + 0.1 * entropy / 6, rel=1e-5)
    assert set(AttentionPool(Config(), net).loss(BATCH)) == {"label"}


def test_the_other_poolings_are_the_mean_and_the_largest_number():
    for pooling, pooled in (("mean", lambda h: h.mean(1)), ("max", lambda h: h.amax(1))):
        net = learner(pooling)
        hidden = net.module.instance(X)
        torch.testing.assert_close(net(BATCH).logits, net.module.head(pooled(hidden)))


@pytest.mark.parametrize("pooling", ["attention", "gated", "mean", "max"])
def test_instances_that_are_left_out_do_not_count(pooling):
    net = learner(pooling)
    kept = torch.tensor([[True, False, True, True]]).expand(6, -1)
    hidden = net.module.encode(X)
    torch.testing.assert_close(net.module.pool(hidden, kept), net.module.pool(hidden[:, [0, 2, 3]]))


def test_the_entropy_of_attention_has_closed_forms_and_finite_gradients():
    even, sharp = torch.full((2, 4), 0.25), torch.eye(4)[:2].requires_grad_()
    assert attention_entropy(even).mean().item() == pytest.approx(-np.log(4))
    term = attention_entropy(sharp)
    assert term.mean().item() == 0.0
    term.sum.backward()
    assert sharp.grad is not None
    assert sharp.grad.isfinite().all()


def test_a_student_of_bags_reads_each_instance_alike_and_in_any_order():
    bags = worlds.load("digits:bags")
    purpose = ForExamples(examples=bags, seed=3)
    for spec in ("bag:gated:mlp:8", "bag:attention:cnn:4"):
        model = purpose.open(spec, "student").model
        batch = bags.batch(torch.arange(5))
        turned = Batch({**batch, "x": batch["x"].flip(1)})
        torch.testing.assert_close(model(batch).logits, model(turned).logits)
        assert model(batch).logits.shape == (5, 2)
        again = purpose.open(spec, "student").model
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("spec", "world", "message"),
    [
        ("bag:median:mlp:8", "digits:bags", "the pooling is one of attention, gated, mean, max"),
        ("bag:mean:mlp:8", "digits", "the data are image of the shape .1, 8, 8.; it needs bags"),
        ("bag:mean:mlp:8", "wine", "it needs bags"),
    ],
)
def test_what_is_no_bag_is_refused(spec, world, message):
    with pytest.raises(ConfigError, match=message):
        ForExamples(examples=worlds.load(world), seed=0).build(parts.parse(spec, "student"))


def test_a_student_without_attention_is_refused():
    with pytest.raises(ConfigError, match="this one pools by max; give bag:attention:mlp:64"):
        AttentionPool(Config(), learner("max"))
    with pytest.raises(ConfigError, match="this one is no net over bags"):
        AttentionPool(Config(), ModuleLearner(nn.Linear(5, 2)))


ATTENTION = torch.rand(500, 10, generator=torch.Generator().manual_seed(1))


def test_the_most_attended_instances_are_hidden():
    torch.manual_seed(0)
    kept = keep_hard(ATTENTION, 0.2, 1.0)
    for row, seen in zip(ATTENTION.tolist(), kept.tolist(), strict=True):
        assert {i for i in range(10) if not seen[i]} == set(np.argsort(row)[-2:].tolist())
    half = keep_hard(ATTENTION, 0.2, 0.5)
    top = ATTENTION.argsort(1, descending=True)[:, :4]
    assert half.gather(1, ATTENTION.argsort(1)[:, :6]).all()
    assert float((~half).gather(1, top).double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)
    drawn = keep_hard(ATTENTION, 0.0, 0.5, 0.3)
    assert ((~drawn).sum(1) == 3).all()
    assert float((~drawn).double().mean(0).std()) < 0.04
    alone = keep_hard(ATTENTION, 0.5, 0.5, 0.9)
    assert alone.any(1).all()


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_hard_instances_learn_from_what_is_left(fraction):
    """`forward`, `get_mask` and `forward_loss` of modules/mhim.py in DearCaat/MHIM-MIL, bag by bag."""
    net = learner("attention")
    method = hard_instances.HardInstances(hard_instances.Config(easy=0.5, chance=1.0), net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1.3).add_(0.05)
    method.fraction = fraction
    terms = method.loss(BATCH)
    hide = round(4 * 0.5 * (1 + np.cos(np.pi * fraction)) / 2)
    label = consistency = 0.0
    state = {name: value.double().numpy() for name, value in net.module.state_dict().items()}
    for i, bag in enumerate(X.double().numpy()):
        seen, _ = of_one_bag(method.teacher.learner, bag)
        left = np.sort(np.argsort(seen)[: 4 - hide])
        attention, logits = of_one_bag(net, bag[left])
        hidden = np.tanh(bag[left] @ state["instance.0.weight"].T + state["instance.0.bias"])
        first = {name: value.double().numpy() for name, value in method.teacher.learner.module.state_dict().items()}
        whole = seen @ np.tanh(bag @ first["instance.0.weight"].T + first["instance.0.bias"])
        target, said = softmax(whole / 0.1), softmax(attention @ hidden)
        label -= np.log(softmax(logits)[LABELS[i]]) / 6
        consistency += (target * (np.log(target) - np.log(said))).sum() / 6
    assert terms["label"].mean().item() == pytest.approx(label, rel=1e-4)
    assert terms["consistency"].mean().item() == pytest.approx(consistency, rel=1e-4)
    assert terms.total().item() == pytest.approx(label + 0.1 * consistency, rel=1e-4)


def test_the_entropy_spreads_attention_and_its_absence_does_not():
    """The mechanism of the recipe: after some steps on labels, attention is even with a large weight only."""
    label = torch.arange(40) % 2
    x = torch.randn(40, 4, 5, generator=torch.Generator().manual_seed(2))
    x[label == 1, 0] += 3.0
    batch = Batch({"x": x, "label": label, "id": torch.arange(40)})

    def share(entropy):
        net = learner("attention")
        method = AttentionPool(Config(entropy=entropy), net)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
        for _ in range(20):
            optimizer.zero_grad()
            method.loss(batch).total().backward()
            optimizer.step()
        return -attention_entropy(net(batch).features["attention"][label == 1]).mean().item() / np.log(4)

    assert share(10.0) > 0.95
    assert share(0.0) < 0.8
