"""The mechanism of `paced_bags`."""

from typing import Literal

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.learners.bags import bag_net
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.methods.attention_pool import BAGS, NUMBERS, bags
from didact.methods.bags.paced_bags import Config, PacedBags
from didact.types import Batch, Examples

STEPS = 50
First = Literal["few", "many", "random"]


def crowded(seed: int, first: First = "few") -> tuple[PacedBags, Batch, Tensor]:
    """A method on bags with a witness, a third of which have no other instance, a third three, a third all five."""
    batch, witness = bags(seed)
    kept = torch.tensor([0, 2, 4])[torch.arange(BAGS) % 3]
    others = (~witness).double().cumsum(1) * ~witness
    there = witness | ((others > 0) & (others <= kept[:, None])) | ((others == 1) & ~witness.any(1, keepdim=True))
    x = batch["x"] * there[..., None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        instance = ModuleLearner(nn.Sequential(nn.Linear(NUMBERS, 8), nn.ReLU(), nn.Linear(8, 2)))
        learner = bag_net(instance, "attention")
    tensors = {**batch, "x": x}
    examples = Examples(tensors=tensors, task="classification", modality="table", classes=("without", "with"))
    return PacedBags(Config(first=first), learner, examples, seed), Batch(tensors), there.sum(1)


@mechanism(
    world="Bags of one to five candidates.",
    effect="No bag of more than three is learned from in the first stage, and all are in the last.",
    control="Where any come first, a third of the crowded bags are there from the start.",
    breaks=("skip PacedBags.after_step",),
)
def crowded_bags_come_later(seed: int) -> Found:
    """The share of the crowded bags that the last stage adds."""

    def measured(first: First) -> float:
        method, _, count = crowded(seed, first)
        full = count > 3
        before = full[method.curriculum.rows].sum()
        method.fraction = 1.0
        method.after_step()
        return float((full[method.curriculum.rows].sum() - before) / full.sum())

    return Found(effect=measured("few"), predicted=near(1.0), control=measured("random"), null=(0.5, 0.85))


@mechanism(
    world="The same bags, of which those of one class have a witness.",
    effect="From the labels of what each stage takes in, the net learns to tell the classes apart.",
    control="Each bag has the label of another.",
    breaks=("flip label_loss", "drop label_loss"),
)
def labels_are_learned_in_stages(seed: int) -> Found:
    """The accuracy on all bags after some steps."""

    def measured(order: Tensor) -> float:
        method, batch, _ = crowded(seed)
        given = Batch({**batch, "label": batch["label"][order]})
        optimizer = torch.optim.Adam(method.learner.parameters(), lr=0.05)
        for step in range(STEPS):
            method.fraction = step / STEPS
            optimizer.zero_grad()
            method.loss(given.select(method.curriculum.sample(64))).total().backward()
            optimizer.step()
            method.after_step()
        return float((method.learner(batch).logits.argmax(1) == batch["label"]).double().mean())

    other = torch.randperm(BAGS, generator=torch.Generator().manual_seed(seed))
    return Found(effect=measured(torch.arange(BAGS)), predicted=above(0.85), control=measured(other), null=(0.2, 0.8))
