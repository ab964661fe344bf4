"""Reward hacking: rewards that grow without correctness."""

from typing import final

from didact.health.terms import TermMonitor, mean_of
from didact.types import Window


@final
class RewardGap(TermMonitor):
    """Objects when rewards grow more than correctness: the learner exploits the verifier.

    The figure is the growth, since the first window, of the mean reward minus the share of correct rollouts.
    """

    name, term, default = "reward_gap", "truth", 0.2
    words = "Rewards have grown {figure:.2f} further beyond what is true than at the beginning, above {bound:g}; the "
    words += "verifier may be cheated."

    def figure(self, window: Window) -> float | None:
        """The reward minus the correctness, minus that of the first window."""
        reward, truth = mean_of(window.losses, "reward"), mean_of(window.losses, "truth")
        if reward is None or truth is None:
            return None
        if self.beginning is None:
            self.beginning = reward - truth
        return reward - truth - self.beginning
