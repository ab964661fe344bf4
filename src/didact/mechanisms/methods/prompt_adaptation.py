"""The mechanism of `prompt_adaptation`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.world import normal
from didact.methods.adaptation.prompt_adaptation import Config, PromptAdaptation
from didact.teachers import FrozenTeacher
from didact.types import Batch

C, EACH, FAR = 4, 12, 4.0


class Given(nn.Module):
    """The scores that an input brings along."""

    def forward(self, scores: Tensor) -> Tensor:
        """[B, C] to [B, C]."""
        return scores


def adapting(config: Config, shift: float, shuffled: bool, seed: int) -> tuple[PromptAdaptation, Batch, Tensor]:
    """The method on a net that is right where nothing is shifted; all rows, and their classes."""
    label, moved = torch.arange(C).repeat_interleave(EACH), torch.zeros(C)
    moved[seed % C] = shift
    order = torch.randperm(C * EACH, generator=torch.Generator().manual_seed(seed))

    def shown(kind: Tensor, seed: int) -> dict[str, Tensor]:
        scores = F.one_hot(kind, C).float()
        x = 2.0 * scores + 0.1 * normal(len(kind), C, seed=seed) + moved
        return {"x": x, "scores": scores[order] if shuffled else scores}

    views = {f"transferred.{name}": tensor for name, tensor in shown((label + 1) % C, seed + 100).items()}
    plain = shown(label, seed)
    views |= {f"plain.{name}": tensor for name, tensor in plain.items()}
    batch = Batch({**plain, **views, "id": torch.arange(len(label))})
    net = nn.Linear(C, C)
    with torch.no_grad():
        net.weight.copy_(2.0 * torch.eye(C))
        net.bias.zero_()
    teacher = FrozenTeacher(ModuleLearner(Given(), inputs=("scores",), head=None))
    return PromptAdaptation(config, ModuleLearner(net), teacher, batch), batch, label


@mechanism(
    world="A net that would be right, but for a shift of all its inputs; and a scorer that knows the right classes.",
    effect="The prompt alone makes the net right.",
    control="By the scores of other inputs it does not.",
    breaks=("flip expected_score", "drop expected_score"),
)
def a_prompt_undoes_a_shift(seed: int) -> Found:
    """The accuracy; NaN if the net itself has changed."""

    def measured(shuffled: bool) -> float:
        config = Config(direction=0.0, scale=1.0)
        method, batch, label = adapting(config, FAR, shuffled, seed)
        before = [weight.clone() for weight in method.learner.parameters()]
        step(method, batch)
        same = all(map(torch.equal, before, method.learner.parameters()))
        right = method.delivered(batch).logits.argmax(1) == label
        return float(right.double().mean()) if same else float("nan")

    return Found(effect=measured(False), predicted=above(0.95), control=measured(True), null=(0.0, 0.8))


@mechanism(
    world="A net that is right; every input comes with another of the next class, and a scorer knows both classes.",
    effect="Where the scores change the other way, a change of answers costs 2.",
    control="Where they change alike, it costs nothing.",
    breaks=("flip unlike_changes", "drop unlike_changes"),
)
def answers_are_to_change_as_scores_do(seed: int) -> Found:
    """The term `direction`."""

    def measured(swapped: bool) -> float:
        method, batch, _ = adapting(Config(scale=1.0), 0.0, False, seed)
        names = ("plain.scores", "transferred.scores")
        scores = dict(zip(names, [batch[name] for name in (reversed(names) if swapped else names)], strict=True))
        return float(method.loss(Batch({**batch, **scores}))["direction"].mean().detach())

    return Found(effect=measured(True), predicted=near(2.0, 0.01), control=measured(False), null=(-0.02, 0.02))


def step(method: PromptAdaptation, batch: Batch) -> None:
    """Train the prompt."""
    optimizer = torch.optim.Adam(method.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        method.loss(batch).total().backward()
        optimizer.step()
