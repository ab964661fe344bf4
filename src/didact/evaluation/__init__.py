"""Evaluation of learners: predictions, metrics, probes, cheap baselines, and comparisons of arms over seeds."""

from didact.evaluation.baselines import (
    CONSTANTS,
    baseline,
    baseline_predictions,
    baselines_for,
    constant_predictions,
)
from didact.evaluation.comparison import ArmResult, Comparison, Finding, compare
from didact.evaluation.intervals import Estimate, estimate
from didact.evaluation.measures import (
    agreement,
    confusion,
    diagnostics,
    is_unbalanced,
    merge_diagnostics,
    metrics,
    recalls,
    reliability,
)
from didact.evaluation.predictions import (
    MAP,
    MASK,
    Predictions,
    dropouts,
    outputs_of,
    predict,
    predictions_of,
)
from didact.evaluation.probes import knn_probe, linear_probe
from didact.evaluation.similarity import SIMILARITIES, compare_embeddings, spearman

__all__ = [
    "CONSTANTS",
    "MAP",
    "MASK",
    "SIMILARITIES",
    "ArmResult",
    "Comparison",
    "Estimate",
    "Finding",
    "Predictions",
    "agreement",
    "baseline",
    "baseline_predictions",
    "baselines_for",
    "compare",
    "compare_embeddings",
    "confusion",
    "constant_predictions",
    "diagnostics",
    "dropouts",
    "estimate",
    "is_unbalanced",
    "knn_probe",
    "linear_probe",
    "merge_diagnostics",
    "metrics",
    "outputs_of",
    "predict",
    "predictions_of",
    "recalls",
    "reliability",
    "spearman",
]
