"""Methods for wrong labels that train two students, against transcriptions of their authors' code."""

import numpy as np
import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.masking import nested_mask
from didact.losses.labels.dividing import small_loss_chances
from didact.methods.noisy_labels import co_teaching, divide_mix
from didact.types import Batch

CLASSES, SIZE = 4, 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learner(seed=1):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Linear(3, CLASSES))


def batch(rows, seed=0):
    rows = torch.tensor(rows)
    labels = torch.randint(CLASSES, (SIZE,), generator=torch.Generator().manual_seed(seed))
    return Batch({"x": normal(SIZE, 3)[rows] * 3, "label": labels[rows], "row": rows, "id": rows + 100})


def authors_exchange(first, second, labels, forget_rate):
    """`loss_coteaching` of loss.py in bhanML/Co-teaching, without its second division by the number of examples."""
    losses = [nn.functional.cross_entropy(logits, labels, reduction="none") for logits in (first, second)]
    count = int((1 - forget_rate) * len(labels))
    kept = [np.argsort(loss.detach().numpy(), kind="stable")[:count] for loss in losses]
    exchanged = zip((first, second), reversed(kept), strict=True)
    return [nn.functional.cross_entropy(logits[index], labels[index]) for logits, index in exchanged]


@pytest.mark.parametrize(("fraction", "rate"), [(0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.7, 0.5)])
def test_co_teaching_and_its_gradients_are_those_of_the_authors(fraction, rate):
    config = co_teaching.Config(forget_rate=0.5, ramp_up=0.1)
    method = co_teaching.CoTeaching(config, learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    method.fraction = fraction
    shown = batch([0, 1, 2, 3, 4, 5, 6, 7])
    terms = method.loss(shown)
    doubles = [
        [p.detach().double().requires_grad_() for p in net.parameters()] for net in (method.learner, method.peer)
    ]
    logits = [shown["x"].double() @ weight.T + bias for weight, bias in doubles]
    expected = authors_exchange(*logits, shown["label"], rate)
    for i, (net, own) in enumerate(zip((method.learner, method.peer), doubles, strict=True)):
        mean = terms[f"label_{i}"].mean()
        assert mean.item() == pytest.approx(expected[i].item(), rel=1e-5)
        mine = torch.autograd.grad(mean, list(net.parameters()))
        for found, there in zip(mine, torch.autograd.grad(expected[i], own), strict=True):
            np.testing.assert_allclose(found.numpy(), there.numpy(), rtol=1e-4, atol=1e-6)


def test_nested_dropout_keeps_as_many_features_as_the_authors_draw():
    """`GaussianDist(0, std, N)` of train.py in yingyichen-cyy/Nested-Co-teaching."""
    torch.manual_seed(0)
    draws, width, spread = 4000, 8, 0.5
    masks = torch.stack([nested_mask(width, spread) for _ in range(draws)])
    assert ((masks[:, :-1] >= masks[:, 1:]).all()) and bool((masks[:, 0] == 1).all())
    chances = np.array([np.exp(-((i / (spread * width)) ** 2)) for i in range(1, width + 1)])
    found = np.bincount(masks.sum(1).long().numpy(), minlength=width + 1)[1:] / draws
    np.testing.assert_allclose(found, chances / chances.sum(), atol=0.03)


def test_heads_see_masked_features_and_a_net_without_a_head_is_refused(monkeypatch):
    monkeypatch.setattr(co_teaching, "nested_mask", lambda width, spread, device: (torch.arange(width) < 2).float())
    config = co_teaching.Config(nested_dropout=0.3, forget_rate=0.0)
    method = co_teaching.CoTeaching(config, learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    shown = batch([0, 1, 2, 3])
    head, masked = method.learner.head, shown["x"] * torch.tensor([1.0, 1.0, 0.0])
    expected = nn.functional.cross_entropy(masked @ head.weight.T + head.bias, shown["label"])
    assert method.loss(shown)["label_0"].mean().item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ConfigError, match="needs students with a linear head"):
        co_teaching.CoTeaching(
            config, ModuleLearner(nn.Linear(3, 4), head=None), lambda _: learner(2), batch([0]), SIZE
        )


def authors_semi_supervised(nets, views, labels, right, weight, seed):
    """Net 1 in `train` of Train_CIFAR.py in LiJunnan1992/DivideMix, in double precision.

    `right` is the other net's; the rows of its two loaders are one batch, in the order of both parts as they came.
    """
    known = right > 0.5
    one_hot = nn.functional.one_hot(labels, CLASSES).double()
    with torch.no_grad():
        outputs = [[net(view).softmax(1) for view in views] for net in nets]
        pu = sum(outputs[0] + outputs[1]) / 4
        px = right[:, None] * one_hot + (1 - right[:, None]) * sum(outputs[0]) / 2
        targets = torch.where(known[:, None], px, pu) ** (1 / 0.5)
        targets = targets / targets.sum(1, keepdim=True)
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(4.0, 4.0).sample())
    share = max(share, 1 - share)
    order = torch.randperm(2 * len(labels))
    inputs, wanted = torch.cat(views), targets.repeat(2, 1)
    logits = nets[0](share * inputs + (1 - share) * inputs[order])
    mixed, twice = share * wanted + (1 - share) * wanted[order], known.repeat(2)
    first = -(logits.log_softmax(1) * mixed)[twice].sum(1).mean()
    second = ((logits.softmax(1) - mixed)[~twice] ** 2).mean()
    prior = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
    penalty = (prior * (prior / logits.softmax(1).mean(0)).log()).sum()
    return first + weight * second + penalty


