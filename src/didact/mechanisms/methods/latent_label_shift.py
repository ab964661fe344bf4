"""The mechanism of `latent_label_shift`."""

import torch
from torch import Tensor, nn

from didact.mechanisms import world
from didact.mechanisms.checking import Found, above, mechanism
from didact.methods.adaptation.latent_label_shift import Config, LatentLabelShift
from didact.types import IGNORE, Batch

SHARES = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.4, 0.6, 0.0], [0.0, 0.0, 0.3, 0.7]])
"""The shares of four domains in each of three classes, of which one is nowhere alone."""
C, K = SHARES.shape
EACH = 60


@mechanism(
    world="A classifier of domains that knows all there is to know, of classes with other shares in each domain.",
    effect="How likely a class is in a domain is found to within a hundredth, with one label for each class.",
    control="Where the classes have the same shares in all domains, they are not found.",
    breaks=("drop latent_mixes", "flip class_shares", "drop domain_chances"),
)
def shares_of_classes_are_found(seed: int) -> Found:
    """One minus the largest error."""
    label = torch.arange(C).repeat_interleave(EACH)
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))

    def measured(shares: Tensor) -> float:
        counts = (EACH * shares).round().long().flatten()
        domain = torch.arange(K).repeat(C).repeat_interleave(counts)
        # All classes are as large, so that these are the probabilities of domains, too.
        table, rows = shares[label].clamp(min=1e-9).log(), torch.arange(len(label))
        known = torch.where(rows % EACH == 0, label, IGNORE)
        shown = Batch({"row": rows, "id": rows, "label": known[order], "domain": domain[order]})
        learner = world.student(table[order], C, seed)
        method = LatentLabelShift(Config(domains=K, bins=C), learner, shown, len(rows), seed)
        assert isinstance(method.classifier, nn.Linear)
        with torch.no_grad():
            method.classifier.weight.copy_(torch.eye(K))
            method.classifier.bias.zero_()
        method.loss(shown)
        return 1.0 - float((method.chances() - SHARES.T).abs().max())

    same = SHARES.mean(0, keepdim=True).expand(C, K)
    return Found(effect=measured(SHARES), predicted=above(0.99), control=measured(same), null=(0.0, 0.9))
