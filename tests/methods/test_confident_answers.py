"""Methods that learn their own confident answers, against USB's arithmetic written out row by row."""

import copy
import math

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

from conftest import net, planted
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.losses.labels import gates
from didact.memory import ClassStatistics, ConfidentLabels
from didact.methods.semi_supervised import (
    balanced_pseudo_labels,
    dual_mean_teacher,
    fixmatch,
    flexmatch,
    freematch,
    learning_with_less,
    pair_labels,
    pseudo_label,
    shrunk_classes,
    softmatch,
    two_thresholds,
)
from didact.teachers import FrozenTeacher
from didact.types import IGNORE, Batch
from transcribed import same_loss

SIZE, CLASSES, STEPS = 16, 3, 4


def batches():
    """Batches of the same rows, of which the first four are labelled, with other views in each."""
    examples = planted(SIZE)
    label = examples.tensors["label"].clone()
    label[4:] = IGNORE
    plain = examples.with_tensors(label=label).batch()
    chance = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        views = {
            f"{view}.x": plain["x"] + torch.randn(plain["x"].shape, generator=chance) for view in ("weak", "strong")
        }
        yield Batch({**plain, **views, "row": torch.arange(SIZE)})


def sharp():
    """A net whose confidences are spread."""
    module = net()
    with torch.no_grad():
        module[-1].weight.mul_(40.0)
    return module


def decay(updates):
    """That of an average with the rise of this package, where USB's is constant."""
    return min(0.999, (1 + updates) / (10 + updates))


def usb_loss(module, batch, mask, weight=1.0):
    """The labels' loss, and that of the pseudo-labels, masked and averaged over all unlabelled examples."""
    said = module(batch["weak.x"][4:]).argmax(-1)
    unlabelled = F.cross_entropy(module(batch["strong.x"][4:]), said, reduction="none")
    return F.cross_entropy(module(batch["weak.x"][:4]), batch["label"][:4]) + weight * (unlabelled * mask).mean()


def confidences(module, batch):
    with torch.no_grad():
        return module(batch["weak.x"]).softmax(-1)


def test_fixmatch_is_usbs():
    module = sharp()
    method = fixmatch.FixMatch(fixmatch.Config(threshold=0.8, weight=0.5), ModuleLearner(module))
    for batch in batches():
        mask = (confidences(module, batch)[4:].amax(-1) >= 0.8).float()
        assert 0 < mask.sum() < 12
        terms = method.loss(batch)
        same_loss(terms.total(), usb_loss(module, batch, mask, 0.5), module.parameters())
        assert float(terms["admitted"].mean()) == pytest.approx(float(mask.mean()))
        assert {name: float(count) for name, count in method.counts(batch).items()} == {
            name: float(term.count) for name, term in terms.items()
        }


