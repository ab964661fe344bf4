"""The formulas of the papers: pure functions, tensors in, a `Term` (a sum and a count) out."""

from didact.losses.classification import cross_entropy, label_loss, squared_error
from didact.losses.divergence import forward_kl, jensen_shannon, reverse_kl
from didact.losses.features import feature_cosine, feature_mse, probability_mse
from didact.losses.targets import imitate, target_log_probs, target_probs

__all__ = [
    "cross_entropy",
    "feature_cosine",
    "feature_mse",
    "forward_kl",
    "imitate",
    "jensen_shannon",
    "label_loss",
    "probability_mse",
    "reverse_kl",
    "squared_error",
    "target_log_probs",
    "target_probs",
]
