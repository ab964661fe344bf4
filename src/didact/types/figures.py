"""Which way the figures point."""

LOWER_IS_BETTER = frozenset({"nll", "ece", "rmse", "mae", "teacher_kl", "teacher_rmse"})
"""The figures of which less is better; of every other, more is."""
