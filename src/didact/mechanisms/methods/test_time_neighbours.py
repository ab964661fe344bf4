"""The mechanism of `test_time_neighbours`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.adaptation.test_time_neighbours import Config, TestTimeNeighbours
from didact.types import Batch

N, EDGE = 12, 0.5


class Outside(nn.Module):
    """Class 1 outside of an interval around 0, and class 0 within; on which side an input is is the only feature."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0], [0.5]]))
            self.head.bias.copy_(torch.tensor([0.0, -0.1]))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1] to logits [B, 2]."""
        return self.head((x.abs() > EDGE).float())


@mechanism(
    world="Inputs within an interval, outside of which the net answers otherwise, and so do most neighbours.",
    effect="All answers become those of the neighbours, and the net is as it was.",
    control="With threshold 0 the net is sure of everything, and no answer changes.",
    breaks=("flip NeighbourTuned.forward", "drop NeighbourTuned.forward"),
)
def an_unsure_answer_becomes_that_of_its_neighbours(seed: int) -> Found:
    """The share of answers that are class 1; NaN if the net itself has changed."""
    x = 0.3 * torch.rand(N, 1, generator=torch.Generator().manual_seed(seed)) - 0.15
    shown = Batch({"x": x, "id": torch.arange(N)})
    sample = Batch({"x": world.normal(64, 1, seed=seed), "id": torch.arange(64)})

    def measured(threshold: float) -> float:
        config = Config(threshold=threshold, radius=4.0, rate=0.5, head_steps=4, neighbours=64)
        method = TestTimeNeighbours(config, ModuleLearner(Outside()), sample, seed)
        found = method.delivered(shown).logits.argmax(1)
        same = torch.equal(method.learner(shown).logits, Outside()(x))
        return float(found.double().mean()) if same else float("nan")

    return Found(effect=measured(0.9), predicted=near(1.0), control=measured(0.0), null=near(0.0))
