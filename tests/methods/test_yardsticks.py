"""The loss of each yardstick against a transcription of what its paper adds up, and what it refuses."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net, planted
from didact import worlds
from didact.errors import ConfigError, DataError, TeacherError
from didact.learners import ModuleLearner, find_stages
from didact.losses.labels.targets import target_features
from didact.methods.distillation import attention_transfer, contrastive_distillation, decoupled, relational
from didact.sources import BatchSource
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE, Batch, Cost, Features, Labels, Logits

FEATURE_METHODS = (
    (attention_transfer.AttentionTransfer, attention_transfer.Config),
    (relational.Relational, relational.Config),
    (partial(contrastive_distillation.ContrastiveDistillation, size=8), contrastive_distillation.Config),
)


def convolutional(width, seed, *, first_stride=1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, padding=1, stride=first_stride), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(2 * width, 3),
    )


def frozen(module):
    return FrozenTeacher(ModuleLearner(module))


@pytest.fixture
def images():
    """Six images, of which two have no label."""
    generator = torch.Generator().manual_seed(0)
    label = torch.tensor([0, IGNORE, 2, 1, IGNORE, 1])
    return Batch({"x": torch.randn(6, 1, 8, 8, generator=generator), "label": label, "id": torch.arange(6) + 40})


@pytest.fixture
def half():
    """Eight points, of which the even ones are labelled."""
    examples = planted(8)
    label = examples.tensors["label"].clone()
    label[1::2] = IGNORE
    return examples.with_tensors(label=label, row=torch.arange(8)).batch()


def softmax(rows, temperature=1.0):
    exponentials = np.exp(rows / temperature - (rows / temperature).max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def answers(module, x):
    with torch.no_grad():
        return module(x).double().numpy()


def distilled(mine, theirs, label, temperature=2.0, alpha=0.9):
    """What all of them but `decoupled` have beside their own term."""
    p, q = softmax(theirs, temperature), softmax(mine, temperature)
    soft = temperature**2 * (p * np.log(p / q)).sum(-1).mean()
    return alpha * soft + (1 - alpha) * labelled(mine, label)


def labelled(mine, label):
    there = label.numpy() != IGNORE
    return -np.log(softmax(mine)[there, label.numpy()[there]]).mean()


def attention(maps):
    energy = (maps**2).sum(1).reshape(len(maps), -1)
    return energy / np.linalg.norm(energy, axis=1, keepdims=True)


def test_attention_is_transferred_where_stages_end(images):
    student, teacher = convolutional(2, 1), convolutional(4, 2)
    config = attention_transfer.Config(weight=30.0)
    method = attention_transfer.AttentionTransfer(config, ModuleLearner(student), frozen(teacher), images)
    assert method.pairs == [("0", "0"), ("1", "1")]
    x, expected = images["x"], distilled(answers(student, images["x"]), answers(teacher, images["x"]), images["label"])
    for end in (1, 2):
        mine, theirs = attention(answers(student[:end], x)), attention(answers(teacher[:end], x))
        expected += 30.0 * ((mine - theirs) ** 2).sum(1).mean()
    assert method.loss(images).total().item() == pytest.approx(expected, rel=1e-5)


def test_attention_between_layers_that_are_named(images):
    student, teacher = convolutional(2, 1), convolutional(4, 2)
    config = attention_transfer.Config(student_taps=("1.0",), teacher_taps=("1",), weight=1.0, alpha=0.0)
    method = attention_transfer.AttentionTransfer(config, ModuleLearner(student), frozen(teacher), images)
    x = images["x"]
    mine = attention(answers(nn.Sequential(student[0], student[1][0]), x))
    expected = ((mine - attention(answers(teacher[:2], x))) ** 2).sum(1).mean()
    expected += labelled(answers(student, x), images["label"])
    assert method.loss(images).total().item() == pytest.approx(expected, rel=1e-5)


def test_attention_lists_candidates_where_there_is_no_common_resolution(images):
    student = ModuleLearner(convolutional(2, 1, first_stride=3))
    with pytest.raises(
        ConfigError, match=r"0 \(3x3\), 1 \(2x2\) and the teacher at 0 \(8x8\), 1 \(4x4\).*student_taps"
    ):
        attention_transfer.AttentionTransfer(attention_transfer.Config(), student, frozen(convolutional(2, 1)), images)
    flat = planted(8).batch()
    with pytest.raises(ConfigError, match=r"no layer and the teacher at no layer"):
        attention_transfer.AttentionTransfer(attention_transfer.Config(), ModuleLearner(net()), frozen(net(16)), flat)
    named = attention_transfer.Config(student_taps=("0",), teacher_taps=("1",))
    with pytest.raises(ConfigError, match=r"\[6, 2, 8, 8\].*\[6, 4, 4, 4\].*same height and width"):
        attention_transfer.AttentionTransfer(
            named, ModuleLearner(convolutional(2, 1)), frozen(convolutional(2, 1)), images
        )
    with pytest.raises(ConfigError, match="student_taps names 1 layers and teacher_taps 0"):
        attention_transfer.Config(student_taps=("0",))


def test_stages_are_the_last_blocks_of_each_resolution(images):
    module = convolutional(2, 1)
    assert find_stages(module, lambda: module(images["x"])) == {(8, 8): "0", (4, 4): "1"}
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    assert find_stages(plain, lambda: plain(images["x"])) == {(6, 6): "1"}
    assert not any(part._forward_hooks for part in module.modules())


def test_relational_adds_relations_to_distillation(half):
    student, teacher = net(), net(16, seed=9)
    config = relational.Config(distance=2.0, angle=3.0)
    method = relational.Relational(config, ModuleLearner(student), frozen(teacher), half)
    x = half["x"]
    mine, theirs = answers(student[:2], x), answers(teacher[:2], x)

    def distances(rows):
        found = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        return found / found[found > 0].mean()

    def cosines(rows):
        sides = rows[None] - rows[:, None]
        lengths = np.linalg.norm(sides, axis=-1, keepdims=True)
        sides = np.divide(sides, lengths, out=np.zeros_like(sides), where=lengths > 0)
        return np.einsum("jid,jkd->jik", sides, sides)

    def huber(d):
        return np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5).mean()

    expected = 2.0 * huber(distances(mine) - distances(theirs)) + 3.0 * huber(cosines(mine) - cosines(theirs))
    expected += distilled(answers(student, x), answers(teacher, x), half["label"])
    assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-4)


def critics(anchors, positives, negatives, own, normaliser, sharpness):
    """-log h(positive) - sum of log(1 - h(negative)), averaged; an anchor's own row is none of its negatives."""
    found = []
    for i, anchor in enumerate(anchors):
        others = [row for j, row in enumerate(negatives) if j != own[i]]
        noise = len(others) * normaliser
        scores = [np.exp(anchor @ row / sharpness) for row in (positives[i], *others)]
        h = [s / (s + noise) for s in scores]
        found.append(-np.log(h[0]) - sum(np.log(1 - p) for p in h[1:]))
    return np.mean(found)


