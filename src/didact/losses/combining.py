"""Weights of several terms of a loss, and the removal of conflicts between their gradients."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.types import Term


def add_terms(terms: Iterable[Term]) -> Term:
    """Add terms over the same examples: the sum of their sums, with the count of the first."""
    terms = list(terms)

    def rows() -> Tensor | None:
        found = [rows for term in terms if (rows := term.rows) is not None]
        return torch.stack(found).sum(0) if len(found) == len(terms) else None

    return Term(torch.stack([term.sum for term in terms]).sum(), terms[0].count, rows=rows)


def mean_terms(terms: Sequence[Term]) -> Term:
    """Average terms over the same examples: the mean of their sums, with the count of the first."""
    return Term(torch.stack([term.sum for term in terms]).mean(), terms[0].count)


def self_paced_weights(losses: Tensor, threshold: Tensor | float) -> Tensor:
    """Self-paced weights in [0, 1], which favour easy tasks: max(0, 1 - loss / threshold).

    These minimise sum_k v_k loss_k + threshold · sum_k (v_k² / 2 - v_k) over v in [0, 1], the linear soft weighting of
    Jiang, Meng, Mitamura and Hauptmann (2014, "Easy samples first"). As the threshold grows, all weights tend to 1.

    Args:
        losses: float [K], 0 or more; no gradient flows through them.
        threshold: above 0; infinity gives ones.

    Returns:
        float [K].
    """
    return (1.0 - losses.detach() / threshold).clamp(min=0.0)


def trilateral_edges(student: Tensor, teacher: Tensor, labels: Tensor, class_means: Tensor) -> Tensor:
    """The edges of two triangles (Hu et al. 2024): student, teacher, label; student, mean teacher of the class, label.

    Args:
        student: probabilities, float [B, C]; no gradient flows through any of the arguments.
        teacher: probabilities, float [B, C].
        labels: int64 [B], none missing.
        class_means: the teacher's mean probabilities for the examples of each class, float [C, C].

    Returns:
        float [B, 5 C]: teacher - student, label - student, label - teacher, mean - student, label - mean, where the
        label is one-hot.
    """
    student, teacher = student.detach().float(), teacher.detach().float()
    label, mean = F.one_hot(labels, student.shape[-1]).to(student.dtype), class_means.detach()[labels]
    return torch.cat([teacher - student, label - student, label - teacher, mean - student, label - mean], -1)


def attach_gradient(value: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar with a given value and given gradients with respect to some tensors.

    Args:
        value: scalar; its own gradient is dropped.
        tensors: the tensors that get a gradient, such as the parameters of a module.
        gradients: one for each, of its shape.
    """
    pull = [
        ((tensor - tensor.detach()) * gradient.detach()).sum()
        for tensor, gradient in zip(tensors, gradients, strict=True)
    ]
    return value.detach() + torch.stack(pull).sum()


def project_conflicts(gradients: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """Remove from gradients the components that conflict with others (Yu et al. 2020, "Gradient Surgery", PCGrad).

    Where the inner product g · k over all tensors together is negative, g becomes g - (g · k / |k|²) k, so that a step
    along it no longer increases the loss of k.

    Args:
        gradients: g, in several tensors.
        kept: k, tensors of the same shapes; they are not changed.

    Returns:
        g, without the conflicting component.
    """
    product = torch.stack([(g * k).sum() for g, k in zip(gradients, kept, strict=True)]).sum()
    square = torch.stack([k.square().sum() for k in kept]).sum()
    share = product.clamp(max=0.0) / square.masked_fill(square == 0, 1.0)
    return [g - share * k for g, k in zip(gradients, kept, strict=True)]
