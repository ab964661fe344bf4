"""Monitors: they measure what training looks like and conclude; only the loop acts on a verdict."""

from didact.health.choosing import (
    EXAMPLE_MONITORS,
    QUESTION_MONITORS,
    MonitorKind,
    configured,
    default_monitors,
)
from didact.health.loss_spike import LossSpike
from didact.health.non_finite import NonFinite
from didact.health.prediction_entropy import PredictionEntropy, prediction_entropies
from didact.health.rank import EffectiveRank, effective_rank
from didact.health.rollouts import (
    ROLLOUT_MONITORS,
    DeadGroups,
    LengthDrift,
    PolicyEntropy,
    ReferenceDrift,
    Repetition,
    RewardGap,
    TeacherOverlap,
    UniqueCorrect,
)
from didact.health.teacher_hacking import TeacherHacking, power_law

__all__ = [
    "EXAMPLE_MONITORS",
    "QUESTION_MONITORS",
    "ROLLOUT_MONITORS",
    "MonitorKind",
    "DeadGroups",
    "EffectiveRank",
    "LengthDrift",
    "LossSpike",
    "NonFinite",
    "PolicyEntropy",
    "PredictionEntropy",
    "ReferenceDrift",
    "Repetition",
    "RewardGap",
    "TeacherHacking",
    "TeacherOverlap",
    "UniqueCorrect",
    "configured",
    "default_monitors",
    "effective_rank",
    "power_law",
    "prediction_entropies",
]