@pytest.mark.parametrize(("fraction", "weight"), [(0.2, 0.0), (0.225, 12.5), (0.6, 25.0)])
def test_divide_mix_and_its_gradient_are_those_of_the_authors(fraction, weight):
    method = divide_mix.DivideMix(divide_mix.Config(), learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    method.fraction = fraction
    shown = batch(list(range(8)))
    views = [shown["x"] + 0.1 * normal(8, 3, seed=number) for number in (1, 2)]
    shown = Batch({**shown, "first.x": views[0], "second.x": views[1]})
    right = torch.tensor([0.9, 0.2, 0.7, 1.0, 0.4, 0.6, 0.0, 0.8])
    method.losses.put(shown["row"], "right", torch.stack([1 - right, right], 1))
    torch.manual_seed(5)
    terms = method.loss(shown)
    own = [terms[f"{name}_0"] for name in ("label", "guess", "classes")]
    value = sum(term.mean() * term.weight for term in own)
    doubles = [
        [p.detach().double().requires_grad_() for p in net.parameters()] for net in (method.learner, method.peer)
    ]
    nets = [lambda x, w=w, b=b: x @ w.T + b for w, b in doubles]
    given = [view.double() for view in views]
    expected = authors_semi_supervised(nets, given, shown["label"], right.double(), weight, 5)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    mine = torch.autograd.grad(value, list(method.learner.parameters()))
    for found, there in zip(mine, torch.autograd.grad(expected, doubles[0]), strict=True):
        np.testing.assert_allclose(found.numpy(), there.numpy(), rtol=1e-4, atol=1e-6)


def test_the_labels_are_divided_by_the_other_students_losses_once_an_epoch():
    method = divide_mix.DivideMix(divide_mix.Config(), learner(), lambda _spec: learner(2), batch([0, 1]), SIZE)
    for rows in (range(6), range(6, 12)):
        assert (method.losses.right == 1).all()
        shown = batch(list(rows))
        method.loss(Batch({**shown, "first.x": shown["x"], "second.x": shown["x"]}))
        method.after_step()
    whole = batch(list(range(12)))
    for i, net in enumerate((method.learner, method.peer)):
        with torch.no_grad():
            losses = nn.functional.cross_entropy(net(whole).logits, whole["label"], reduction="none")
        torch.testing.assert_close(method.losses.loss[:, i], losses)
        torch.testing.assert_close(method.losses.right[:, i], small_loss_chances(losses))
    assert method.met.value == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mixture_is_that_of_scikit_learn(seed):
    from sklearn.mixture import GaussianMixture

    random = np.random.default_rng(seed)
    losses = np.concatenate([random.gamma(2, 0.2, 300), random.normal(3, 0.6, 150)])
    scaled = ((losses - losses.min()) / (losses.max() - losses.min()))[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=0, reg_covar=5e-4, random_state=0)
    with pytest.warns(Warning, match="did not converge"):
        mixture.fit(scaled)
    expected = mixture.predict_proba(scaled)[:, mixture.means_.argmin()]
    found = small_loss_chances(torch.from_numpy(losses).float()).numpy()
    # scikit-learn computes the shares of the rows once more, from the last fit.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert 0.3 < (found > 0.5).mean() < 0.9


def test_equal_losses_are_all_of_right_labels():
    assert small_loss_chances(torch.full((5,), 0.7)).tolist() == [1.0] * 5
