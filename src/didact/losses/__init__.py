"""The formulas of the papers: pure functions, tensors in, a `Term` (a sum and a count) out."""

from didact.losses.attention import attention_map, attention_transfer
from didact.losses.balanced import entropy_balanced_kl
from didact.losses.binary import binary_kl
from didact.losses.classification import cross_entropy, label_loss, squared_error
from didact.losses.contrastive import log_mean_score, noise_contrastive
from didact.losses.decoupled import decoupled_kl
from didact.losses.direction import norm_direction
from didact.losses.divergence import forward_kl, jensen_shannon, reverse_kl
from didact.losses.features import feature_cosine, feature_mse, probability_mse
from didact.losses.gradients import with_gradient, without_conflict
from didact.losses.joint_labels import joint_class_log_probs, joint_labels
from didact.losses.mixed import mixed_cross_entropy
from didact.losses.normalised import self_target, share_of_others, weighted_likelihood, zipf_others
from didact.losses.pacing import self_paced_weights
from didact.losses.ranking import plackett_luce
from didact.losses.relational import relational_angle, relational_distance
from didact.losses.smooth import feature_smooth_l1
from didact.losses.subclasses import subclass_kl, subclass_log_probs
from didact.losses.targets import imitate, target_features, target_log_probs, target_probs
from didact.losses.transport import sinkhorn_distance, sinkhorn_plan
from didact.losses.trilateral import trilateral_edges
from didact.losses.uncertainty import uncertainty

__all__ = [
    "attention_map",
    "attention_transfer",
    "binary_kl",
    "cross_entropy",
    "decoupled_kl",
    "entropy_balanced_kl",
    "feature_cosine",
    "feature_mse",
    "feature_smooth_l1",
    "forward_kl",
    "imitate",
    "jensen_shannon",
    "joint_class_log_probs",
    "joint_labels",
    "label_loss",
    "log_mean_score",
    "mixed_cross_entropy",
    "noise_contrastive",
    "norm_direction",
    "plackett_luce",
    "probability_mse",
    "relational_angle",
    "relational_distance",
    "reverse_kl",
    "self_paced_weights",
    "self_target",
    "share_of_others",
    "sinkhorn_distance",
    "sinkhorn_plan",
    "squared_error",
    "subclass_kl",
    "subclass_log_probs",
    "target_features",
    "target_log_probs",
    "target_probs",
    "trilateral_edges",
    "uncertainty",
    "weighted_likelihood",
    "with_gradient",
    "without_conflict",
    "zipf_others",
]
