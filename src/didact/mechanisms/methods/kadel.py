"""The mechanism of `kadel`."""

import torch
from torch.nn import functional as F

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, gradient, normal, student, teacher
from didact.methods.noisy_labels.kadel import Config, Kadel
from didact.types import IGNORE, Batch

SIZE, CLASSES = 60, 5
BASE = 1.6


@mechanism(
    world="A student, which is a table, that is sure of the right classes. A third of the labels are wrong.",
    effect="A right label keeps its whole pull, and a wrong one, with a loss l, 1.6^-l of it.",
    control="Before the confidences are found, both pull alike.",
    breaks=("drop loss_confidence", "shuffle loss_confidence"),
)
def wrong_labels_lose_their_pull(seed: int) -> Found:
    """The size of the pull of wrong labels, over that of right ones, relative to the same of plain cross-entropy."""
    right = batch(SIZE, CLASSES, seed)["label"]
    wrong = torch.arange(SIZE) % 3 == 0
    label = torch.where(wrong, (right + 1) % CLASSES, right)
    shown = Batch({**batch(SIZE, CLASSES, seed), "label": label})
    table = 6.0 * F.one_hot(right, CLASSES) + 0.1 * normal(SIZE, CLASSES, seed=seed)
    plain = (table.softmax(1) - F.one_hot(label, CLASSES)).norm(dim=1)
    kept = BASE ** -float(F.cross_entropy(table[wrong], label[wrong]))

    def measured(wait: float) -> float:
        method = Kadel(Config(wait=wait, base=BASE), student(table), SIZE)
        gradient(method, shown)
        method.fraction = 0.5
        method.after_step()
        share = gradient(method, shown).norm(dim=1) / plain
        return float(share[wrong].mean() / share[~wrong].mean())

    return Found(effect=measured(0.1), predicted=near(kept, 0.02), control=measured(1.0), null=near(1.0))


@mechanism(
    world="Examples without a label, and a teacher that knows them.",
    effect="The student moves to the teacher's likeliest class: the gradient is p - 1 there, and p elsewhere.",
    control="Without a teacher nothing is learned of them.",
    breaks=("flip label_loss", "drop label_loss", "drop target_probs"),
)
def missing_labels_are_completed(seed: int) -> Found:
    """How much of the closed form is in the gradient."""
    table, known = normal(SIZE, CLASSES, seed=seed), normal(SIZE, CLASSES, seed=seed + 30)
    rows = batch(SIZE, CLASSES, seed)
    shown = Batch({**rows, "label": torch.full_like(rows["label"], IGNORE)})
    closed = (table.softmax(1) - F.one_hot(known.argmax(1), CLASSES)) / SIZE

    def measured(of: Kadel) -> float:
        return float((gradient(of, shown) * closed).sum() / closed.square().sum())

    return Found(
        effect=measured(Kadel(Config(), student(table), SIZE, teacher(known))),
        predicted=near(1.0),
        control=measured(Kadel(Config(), student(table), SIZE)),
        null=near(0.0),
    )
