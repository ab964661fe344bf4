"""Repetition within rollouts."""

from typing import final

from didact.health.terms import TermMonitor


@final
class Repetition(TermMonitor):
    """Objects when much of the text of rollouts repeats earlier text of the same rollout."""

    name, term, default = "repetition", "repetition", 0.5
    words = "{figure:.0%} of the runs of four tokens in a completion occurred in it before, above {bound:.0%}."
