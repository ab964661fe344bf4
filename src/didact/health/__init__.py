"""Monitors: they measure training and return verdicts; only the loop acts on a verdict.

There is one file per kind; each names the materials that it applies to.
"""

from didact.health.base import BaseMonitor
from didact.health.configuring import actions, kinds, monitors

__all__ = ["BaseMonitor", "actions", "kinds", "monitors"]
