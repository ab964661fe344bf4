"""Groups of rollouts without advantages."""

from typing import final

from didact.health.terms import TermMonitor


@final
class DeadGroups(TermMonitor):
    """Objects when most groups of rollouts have equal rewards, so that their advantages are 0."""

    name, term, default = "dead_groups", "dead", 0.9
    words = "{figure:.0%} of the rollouts are in groups whose rewards are all the same, above {bound:.0%}; they teach "
    words += "nothing. Give questions of another difficulty, or more samples."
