"""Each method's loss against a transcription of its paper's formula, and what every method must do."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import METHODS, make_method, net, planted, quiet_fit, weights
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.methods.distillation import distill, fitnet, mutual_learning
from didact.methods.semi_supervised import mean_teacher
from didact.methods.supervised import supervised
from didact.sources import BatchSource
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE, Batch, Method
from transcribed import same_loss


def softmax(rows, temperature=1.0):
    exponentials = np.exp(rows / temperature - (rows / temperature).max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def answers(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return module(x).double().numpy()


@pytest.fixture
def half() -> Batch:
    """Eight examples, of which the even ones are labelled."""
    examples = planted(8)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label).batch()


def label_mean(logits, label):
    there = label.numpy() != IGNORE
    return -np.log(softmax(logits)[there, label.numpy()[there]]).mean()


def test_supervised_with_smoothing(half):
    module = net()
    method = supervised.Supervised(supervised.Config(label_smoothing=0.2), ModuleLearner(module))
    logits, there = answers(module, half["x"]), half["label"].numpy() != IGNORE
    target = 0.8 * np.eye(3)[half["label"].numpy()[there]] + 0.2 / 3
    expected = -(target * np.log(softmax(logits[there]))).sum(-1).mean()
    assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-5)


def test_supervised_is_torchs_cross_entropy_and_its_gradient(half):
    module = net()
    method = supervised.Supervised(supervised.Config(label_smoothing=0.2), ModuleLearner(module))
    expected = F.cross_entropy(module(half["x"]), half["label"], ignore_index=IGNORE, label_smoothing=0.2)
    same_loss(method.loss(half).total(), expected, module.parameters())


def kl(mine, theirs, temperature=1.0):
    """As the codes that are compared write it; no gradient flows into the second."""
    log_probs, target = (mine / temperature).log_softmax(1), (theirs.detach() / temperature).softmax(1)
    return F.kl_div(log_probs, target, reduction="sum") * temperature**2 / len(mine)


def test_distill_and_its_gradient_are_those_of_repdistiller(half):
    student, teacher = net(), net(16, seed=9)
    config = distill.Config(temperature=3.0, alpha=0.7)
    method = distill.Distill(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)))
    mine = student(half["x"])
    label = F.cross_entropy(mine, half["label"], ignore_index=IGNORE)
    same_loss(method.loss(half).total(), 0.7 * kl(mine, teacher(half["x"]), 3.0) + 0.3 * label, student.parameters())


def test_distill_is_hintons_weighted_average(half):
    student, teacher = net(), net(16, seed=9)
    config = distill.Config(temperature=3.0, alpha=0.7)
    method = distill.Distill(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)))
    mine, theirs = answers(student, half["x"]), answers(teacher, half["x"])
    p, q = softmax(theirs, 3.0), softmax(mine, 3.0)
    soft = 9.0 * (p * (np.log(p) - np.log(q))).sum(-1).mean()
    expected = 0.7 * soft + 0.3 * label_mean(mine, half["label"])
    assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-5)


def test_the_softened_gradient_is_the_difference_of_softened_probabilities(half):
    """Hinton et al., equation 2: dC/dz = (q - p) / T; the loss's T squared turns it into T (q - p)."""
    student, teacher = net(), net(16, seed=9)
    method = distill.Distill(
        distill.Config(temperature=5.0, alpha=1.0), ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher))
    )
    method.loss(half).backward()
    p, q = softmax(answers(teacher, half["x"]), 5.0), softmax(answers(student, half["x"]), 5.0)
    assert student[-1].bias.grad.numpy() == pytest.approx(5.0 * (q - p).mean(0), abs=1e-5)


def test_distill_for_a_regression_fits_the_teachers_numbers():
    x = torch.randn(6, 4)
    batch = Batch(
        {"x": x, "label": torch.tensor([1.0, float("nan"), 2.0, 3.0, float("nan"), 0.0]), "id": torch.arange(6)}
    )

    class Doubler:
        cost = RandomTeacher(2).cost

        def signal(self, batch):
            from didact.types import Labels

            return Labels(labels=2.0 * batch["x"][:, 0])

    student = nn.Linear(4, 1)
    method = distill.Distill(distill.Config(alpha=0.5), ModuleLearner(student), Doubler())
    mine = answers(student, x)[:, 0]
    label = batch["label"].numpy()
    there = ~np.isnan(label)
    expected = 0.5 * ((mine - 2 * x[:, 0].numpy()) ** 2).mean() + 0.5 * ((mine[there] - label[there]) ** 2).mean()
    assert method.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)


