"""Drift of the policy away from its reference."""

from typing import final

from didact.health.terms import TermMonitor


@final
class ReferenceDrift(TermMonitor):
    """Objects when the KL divergence of the policy from its reference is large, in nats per token."""

    name, term, default = "reference_drift", "kl", 0.5
    words = "The policy is {figure:.2f} nats a token away from its reference, above {bound:g}."
