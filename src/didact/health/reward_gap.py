"""Rewards that leave the truth behind."""

from typing import final

from didact.health.terms import TermMonitor, mean_of
from didact.types import Window


@final
class RewardGap(TermMonitor):
    """Objects when rewards grow away from the truth: the learner has found out what pays without being right.

    The figure is how much more the mean reward exceeds the share of right answers than it did in the first window.
    """

    name, term, default = "reward_gap", "truth", 0.2
    words = "Rewards have grown {figure:.2f} further beyond what is true than at the beginning, above {bound:g}; the "
    words += "verifier may be cheated."

    def figure(self, window: Window) -> float | None:
        """Reward less truth, less what that was in the first window."""
        reward, truth = mean_of(window.losses, "reward"), mean_of(window.losses, "truth")
        if reward is None or truth is None:
            return None
        if self.beginning is None:
            self.beginning = reward - truth
        return reward - truth - self.beginning