def test_fitnet_fits_the_hint_and_then_distils(half):
    student, teacher = net(), net(16, seed=9)
    config = fitnet.Config(student_tap="1", teacher_tap="1", hint_share=0.5, alpha=0.6, temperature=2.0)
    method = fitnet.FitNet(config, ModuleLearner(student), FrozenTeacher(ModuleLearner(teacher)), half)
    guided, hint = answers(student[:2], half["x"]), answers(teacher[:2], half["x"])
    regressor = method.regressor
    projected = guided @ regressor.weight.detach().numpy().T + regressor.bias.detach().numpy()
    assert set(method.loss(half)) == {"hint"}
    assert method.loss(half).total().item() == pytest.approx(((projected - hint) ** 2).mean(), rel=1e-5)

    method.fraction = 0.5
    mine, theirs = answers(student, half["x"]), answers(teacher, half["x"])
    p, q = softmax(theirs, 2.0), softmax(mine, 2.0)
    expected = 0.6 * 4.0 * (p * np.log(p / q)).sum(-1).mean() + 0.4 * label_mean(mine, half["label"])
    assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-5)


def test_the_hint_leaves_what_is_above_the_guided_layer_alone(half):
    method = make_method("fitnet")
    method.loss(half).backward()
    assert method.learner.head.weight.grad is None
    assert method.regressor.weight.grad is not None


def test_mutual_learning_pulls_each_student_to_the_mean_of_the_others(half):
    modules = [net(seed=s) for s in range(3)]
    rest = iter(modules[1:])
    method = mutual_learning.MutualLearning(
        mutual_learning.Config(students=3), ModuleLearner(modules[0]), lambda spec: ModuleLearner(next(rest))
    )
    logits = [answers(m, half["x"]) for m in modules]
    expected = 0.0
    for i in range(3):
        expected += label_mean(logits[i], half["label"])
        for k in {0, 1, 2} - {i}:
            p, q = softmax(logits[k]), softmax(logits[i])
            expected += (p * np.log(p / q)).sum(-1).mean() / 2
    assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-5)


def test_mutual_learning_and_its_gradients_are_those_of_each_student_alone(half):
    """The divergences of the authors' code, summed there over the peers, and a gradient for each student alone."""
    modules = [net(seed=s) for s in range(3)]
    rest = iter(modules[1:])
    method = mutual_learning.MutualLearning(
        mutual_learning.Config(students=3), ModuleLearner(modules[0]), lambda _spec: ModuleLearner(next(rest))
    )
    logits = [module(half["x"]) for module in modules]
    expected = 0.0
    for i, mine in enumerate(logits):
        peers = [kl(mine, other) for j, other in enumerate(logits) if i != j]
        expected = expected + F.cross_entropy(mine, half["label"], ignore_index=IGNORE) + sum(peers) / 2
    parameters = [parameter for module in modules for parameter in module.parameters()]
    same_loss(method.loss(half).total(), expected, parameters)


def test_no_gradient_flows_into_a_peer_from_what_it_says(half):
    method = make_method("mutual_learning")
    terms = method.loss(half)
    terms["peer_0_1"].sum.backward()
    assert all(p.grad is None for p in method.peers.parameters())
    assert all(p.grad is not None for p in method.learner.parameters())


def test_mean_teacher_pulls_towards_the_average_along_the_ramp(half):
    module = net()
    method = mean_teacher.MeanTeacher(mean_teacher.Config(weight=10.0, ramp_up=0.5), ModuleLearner(module))
    views = Batch({**half, "first.x": half["x"] + 0.1, "second.x": half["x"] - 0.1})
    method.teacher.learner.module[0].weight.data += 0.3
    mine, theirs = answers(module, half["x"] + 0.1), answers(method.teacher.learner.module, half["x"] - 0.1)
    squared = ((softmax(mine) - softmax(theirs)) ** 2).mean()
    for fraction, weight in [(0.0, math.exp(-5)), (0.25, math.exp(-1.25)), (0.5, 1.0), (0.9, 1.0)]:
        method.fraction = fraction
        expected = label_mean(mine, half["label"]) + 10.0 * weight * squared
        assert method.loss(views).total().item() == pytest.approx(expected, rel=1e-5)


