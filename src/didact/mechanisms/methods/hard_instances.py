"""The mechanism of `hard_instances`."""

import torch

from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.methods.attention_pool import INSTANCES, bags, trained
from didact.methods.bags.hard_instances import Config, HardInstances


@mechanism(
    world="Bags of five vectors, one of which is a witness, and a net that has learned to attend to it.",
    effect="What is hidden from the student is the witness: the instance that the average attends to most.",
    control="A net that weighs all alike hides one of the five, whichever comes first.",
    breaks=("shuffle keep_hard",),
)
def the_most_attended_instance_is_hidden(seed: int) -> Found:
    """The share of the witnesses that are hidden."""
    batch, witness = bags(seed)

    def measured(pooling: str) -> float:
        method = HardInstances(Config(easy=1.0 / INSTANCES, chance=1.0), trained(batch, seed, pooling))
        kept, _ = method.look(batch["x"])
        return float((~kept)[witness].double().mean())

    return Found(effect=measured("attention"), predicted=(0.9, 1.0), control=measured("mean"), null=(0.1, 0.3))


@mechanism(
    world="The same bags and net.",
    effect="The student's loss is higher than on whole bags, as its evidence is hidden.",
    control="At the end of the run nothing is hidden.",
    breaks=("flip label_loss", "drop label_loss"),
)
def labels_are_learned_from_what_is_left(seed: int) -> Found:
    """How much higher the label's loss is than on whole bags."""
    batch, _ = bags(seed)
    net = trained(batch, seed, "attention")
    method = HardInstances(Config(easy=1.0 / INSTANCES, chance=1.0), net)

    def measured(fraction: float) -> float:
        method.fraction = fraction
        with torch.no_grad():
            whole = torch.nn.functional.cross_entropy(net(batch).logits, batch["label"])
            return float(method.loss(batch)["label"].mean() - whole)

    return Found(effect=measured(0.0), predicted=(0.8, 10.0), control=measured(1.0), null=(-1e-5, 1e-5))
