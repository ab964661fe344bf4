"""Acquisition functions: which labels to ask for next, by what a student makes of a pool."""

from didact.curricula.acquisition.agreement import agreed_labels, neighbour_agreement
from didact.curricula.acquisition.choosing import FOR_NUMBERS, Ask, Seen, choose
from didact.curricula.acquisition.covering import Chosen, k_center, k_means, typicality
from didact.curricula.acquisition.gradients import badge
from didact.curricula.acquisition.open_set import (
    edit_similarity,
    feature_similarity,
    find_target,
    nearest_coreset,
    target_centroids,
)
from didact.curricula.acquisition.sampling import leverage, leverage_scores, minimax, minimax_chances
from didact.curricula.acquisition.uncertainty import bald, disagreement, entropy, least_confidence, margin

__all__ = [
    "FOR_NUMBERS",
    "Ask",
    "Chosen",
    "Seen",
    "agreed_labels",
    "badge",
    "bald",
    "choose",
    "disagreement",
    "edit_similarity",
    "feature_similarity",
    "find_target",
    "entropy",
    "k_center",
    "k_means",
    "least_confidence",
    "leverage",
    "leverage_scores",
    "margin",
    "minimax",
    "minimax_chances",
    "nearest_coreset",
    "neighbour_agreement",
    "target_centroids",
    "typicality",
]