def test_mean_teacher_and_its_gradient_are_those_of_the_authors(half):
    """`softmax_mse_loss` of their code, over the examples; the labels' sum is divided by the labelled ones here."""
    module = net()
    method = mean_teacher.MeanTeacher(mean_teacher.Config(weight=10.0, ramp_up=0.5), ModuleLearner(module))
    method.fraction = 0.25
    views = Batch({**half, "first.x": half["x"] + 0.1, "second.x": half["x"] - 0.1})
    method.teacher.learner.module[0].weight.data += 0.3
    mine = module(half["x"] + 0.1)
    theirs = method.teacher.learner.module(half["x"] - 0.1).detach()
    apart = F.mse_loss(mine.softmax(1), theirs.softmax(1), reduction="sum") / 3 / 8
    expected = F.cross_entropy(mine, half["label"], ignore_index=IGNORE) + 10.0 * math.exp(-1.25) * apart
    same_loss(method.loss(views).total(), expected, module.parameters())


def test_mean_teacher_delivers_the_average(half):
    method = make_method("mean_teacher")
    start = method.learner.module[0].weight.detach().clone()
    with torch.no_grad():
        method.learner.module[0].weight += 1.0
    method.after_step()
    # The first update keeps (1 + 0) / (10 + 0) of the average.
    torch.testing.assert_close(method.delivered.module[0].weight, 0.1 * start + 0.9 * (start + 1.0))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_teaches(name):
    examples, method = planted(labelled=0.5), make_method(name)
    if name in ("distill", "fitnet"):
        options = {"device": "cpu", "optimizer": OptimizerConfig(lr=1e-2)}
        teacher = supervised.Supervised(supervised.Config(), ModuleLearner(net(16)))
        quiet_fit(teacher, BatchSource(planted(), batch_size=32), budget=Budget(steps=200), **options)
        method.teacher = FrozenTeacher(teacher.learner)
        method.teacher.tap("hidden")
    source = BatchSource(examples, batch_size=32, views=method.feed.views)
    options = {"optimizer": OptimizerConfig(lr=1e-2), "device": "cpu"}
    quiet_fit(method, source, budget=Budget(steps=300), **options)
    fresh = planted(300, seed=5)
    right = method.delivered(fresh.batch()).logits.argmax(-1) == fresh.tensors["label"]
    assert right.float().mean() > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_state_survives(name, half):
    first, second = make_method(name, seed=1), make_method(name, seed=2)
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    second.load_state_dict(first.state_dict())
    assert weights(first).keys() == weights(second).keys()
    for key, value in weights(first).items():
        assert torch.equal(value, weights(second)[key])


@pytest.mark.parametrize("name", METHODS)
def test_counts_are_those_of_the_loss(name):
    method, examples = make_method(name), planted(20, labelled=0.5)
    batch = next(iter(BatchSource(examples, batch_size=20, views=method.feed.views)))
    for fraction in (0.0, 0.9):
        method.fraction = fraction
        counts = method.counts(batch)
        for term, value in method.loss(batch).items():
            assert float(counts[term]) == float(value.count)


def test_a_frozen_teacher_is_neither_trained_nor_saved():
    method = make_method("distill")
    assert set(method.modules()) == {"learner"}
    assert set(method.state_dict()) == {"learner"}
    assert len(method.teachers()) == 1


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (supervised.Config, [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}]),
        (distill.Config, [{"temperature": 0.0}, {"alpha": 1.1}, {"temperature": float("nan")}]),
        (fitnet.Config, [{"hint_share": 1.0}, {"temperature": -1.0}, {"alpha": -0.1}]),
        (mutual_learning.Config, [{"students": 1}, {"weight": -1.0}, {"temperature": 0.0}]),
        (mean_teacher.Config, [{"ema_decay": 1.0}, {"weight": -1.0}, {"ramp_up": 1.5}]),
    ],
)
def test_nonsense_is_refused(config, values):
    for options in values:
        (field,) = options
        with pytest.raises(ConfigError, match=f"{field} is .*must be"):
            config(**options)


def test_a_teacher_without_features_is_refused_before_training():
    sample = planted(8).batch()
    with pytest.raises(ValueError, match=r"Features .* which has none"):
        fitnet.FitNet(fitnet.Config(), ModuleLearner(net()), RandomTeacher(3), sample)


def test_a_wrong_tap_lists_candidates():
    with pytest.raises(ConfigError, match=r"tap is 'layer9'.*hidden"):
        fitnet.FitNet(
            fitnet.Config(student_tap="layer9"),
            ModuleLearner(net()),
            FrozenTeacher(ModuleLearner(net())),
            planted(8).batch(),
        )


def test_a_method_must_say_what_its_loss_is():
    with pytest.raises(NotImplementedError, match="must say what its loss is"):
        Method().loss(planted(4).batch())
