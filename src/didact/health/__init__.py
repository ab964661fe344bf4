"""Monitors: they measure what training looks like and conclude; only the loop acts on a verdict."""

from didact.health.loss_spike import LossSpike
from didact.health.non_finite import NonFinite
from didact.health.prediction_entropy import PredictionEntropy, prediction_entropies
from didact.health.rank import EffectiveRank, effective_rank
from didact.types import Monitor

__all__ = [
    "EffectiveRank",
    "LossSpike",
    "NonFinite",
    "PredictionEntropy",
    "default_monitors",
    "effective_rank",
    "prediction_entropies",
]


def default_monitors() -> list[Monitor]:
    """One of each monitor with its defaults, new ones at every call: a monitor has state and belongs to one run."""
    return [NonFinite(), LossSpike(), EffectiveRank(), PredictionEntropy()]
