"""The mechanism of `open_set_coreset`."""

from typing import Literal

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import normal
from didact.methods.self_supervised.open_set_coreset import Config, OpenSetCoreset
from didact.types import IGNORE, Examples

TARGET, LIKE, OTHERS, NUMBERS = 30, 40, 160, 8


def heap(seed: int) -> Examples:
    """A target in two directions, and an open set of which the last 40 rows lie in these, the others in others."""
    ways = [torch.arange(TARGET) % 2, 2 + torch.arange(OTHERS) % (NUMBERS - 2), torch.arange(LIKE) % 2]
    x = 3.0 * torch.eye(NUMBERS)[torch.cat(ways)] + 0.3 * normal(TARGET + OTHERS + LIKE, NUMBERS, seed=seed)
    label = torch.where(torch.arange(len(x)) < TARGET, torch.arange(len(x)) % 2, IGNORE)
    tensors = {"x": x, "label": label, "id": torch.arange(len(x))}
    return Examples(tensors=tensors, task="classification", modality="table", classes=("one", "other"))


def chosen(examples: Examples, config: Config, seed: int) -> Tensor:
    """The rows that a student chooses whose representation is its input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = ModuleLearner(nn.Linear(NUMBERS, 2))
    return OpenSetCoreset(config, learner, examples, seed).coreset()


@mechanism(
    world="An open set of 200 rows, of which 40 lie in the directions of the target.",
    effect="The 40 rows that are chosen are these.",
    control="As many rows at random are such a fifth of the time.",
    breaks=("drop outputs_of", "flip feature_similarity"),
)
def what_is_like_the_target_is_chosen(seed: int) -> Found:
    """The share of the chosen rows that lie in the directions of the target."""

    def measured(choose: Literal["nearest", "random"]) -> float:
        config = Config(share=LIKE / (LIKE + OTHERS), clusters=2, stop=0.0, choose=choose)
        rows = chosen(heap(seed), config, seed)
        return float((rows >= TARGET + OTHERS).double().sum() / LIKE)

    return Found(effect=measured("nearest"), predicted=near(1.0), control=measured("random"), null=(0.05, 0.35))


@mechanism(
    world="The same open set, of which all may be taken.",
    effect="The rounds end by themselves once the rows that are like the target are taken.",
    control="Without a stop most of the other 160 are taken, too.",
    breaks=("drop outputs_of", "flip feature_similarity"),
)
def the_choice_ends_by_itself(seed: int) -> Found:
    """How many rows are taken."""

    def measured(stop: float) -> float:
        return float(len(chosen(heap(seed), Config(share=1.0, clusters=2, stop=stop, stop_round=1), seed)))

    return Found(effect=measured(0.8), predicted=(36.0, 44.0), control=measured(0.0), null=(120.0, 200.0))
