"""The terms of methods that learn labels, and their own answers to examples without one."""

from torch import Tensor

from didact.losses.labels.gates import admitted_share
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.types import Batch, Terms, is_labelled


def pseudo_label_terms(logits: Tensor, batch: Batch, said: Tensor, gate: Tensor, *, weight: float) -> Terms:
    """The labels' loss, and that of pseudo-labels, which is divided by the number of all unlabelled examples.

    Args:
        logits: float [B, C].
        batch: of B examples, for the labels.
        said: int64 [B], the pseudo-labels, which count for the unlabelled examples alone.
        gate: float [B] in [0, 1], the weight of each.
        weight: of the second term.

    Returns:
        `label` over the labelled examples, `pseudo` over the others, and over these `admitted`, the mean of the gate.
    """
    unlabelled = (~is_labelled(batch["label"])).float()
    return Terms(
        label=label_loss(logits, batch["label"], weight=batch.label_weight),
        pseudo=cross_entropy(logits, said, trust=unlabelled, weight=gate).times(weight),
        admitted=admitted_share(gate, unlabelled),
    )


def pseudo_label_counts(batch: Batch) -> dict[str, Tensor | float]:
    """The counts of these terms: the labelled examples for the labels, the others for the pseudo-labels."""
    known = is_labelled(batch["label"]).sum()
    return {"label": known, "pseudo": batch.size - known, "admitted": batch.size - known}
