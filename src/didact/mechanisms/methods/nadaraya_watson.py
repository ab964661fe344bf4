"""The mechanism of `nadaraya_watson`."""

import math

import torch

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.adaptation.nadaraya_watson import Config, NadarayaWatson

N, C, FAR = 42, 3, 8.0


@mechanism(
    world="Three classes in two environments, in one of which each class has the features of another.",
    effect="With supports of one environment, such features cost half the distance of the classes in nats.",
    control="With mixed supports they cost no more than not to know the class.",
    breaks=("flip kernel_log_probs", "drop cross_entropy", "flip cross_entropy"),
)
def what_means_another_thing_elsewhere_costs(seed: int) -> Found:
    """The loss, in nats."""
    label, place = torch.arange(N) % C, torch.arange(N) // C % 2
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    table = FAR * torch.eye(C)[(label + place) % C]
    shown = world.batch(N, C, seed, environment=place[order])
    shown = type(shown)({**shown, "label": label[order]})

    def measured(restricted: bool) -> float:
        learner = world.student(table[order], C, seed)
        method = NadarayaWatson(Config(restricted=restricted), learner, shown)
        return float(method.loss(shown).total().detach())

    # In the own environment the nearest are right, in the other those of another class are nearest.
    half = math.sqrt(2.0) * FAR / 2
    return Found(effect=measured(True), predicted=near(half, 0.01), control=measured(False), null=(0.6, 0.9))
