"""The mechanism of `divide_mix`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.world import batch, normal, train
from didact.methods.noisy_labels.divide_mix import Config, DivideMix
from didact.types import Batch

SIZE, CLASSES, STEPS = 24, 4, 40


def _student(right: torch.Tensor, seed: int) -> ModuleLearner:
    """A linear net on one-hot rows, that is sure of the right classes."""
    net = nn.Linear(SIZE, CLASSES, bias=False)
    with torch.no_grad():
        net.weight.copy_((2.0 * nn.functional.one_hot(right, CLASSES) + 0.3 * normal(SIZE, CLASSES, seed=seed)).T)
    return ModuleLearner(net)


@mechanism(
    world="Every other label is wrong. Two students, which can learn each row by heart, know the right classes so far.",
    effect="With labels divided by their losses, the student does not take the wrong ones over: it guesses as before.",
    control="With all labels learned it knows the wrong ones by heart.",
    breaks=("shuffle small_loss_chances",),
)
def wrong_labels_are_not_memorised(seed: int) -> Found:
    """The probability of the wrong labels after training."""
    right = batch(SIZE, CLASSES, seed)["label"]
    given = torch.where(torch.arange(SIZE) % 2 == 0, right, (right + 1) % CLASSES)
    x = torch.eye(SIZE)
    shown = Batch({**batch(SIZE, CLASSES, seed), "label": given, "x": x, "first.x": x, "second.x": x})

    def measured(warm_up: float) -> float:
        nets = [_student(right, 2 * seed + number) for number in range(2)]
        method = DivideMix(Config(warm_up=warm_up, weight=1.0), nets[0], lambda _: nets[1], shown, SIZE)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            method.loss(shown)
            method.after_step()
        method.fraction = 0.6
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            train(method, shown, steps=STEPS, rate=0.1)
        probs = nets[0](shown).logits.softmax(-1).detach()
        return float(probs.gather(1, given[:, None])[1::2].mean())

    return Found(effect=measured(0.5), predicted=below(0.3), control=measured(1.0), null=(0.7, 1.0))
