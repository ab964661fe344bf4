"""Growth of the length of rollouts."""

from typing import final

from didact.health.terms import TermMonitor


@final
class LengthDrift(TermMonitor):
    """Objects when rollouts have become much longer than in the first window."""

    name, term, default, relative = "length_drift", "length", 2.0, True
    words = "Rollouts are {figure:.1f} times as long as at the beginning, above {bound:g}; a reward may pay for length."
