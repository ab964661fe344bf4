"""Collapse of the policy's entropy."""

from typing import final

from didact.health.terms import TermMonitor


@final
class PolicyEntropy(TermMonitor):
    """Objects when the policy has lost most of its entropy and no longer explores."""

    name, term, default, relative, highest = "policy_entropy", "entropy", 0.1, True, False
    words = (
        "The entropy of the policy has fallen to {figure:.0%} of what it was, below {bound:.0%}; it no longer explores."
    )