@pytest.mark.parametrize(("fraction", "ramp"), [(0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_pseudo_label_is_usbs(fraction, ramp):
    module = sharp()
    method = pseudo_label.PseudoLabel(pseudo_label.Config(threshold=0.8), ModuleLearner(module))
    method.fraction = fraction
    for batch in batches():
        logits = module(batch["weak.x"][4:])
        mask = (logits.softmax(-1).amax(-1) >= 0.8).float()
        unlabelled = F.cross_entropy(logits, logits.argmax(-1), reduction="none")
        expected = F.cross_entropy(module(batch["weak.x"][:4]), batch["label"][:4])
        expected = expected + ramp * (unlabelled * mask).mean()
        same_loss(method.loss(batch).total(), expected, module.parameters())


def test_flexmatch_is_usbs():
    module = sharp()
    config = flexmatch.Config(threshold=0.8)
    method = flexmatch.FlexMatch(config, ModuleLearner(module), next(batches()), SIZE)
    selected, learned = [-1] * SIZE, [0.0] * CLASSES
    for batch in batches():
        probs = confidences(module, batch)
        mask = []
        for confidence, said in zip(probs.amax(-1).tolist(), probs.argmax(-1).tolist(), strict=True):
            mask.append(float(confidence >= 0.8 * learned[said] / (2 - learned[said])))
        same_loss(method.loss(batch).total(), usb_loss(module, batch, torch.tensor(mask[4:])), module.parameters())
        for row in range(SIZE):
            if probs[row].max() >= 0.8:
                selected[row] = int(probs[row].argmax())
        most = max(selected.count(one) for one in (-1, *range(CLASSES)))
        learned = [selected.count(one) / most for one in range(CLASSES)]
    assert len(set(learned)) == CLASSES


def test_freematch_is_usbs():
    module = sharp()
    method = freematch.FreeMatch(freematch.Config(fairness=0.3), ModuleLearner(module), next(batches()))
    time_p, p_model, histogram = 1 / CLASSES, torch.full((CLASSES,), 1 / CLASSES), torch.full((CLASSES,), 1 / CLASSES)
    passed = []
    for step, batch in enumerate(batches()):
        probs, d = confidences(module, batch)[4:], decay(step)
        confidence, said = probs.max(-1)
        time_p = time_p * d + (1 - d) * float(confidence.mean())
        p_model = p_model * d + (1 - d) * probs.mean(0)
        histogram = histogram * d + (1 - d) * said.bincount(minlength=CLASSES) / 12
        mask = (confidence >= time_p * (p_model / p_model.max())[said]).float()
        passed.append(float(mask.mean()))
        strong = module(batch["strong.x"][4:])[mask.bool()].softmax(-1)
        shares = strong.argmax(-1).bincount(minlength=CLASSES) / len(strong)
        scaled = [p_model / histogram, strong.mean(0) * torch.where(shares > 0, 1 / shares, 0.0)]
        wanted, found = (one / one.sum() for one in scaled)
        expected = usb_loss(module, batch, mask) + 0.3 * (wanted * torch.log(found + 1e-12)).sum()
        same_loss(method.loss(batch).total(), expected, module.parameters())
    assert min(passed) < 1.0


@pytest.mark.parametrize("aligned", [True, False])
def test_softmatch_is_usbs(aligned):
    module = sharp()
    config = softmatch.Config(aligned=aligned, sigmas=3.0)
    method = softmatch.SoftMatch(config, ModuleLearner(module), next(batches()))
    p_model, mean, variance = torch.full((CLASSES,), 1 / CLASSES), 1 / CLASSES, 1.0
    for step, batch in enumerate(batches()):
        probs, d = confidences(module, batch)[4:], decay(step)
        if aligned:
            p_model = p_model * d + (1 - d) * probs.mean(0)
            probs = probs * (1 / CLASSES + 1e-6) / (p_model + 1e-6)
            probs = probs / probs.sum(-1, keepdim=True)
        confidence = probs.amax(-1)
        mean = d * mean + (1 - d) * float(confidence.mean())
        variance = d * variance + (1 - d) * float(confidence.var())
        mask = [math.exp(-(min(one - mean, 0.0) ** 2) / (2 * variance / 9)) for one in confidence.tolist()]
        same_loss(method.loss(batch).total(), usb_loss(module, batch, torch.tensor(mask)), module.parameters())


def shrunk(probs, logits, threshold):
    """The loss among fewer classes of one example, with its first weight, by leaving out one class after another."""
    order = probs.argsort(descending=True).tolist()
    for first in range(2, len(order)):
        kept = [order[0], *order[first:]]
        share = probs[order[0]] / probs[kept].sum()
        if probs[order[0]] < threshold <= share:
            return -logits[kept].log_softmax(0)[0] * probs[order[0]]
    return 0.0 * logits.sum()


def test_shrunk_classes_is_the_authors():
    module = sharp()
    config = shrunk_classes.Config(threshold=0.9, weight=0.5, shrunk=2.0)
    method = shrunk_classes.ShrunkClasses(config, ModuleLearner(module))
    certain, uncertain = 0.0, 0
    for step, batch in enumerate(batches()):
        method.step = step
        probs = confidences(module, batch)[4:]
        mask = (probs.amax(-1) >= 0.9).float()
        certain = decay(step) * certain + (1 - decay(step)) * float(mask.mean())
        strong = module(batch["strong.x"][4:])
        losses = [shrunk(one, scores, 0.9) for one, scores in zip(probs, strong, strict=True)]
        uncertain += sum(float(one.detach()) > 0 for one in losses)
        expected = usb_loss(module, batch, mask, 0.5) + 2.0 * certain * sum(losses) / 12
        same_loss(method.loss(batch).total(), expected, module.parameters())
    assert uncertain


def test_learning_with_less_is_its_description():
    module, theirs = sharp(), net(seed=9)
    with torch.no_grad():
        theirs[-1].weight.mul_(40.0)
    teacher = FrozenTeacher(ModuleLearner(theirs))
    method = learning_with_less.LearningWithLess(learning_with_less.Config(), ModuleLearner(module), teacher)
    least, selected = [0.0, 0.0], 0
    for step, batch in enumerate(batches()):
        method.step = step
        plain = Batch({**batch, "x": batch["weak.x"]})
        with torch.no_grad():
            said = theirs(plain["x"]).softmax(-1)
            mine = module(plain["x"]).softmax(-1)
        values = said.amax(-1), -(mine * mine.log()).sum(-1) / math.log(CLASSES)
        d = decay(step)
        least = [d * one + (1 - d) * float(value.mean()) for one, value in zip(least, values, strict=True)]
        expected = 0.0
        for row in range(SIZE):
            sure, unsure = (float(value[row]) for value in values)
            if sure >= least[0] and unsure >= least[1]:
                selected += 1
                loss = F.cross_entropy(module(plain["x"])[row : row + 1], said[row : row + 1].argmax(-1))
                expected = expected + sure * unsure * loss / SIZE
        same_loss(method.loss(plain).total(), expected, module.parameters())
    assert 0 < selected < STEPS * SIZE


@pytest.mark.parametrize("both", [True, False])
def test_dual_mean_teacher_is_its_description(both):
    students = [sharp(), net(seed=5)]
    with torch.no_grad():
        students[1][-1].weight.mul_(40.0)
    config = dual_mean_teacher.Config(threshold=0.6, labels_first=0.2, both=both)
    method = dual_mean_teacher.DualMeanTeacher(
        config, ModuleLearner(students[0]), lambda _spec: ModuleLearner(students[1])
    )
    parameters = [parameter for student in students for parameter in student.parameters()]
    for fraction, batch in zip((0.1, 0.2, 0.5), batches(), strict=False):
        method.fraction = fraction
        answers = [confidences(student, batch)[4:] for student in students]
        expected, admitted = 0.0, [0, 0]
        for number, student in enumerate(students):
            expected = expected + F.cross_entropy(student(batch["weak.x"][:4]), batch["label"][:4])
            strong = student(batch["strong.x"][4:])
            judges = answers if both else [answers[number]]
            for row in range(12):
                said = {int(one[row].argmax()) for one in judges}
                if len(said) == 1 and min(float(one[row].max()) for one in judges) >= 0.6:
                    admitted[number] += 1
                    loss = -strong[row].log_softmax(0)[said.pop()] / 12
                    expected = expected + (loss if fraction >= 0.2 else 0.0 * loss)
        assert 0 < admitted[1] < 12 or not both
        terms = method.loss(batch)
        same_loss(terms.total(), expected, parameters)
        assert float(terms["admitted"].mean()) == pytest.approx(admitted[1] / 12)
        assert {name: float(count) for name, count in method.counts(batch).items()} == {
            name: float(term.count) for name, term in terms.items()
        }


@pytest.mark.parametrize("balanced", [True, False])
def test_balanced_pseudo_labels_rank_each_class(balanced):
    student, model = net(), sharp()
    config = balanced_pseudo_labels.Config(per_class=2, classes_each=2, balanced=balanced)
    batch = next(batches())
    plain = Batch({**batch, "x": batch["weak.x"]})
    method = balanced_pseudo_labels.BalancedPseudoLabels(
        config, ModuleLearner(student), lambda _spec: ModuleLearner(model), plain, SIZE
    )
    labels = {0.1: model, 0.8: student}
    for fraction, learned in labels.items():
        method.fraction = fraction
        expected = F.cross_entropy(learned(plain["x"][:4]), plain["label"][:4])
        same_loss(method.loss(plain).total(), expected, learned.parameters())
    method.fraction = 0.4
    probs = confidences(model, batch)[4:]
    pairs = []
    if balanced:
        for kind in range(CLASSES):
            serving = [row for row in range(12) if kind in probs[row].topk(2).indices.tolist()]
            pairs += [(row, kind) for row in sorted(serving, key=lambda row: -probs[row, kind])[:2]]
    else:
        surest = sorted(range(12), key=lambda row: -probs[row].max())[:6]
        pairs = [(row, int(probs[row].argmax())) for row in surest]
    log_probs = student(plain["x"][4:]).log_softmax(-1)
    expected = -sum(log_probs[row, kind] for row, kind in pairs) / 12
    # Twice: the second pass ranks the same pool again.
    for _ in range(2):
        terms = method.loss(plain)
        same_loss(terms.total(), expected, student.parameters())
        assert float(terms["admitted"].mean()) == pytest.approx(len({row for row, _ in pairs}) / 12)


def test_more_pseudo_labels_than_examples_are_refused():
    config = balanced_pseudo_labels.Config(per_class=SIZE + 1)
    with pytest.raises(ConfigError, match=r"per_class is 17, but there are 16 training examples; 5 would"):
        balanced_pseudo_labels.BalancedPseudoLabels(
            config, ModuleLearner(net()), lambda _spec: ModuleLearner(net()), next(batches()), SIZE
        )


def test_all_predictions_below_the_gate_teach_nothing():
    module = net()
    method = fixmatch.FixMatch(fixmatch.Config(threshold=1.0), ModuleLearner(module))
    batch = next(batches())
    with torch.no_grad():
        terms = method.loss(batch)
    assert float(terms["pseudo"].mean()) == float(terms["admitted"].mean()) == 0.0
    assert terms.total().item() == pytest.approx(float(terms["label"].mean()))


SELF_LABELLING = {
    "fixmatch": lambda learner, _batch, least=0.4: fixmatch.FixMatch(fixmatch.Config(threshold=least), learner),
    "freematch": lambda learner, batch: freematch.FreeMatch(freematch.Config(), learner, batch),
    "softmatch": lambda learner, batch: softmatch.SoftMatch(softmatch.Config(), learner, batch),
    "shrunk_classes": lambda learner, _batch: shrunk_classes.ShrunkClasses(shrunk_classes.Config(), learner),
}
"""Methods that need no answers to labelled examples."""


def normalised(name, batch, **options):
    """A method whose student has batch normalisation, and a copy of its net."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = batch["x"].shape[1]
        module = nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    method = SELF_LABELLING[name](ModuleLearner(module), batch, **options)
    return method, module, copy.deepcopy(module)


@pytest.mark.parametrize("name", SELF_LABELLING)
def test_labelled_examples_are_not_answered_for_pseudo_labels(name):
    """Batch normalisation has the statistics that it has in USB."""
    batch = next(batches())
    method, module, twin = normalised(name, batch)
    shown = []
    module.register_forward_pre_hook(lambda _module, args: shown.append(args[0]))
    terms = method.loss(batch)
    with torch.no_grad():
        confidence, said = twin(batch["weak.x"][4:]).softmax(-1).max(-1)
    logits = twin(torch.cat([batch["weak.x"][:4], batch["strong.x"][4:]]))
    assert torch.equal(shown[0], batch["weak.x"][4:]) and len(shown[1]) == SIZE
    torch.testing.assert_close(module.state_dict(), twin.state_dict())
    label = F.cross_entropy(logits[:4], batch["label"][:4])
    torch.testing.assert_close(terms["label"].mean(), label)
    if name == "fixmatch":
        mask = (confidence >= 0.4).float()
        assert 0 < mask.sum() < 12
        (label + (F.cross_entropy(logits[4:], said, reduction="none") * mask).mean()).backward()
        terms.total().backward()
        for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unlabelled", [0, 1])
def test_too_few_unlabelled_examples_are_normalised_with_the_others(unlabelled):
    batch = next(batches())
    label = planted(SIZE).tensors["label"].clone()
    label[:unlabelled] = IGNORE
    method, _, twin = normalised("fixmatch", batch, least=0.0)
    terms = method.loss(Batch({**batch, "label": label}))
    said = twin(batch["weak.x"]).argmax(-1)[:unlabelled]
    logits = twin(torch.cat([batch["strong.x"][:unlabelled], batch["weak.x"][unlabelled:]]))
    expected = F.cross_entropy(logits[unlabelled:], label[unlabelled:])
    if unlabelled:
        expected = expected + F.cross_entropy(logits[:unlabelled], said)
    torch.testing.assert_close(terms.total(), expected)


def test_statistics_count_nothing_where_nothing_counts():
    statistics = ClassStatistics(3)
    before = {name: value.clone() for name, value in statistics.state_dict().items()}
    statistics.update(torch.rand(4, 3).softmax(-1), torch.zeros(4))
    for name, value in statistics.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ConfigError, match="decay"):
        ClassStatistics(3, decay=1.0)


def test_a_row_counts_once_for_its_last_class():
    table = ConfidentLabels(5, 2)
    assert table.learned().tolist() == [0.0, 0.0]
    table.update(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0]), torch.tensor([True, True, True]))
    assert table.learned().tolist() == [0.5, 1.0]
    table.update(torch.tensor([0, 3]), torch.tensor([0, 1]), torch.tensor([True, False]))
    assert table.learned().tolist() == [1.0, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_two_means_are_those_of_k_means(seed):
    values = torch.rand(17, generator=torch.Generator().manual_seed(seed))
    found = KMeans(2, n_init=20, random_state=0).fit(values[:, None].numpy()).cluster_centers_[:, 0]
    assert [float(one) for one in gates.two_means(values)] == pytest.approx(sorted(found), abs=1e-6)


def test_thresholds_of_classes_are_cut_to_two_digits_and_need_three_scores():
    confidence = torch.tensor([0.5, 0.53, 0.9, 0.999, 0.4, 0.6, 0.7])
    label = torch.tensor([0, 0, 0, 0, 1, 1, -1])
    found = gates.two_thresholds(confidence, label, 3, 0.99)
    assert found.tolist() == [pytest.approx([0.51, 0.94]), pytest.approx([0.99] * 2), pytest.approx([0.99] * 2)]


def test_a_gate_has_three_grades_with_strict_limits():
    confidence = torch.tensor([0.2, 0.5, 0.6, 0.9, 0.95])
    assert gates.graded_gate(confidence, 0.5, 0.9).tolist() == pytest.approx([0.0, 0.0, 0.6, 0.9, 1.0])


def theirs(method, batch):
    with torch.no_grad():
        return method.teacher.learner.module(batch["weak.x"]).softmax(-1)


@pytest.mark.parametrize("adaptive", [True, False])
def test_two_thresholds_are_the_authors(adaptive):
    module = sharp()
    config = two_thresholds.Config(adaptive=adaptive, threshold=0.8, every=2, weight=0.5)
    method = two_thresholds.TwoThresholds(config, ModuleLearner(module), next(batches()), SIZE)
    with torch.no_grad():
        module[-1].weight.mul_(0.9)  # So that the student is not its average.
    scores, thresholds, weights = {}, [(0.8, 0.8)] * CLASSES, []
    for step, batch in enumerate(batches()):
        method.step = step
        probs = theirs(method, batch)
        # All but four are labelled, of which most are answered right, so that classes have scores.
        label = torch.where(torch.arange(SIZE) % 6 > 0, probs.argmax(-1), 0)
        label[:4] = IGNORE
        batch = Batch({**batch, "label": label})
        for row in range(4, SIZE):
            scores[row] = (float(probs[row].max()), int(label[row]) if probs[row].argmax() == label[row] else None)
        if adaptive and step % 2 == 0:
            thresholds = [(0.8, 0.8)] * CLASSES
            for kind in range(CLASSES):
                values = [[score] for score, of in scores.values() if of == kind]
                if len(values) > 2:
                    centres = sorted(KMeans(2, n_init=20, random_state=0).fit(values).cluster_centers_[:, 0])
                    thresholds[kind] = tuple(math.floor(one * 100) / 100 for one in centres)
        expected = F.cross_entropy(module(batch["weak.x"][4:]), label[4:])
        for row in range(4):
            confidence, said = float(probs[row].max()), int(probs[row].argmax())
            low, high = thresholds[said]
            weights.append(1.0 if confidence > high else confidence if confidence > low else 0.0)
            expected = (
                expected - 0.5 * weights[-1] * module(batch["strong.x"][row : row + 1]).log_softmax(-1)[0, said] / 4
            )
        terms = method.loss(batch)
        same_loss(terms.total(), expected, module.parameters())
        assert float(terms["admitted"].mean()) == pytest.approx(sum(weights[-4:]) / 4)
        said, gate = method.own_labels(batch.view("weak"))
        assert torch.equal(said, probs.argmax(-1)) and gate[:4].tolist() == pytest.approx(weights[-4:])
    assert 0.0 in weights and 1.0 in weights
    assert any(0 < one < 1 for one in weights) == adaptive


@pytest.mark.parametrize("learn", ["pairs", "weak", "answers"])
def test_pairs_are_learned_and_rare_ones_merged(learn):
    student, model = ModuleLearner(net()), ModuleLearner(sharp())
    weak = torch.arange(SIZE) * 7 % 5 % CLASSES
    stream = [Batch({**batch, "x": batch["weak.x"], "weak": weak}) for batch in batches()]
    config = pair_labels.Config(kept=2, learn=learn)
    method = pair_labels.PairLabels(config, student, lambda _spec: model, stream[0], SIZE)
    for fraction, learned in ((0.1, model), (0.8, student)):
        method.fraction = fraction
        expected = F.cross_entropy(learned(stream[0]).logits[:4], stream[0]["label"][:4])
        same_loss(method.loss(stream[0]).total(), expected, learned.parameters())
    method.fraction, pairs, merged = 0.4, {}, 0
    # Rows that have passed stay counted.
    for batch in (stream[0], Batch({key: value[:5] for key, value in stream[1].items()})):
        said = model(batch).logits.argmax(-1).tolist()
        for row, answer in enumerate(said):
            pairs[row] = (int(weak[row]), answer)
        counts = [list(pairs.values()).count(pair) for pair in set(pairs.values())]
        least = sorted(counts)[-2]
        target = []
        for row, answer in enumerate(said):
            own = list(pairs.values()).count(pairs[row]) >= least
            merged += not own
            pair = int(weak[row]) * CLASSES + answer if own else CLASSES**2 + int(weak[row])
            target.append({"pairs": pair, "weak": int(weak[row]), "answers": answer}[learn])
        expected = F.cross_entropy(method.head(student(batch).hidden), torch.tensor(target))
        same_loss(method.loss(batch).total(), expected, [*student.parameters(), *method.head.parameters()])
    assert 0 < merged < SIZE + 5


def test_weak_labels_that_the_data_lack_are_refused():
    with pytest.raises(ConfigError, match="weak is 'query', of which the data have no integers"):
        pair_labels.PairLabels(
            pair_labels.Config(weak="query"),
            ModuleLearner(net()),
            lambda _spec: ModuleLearner(net()),
            next(batches()),
            SIZE,
        )