def test_contrast_is_with_the_bank(half):
    student, teacher = net(), net(16, seed=9)
    config = contrastive_distillation.Config(width=5, bank_momentum=0.5, sharpness=0.3, weight=0.7)
    method = contrastive_distillation.ContrastiveDistillation(config, ModuleLearner(student), frozen(teacher), half, 8)
    sides = method.student_side, method.teacher_side
    banks, normalisers = [side.bank.embedding.double().numpy().copy() for side in sides], []
    for step, rows in enumerate((list(range(5)), list(range(3, 8)))):
        batch = half.select(torch.tensor(rows))
        embedded = [
            answers(nn.Sequential(module[:2], side.embed), batch["x"])
            for module, side in zip((student, teacher), sides, strict=True)
        ]
        embedded = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in embedded]
        pairs = (embedded[0], banks[1]), (embedded[1], banks[0])
        if step == 0:
            for anchors, bank in pairs:
                others = np.arange(8) != np.array(rows)[:, None]
                normalisers.append(np.exp(anchors @ bank.T / 0.3)[others].mean())
        expected = sum(
            critics(anchors, bank[rows], bank, rows, normaliser, 0.3)
            for (anchors, bank), normaliser in zip(pairs, normalisers, strict=True)
        )
        method.step = step
        terms = method.loss(batch)
        assert terms["contrast"].mean().item() == pytest.approx(expected, rel=1e-4)
        assert terms["contrast"].weight == 0.7
        for bank, z in zip(banks, embedded, strict=True):
            mixed = (bank[rows] + z) / 2
            bank[rows] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def test_the_normaliser_of_random_banks_is_known():
    """e^s has the mean exp(1 / (2 D t^2)) for a unit vector and a random one of width D: the authors' 2.2."""
    sample = planted(300).batch()
    method = contrastive_distillation.ContrastiveDistillation(
        contrastive_distillation.Config(), ModuleLearner(net()), frozen(net(16, seed=9)), sample, 3000
    )
    batch = Batch({**sample, "row": torch.arange(300)})
    method.contrastive_loss(batch, method.learner(batch).features["hidden"], method.teacher.signal(batch))
    for side in (method.student_side, method.teacher_side):
        assert side.log_normaliser.item() == pytest.approx(1 / (2 * 128 * 0.07**2), abs=0.25)


