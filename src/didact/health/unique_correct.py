"""Diversity of correct rollouts."""

from typing import final

from didact.health.terms import TermMonitor


@final
class UniqueCorrect(TermMonitor):
    """Objects when the correct rollouts of a prompt are nearly all the same."""

    name, term, default, highest = "unique_correct", "unique", 0.05, False
    words = "Only {figure:.0%} of the right rollouts differ from an earlier one at their question, below {bound:.0%}."
