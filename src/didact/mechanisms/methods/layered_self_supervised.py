"""The mechanism of `layered_self_supervised`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, normal
from didact.methods.distillation.layered_self_supervised import Config, LayeredSelfSupervised

N, C, TURNS, T = 64, 3, 4, 2.0


class Rolled(nn.Module):
    """A classifier that looks at other rows under the same turn."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, features: Tensor) -> Tensor:
        """The logits of the next row."""
        return self.whole(features).view(TURNS, N, -1).roll(1, 1).flatten(0, 1)


def made(seed: int) -> tuple[LayeredSelfSupervised, list[Tensor]]:
    """The method on a net of two stages; and, after a forward pass, logits: the net's own and both classifiers'."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, C)
        learner = ModuleLearner(nn.Sequential(nn.Flatten(), *layers))
        rows = batch(N, C, seed, x=normal(N, 1, 4, 4, seed=seed))
        method = LayeredSelfSupervised(Config(weight=2.0, temperature=T), learner, rows, seed)
        for head in method.heads:
            nn.init.normal_(head.get_parameter("linear.weight"))
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, result: Tensor) -> None:
        seen.append(result)

    assert learner.head is not None
    for part in (learner.head, *method.heads):
        part.register_forward_hook(keep)
    return method, seen


def measured(seed: int, name: str, at: int, said: Tensor, *, shuffled: bool) -> float:
    """How much of what is said is in the gradient of a term with respect to some logits."""
    method, seen = made(seed)
    if shuffled:
        method.heads[-1] = Rolled(method.heads[-1])
    term = method.loss(batch(N, C, seed, x=normal(N, 1, 4, 4, seed=seed)))[name]
    (slope,) = torch.autograd.grad(term.mean() * term.weight, [seen[at]])
    slope, mine = slope[: len(said)], (seen[at].detach()[: len(said)] / T).softmax(1)
    return coefficient(slope - T * mine / len(said), -T * (said - said.mean(0)) / len(said))


def deepest(seed: int) -> Tensor:
    """The joint logits of the deepest classifier, [4 N, 4 C]."""
    method, seen = made(seed)
    with torch.no_grad():
        method.loss(batch(N, C, seed, x=normal(N, 1, 4, 4, seed=seed)))
    return seen[2]


@mechanism(
    world="A net of two stages with random classifiers, on normal images.",
    effect="The net's own prediction moves to the deepest classifier's, averaged over turns: the gradient is q - p.",
    control="The deepest classifier looks at other images.",
    breaks=("flip forward_kl", "drop forward_kl", "shuffle forward_kl"),
)
def the_own_prediction_moves_to_the_average_over_turns(seed: int) -> Found:
    """The gradient's coefficient on what the average says about single images."""
    joint = deepest(seed).view(TURNS, N, C, TURNS)
    said = (torch.stack([joint[turn, :, :, turn] for turn in range(TURNS)]).mean(0) / T).softmax(1)
    effect, control = (measured(seed, "own", 0, said, shuffled=shuffled) for shuffled in (False, True))
    return Found(effect=effect, predicted=near(1.0), control=control, null=(-0.3, 0.3))


@mechanism(
    world="A net of two stages with random classifiers, on normal images.",
    effect="The first stage's classifier moves to that of the second: the gradient is q - p.",
    control="The second classifier looks at other images.",
    breaks=("flip distillation_loss", "drop distillation_loss", "shuffle distillation_loss"),
)
def a_stage_moves_to_the_next_deeper_one(seed: int) -> Found:
    """The gradient's coefficient on what the deeper stage says about single images."""
    said = (deepest(seed) / T).softmax(1)
    effect, control = (measured(seed, "deeper_0", 1, said, shuffled=shuffled) for shuffled in (False, True))
    return Found(effect=effect, predicted=near(1.0), control=control, null=(-0.3, 0.3))
