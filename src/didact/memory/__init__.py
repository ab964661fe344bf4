"""Memory: data that are kept from one batch to a later one."""

from didact.memory.class_means import ClassMeans
from didact.memory.class_statistics import ClassStatistics, ConfidentLabels
from didact.memory.embedding_bank import EmbeddingBank
from didact.memory.index import Index
from didact.memory.per_example import PerExample
from didact.memory.predictions import JudgesLabels, LabelEvidence, Predictions
from didact.memory.reservoir import Reservoir
from didact.memory.signal_cache import SignalCache

__all__ = [
    "ClassMeans",
    "ClassStatistics",
    "ConfidentLabels",
    "EmbeddingBank",
    "Index",
    "JudgesLabels",
    "LabelEvidence",
    "PerExample",
    "Predictions",
    "Reservoir",
    "SignalCache",
]
