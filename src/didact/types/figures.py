"""The direction of metrics."""

LOWER_IS_BETTER = frozenset({"nll", "ece", "rmse", "mae", "teacher_kl", "teacher_rmse"})
"""The metrics that are better when lower; every other is better when higher."""
