"""The formulas of the papers: pure functions, tensors in, a `Term` (a sum and a count) out."""

from didact.losses.attempts import Acted, acted, answer_log_probs, attempt_counts, with_advantages
from didact.losses.attention import attention_map, attention_transfer
from didact.losses.attention_relations import relation_kl, token_relations
from didact.losses.balanced import entropy_balanced_kl
from didact.losses.binary import binary_kl
from didact.losses.chunks import chunk_sums, event_divergence
from didact.losses.classification import cross_entropy, label_loss, squared_error
from didact.losses.contrastive import log_mean_score, noise_contrastive
from didact.losses.covariance import among_band, covariances, highest
from didact.losses.data_free import class_imbalance, logit_distance
from didact.losses.decoupled import decoupled_kl
from didact.losses.direction import norm_direction
from didact.losses.divergence import forward_kl, jensen_shannon, reverse_kl
from didact.losses.downsampling import most_spread, most_telling
from didact.losses.features import feature_cosine, feature_mse, probability_mse
from didact.losses.gradients import with_gradient, without_conflict
from didact.losses.guidance import failed_groups
from didact.losses.interpolation import between
from didact.losses.joint_labels import joint_class_log_probs, joint_labels
from didact.losses.masked import masked_mse
from didact.losses.messages import relative_error
from didact.losses.mixed import mixed_cross_entropy
from didact.losses.normalised import self_target, share_of_others, weighted_likelihood, zipf_others
from didact.losses.overlap import topk_overlap
from didact.losses.pacing import self_paced_weights
from didact.losses.policy import (
    clipped_share,
    dead_groups,
    group_advantages,
    group_mean,
    group_sum,
    kl_estimate,
    preference,
    surrogate,
)
from didact.losses.posterior import log_normaliser, posterior_advantages, posterior_ratio
from didact.losses.pyramid import anomaly_map, map_discrepancy, pyramid_matching
from didact.losses.ranking import plackett_luce
from didact.losses.rated_pairs import best_against_others
from didact.losses.reflection import reflection
from didact.losses.relational import relational_angle, relational_distance
from didact.losses.rows import NORMALISATIONS, Rows, row_counts, select, watched
from didact.losses.second_tries import holding, second_try_advantages, second_try_figures, with_second_tries
from didact.losses.shortening import most_accurate, shortened
from didact.losses.smooth import feature_smooth_l1
from didact.losses.subclasses import subclass_kl, subclass_log_probs
from didact.losses.targets import imitate, target_features, target_log_probs, target_probs
from didact.losses.token_transport import token_sinkhorn
from didact.losses.transport import sinkhorn_distance, sinkhorn_plan
from didact.losses.trilateral import trilateral_edges
from didact.losses.uncertainty import uncertainty
from didact.losses.understanding import best_of_groups, comprehension, imitated
from didact.losses.vocabulary import token_cross_entropy, token_log_probs
from didact.losses.vocabulary_divergence import token_divergence, token_topk_divergence
from didact.losses.votes import cross_votes, majority

__all__ = [
    "NORMALISATIONS",
    "Acted",
    "Rows",
    "acted",
    "among_band",
    "anomaly_map",
    "answer_log_probs",
    "attempt_counts",
    "attention_map",
    "attention_transfer",
    "best_against_others",
    "best_of_groups",
    "between",
    "binary_kl",
    "chunk_sums",
    "class_imbalance",
    "clipped_share",
    "comprehension",
    "covariances",
    "cross_entropy",
    "cross_votes",
    "dead_groups",
    "decoupled_kl",
    "entropy_balanced_kl",
    "event_divergence",
    "failed_groups",
    "feature_cosine",
    "feature_mse",
    "feature_smooth_l1",
    "forward_kl",
    "group_advantages",
    "group_mean",
    "group_sum",
    "highest",
    "holding",
    "imitate",
    "imitated",
    "jensen_shannon",
    "joint_class_log_probs",
    "joint_labels",
    "kl_estimate",
    "label_loss",
    "log_mean_score",
    "log_normaliser",
    "logit_distance",
    "majority",
    "map_discrepancy",
    "masked_mse",
    "mixed_cross_entropy",
    "most_accurate",
    "most_spread",
    "most_telling",
    "noise_contrastive",
    "norm_direction",
    "plackett_luce",
    "posterior_advantages",
    "posterior_ratio",
    "preference",
    "probability_mse",
    "pyramid_matching",
    "reflection",
    "relation_kl",
    "relational_angle",
    "relational_distance",
    "relative_error",
    "reverse_kl",
    "row_counts",
    "second_try_advantages",
    "second_try_figures",
    "select",
    "self_paced_weights",
    "self_target",
    "share_of_others",
    "shortened",
    "sinkhorn_distance",
    "sinkhorn_plan",
    "squared_error",
    "subclass_kl",
    "subclass_log_probs",
    "surrogate",
    "target_features",
    "target_log_probs",
    "target_probs",
    "token_cross_entropy",
    "token_divergence",
    "token_log_probs",
    "token_relations",
    "token_sinkhorn",
    "token_topk_divergence",
    "topk_overlap",
    "trilateral_edges",
    "uncertainty",
    "watched",
    "weighted_likelihood",
    "with_advantages",
    "with_gradient",
    "with_second_tries",
    "without_conflict",
    "zipf_others",
]