def test_every_example_has_a_row_of_its_own_in_the_banks():
    digits, config = worlds.load("digits"), contrastive_distillation.Config(width=4, bank_momentum=0.0)
    flat = digits.with_tensors(x=digits.tensors["x"].flatten(1)[:, :4])
    source = BatchSource(flat, batch_size=100)
    method = contrastive_distillation.ContrastiveDistillation(
        config, ModuleLearner(net(classes=10)), frozen(net(16, classes=10)), flat.batch(slice(0, 4)), digits.size
    )
    for batch in itertools.islice(source, -(-digits.size // 100)):
        method.contrastive_loss(batch, method.learner(batch).features["hidden"], method.teacher.signal(batch))
    with torch.no_grad():
        expected = method.student_side(method.learner(flat.batch()).features["hidden"])
    torch.testing.assert_close(method.student_side.bank.embedding, expected)


def test_decoupled_weighs_two_parts_and_takes_the_teachers_word_where_there_is_no_label(half):
    student, teacher = net(), net(16, seed=9)
    config = decoupled.Config(target_weight=2.0, others_weight=5.0, temperature=3.0, ramp_up=0.5)
    method = decoupled.Decoupled(config, ModuleLearner(student), frozen(teacher))
    mine, theirs = answers(student, half["x"]), answers(teacher, half["x"])
    p, q = softmax(theirs, 3.0), softmax(mine, 3.0)
    parts = np.zeros(2)
    for i, label in enumerate(half["label"].tolist()):
        c = p[i].argmax() if label == IGNORE else label
        a, b = p[i, c], q[i, c]
        rest, others = np.delete(p[i], c) / (1 - a), np.delete(q[i], c) / (1 - b)
        parts += [a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b)), (rest * np.log(rest / others)).sum()]
    for fraction, risen in ((0.0, 0.0), (0.25, 0.5), (0.8, 1.0)):
        method.fraction = fraction
        expected = labelled(mine, half["label"]) + risen * 9.0 / 8 * (2.0 * parts[0] + 5.0 * parts[1])
        assert method.loss(half).total().item() == pytest.approx(expected, rel=1e-4)


class Says:
    """A teacher that gives whatever it is told to."""

    def __init__(self, signal):
        self.said, self.cost = signal, Cost()

    def tap(self, *names):
        pass

    def signal(self, batch):
        return self.said


def test_decoupled_refuses_single_labels(half):
    method = decoupled.Decoupled(decoupled.Config(), ModuleLearner(net()), Says(Labels(labels=torch.zeros(8).long())))
    with pytest.raises(
        TeacherError, match="without probabilities of the others; decoupled needs a teacher with logits"
    ):
        method.loss(half)


def test_trust_reaches_every_term(half):
    trust = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.25, 1.0, 1.0])
    logits, hidden = torch.randn(8, 3), torch.randn(8, 4)
    said = Features(features={"hidden": hidden}, logits=logits, trust=trust)
    counts = {
        "relational": {"distance": 5.75**2, "angle": 5.75**3, "teacher": 5.75, "label": 4.0},
        "contrastive": {"contrast": 5.75, "teacher": 5.75, "label": 4.0},
        "decoupled": {"target": 5.75, "others": 5.75, "label": 4.0},
    }
    learner = ModuleLearner(net())
    methods = {
        "relational": relational.Relational(relational.Config(), learner, Says(said), half),
        "contrastive": contrastive_distillation.ContrastiveDistillation(
            contrastive_distillation.Config(), learner, Says(said), half, 8
        ),
        "decoupled": decoupled.Decoupled(decoupled.Config(), learner, Says(Logits(logits=logits, trust=trust))),
    }
    for name, method in methods.items():
        found = {term: float(value.count) for term, value in method.loss(half).items()}
        assert found == pytest.approx(counts[name])


@pytest.mark.parametrize(("method", "config"), FEATURE_METHODS)
def test_a_teacher_without_features_is_refused_before_training(method, config, images):
    with pytest.raises(TeacherError, match=r"a random teacher, which has none; a frozen module"):
        method(config(), ModuleLearner(convolutional(2, 1)), RandomTeacher(3), images)


def test_a_signal_without_the_features_that_were_asked_for_is_refused():
    with pytest.raises(TeacherError, match=r"Features of body, which has no features 'hidden'"):
        target_features(Features(features={"body": torch.zeros(2, 3)}), "hidden")
    with pytest.raises(TeacherError, match=r"signal is Logits, which has no features 'hidden'"):
        target_features(Logits(logits=torch.zeros(2, 3)), "hidden")


@pytest.mark.parametrize(("method", "config"), FEATURE_METHODS[1:])
def test_a_wrong_tap_lists_candidates_and_one_example_is_refused(method, config, half):
    with pytest.raises(ConfigError, match=r"tap is 'layer9'.*hidden"):
        method(config(student_tap="layer9"), ModuleLearner(net()), frozen(net()), half)
    made = method(config(), ModuleLearner(net()), frozen(net(16)), half)
    assert made.feed.coupled
    with pytest.raises(DataError, match=r"The batch has 1 example.*choose a batch size of at least 2"):
        made.loss(half.select(torch.tensor([0])))
