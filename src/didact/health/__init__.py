"""Monitors: they measure what training looks like and conclude; only the loop acts on a verdict.

One file a kind; each says what it means something for.
"""

from didact.health.base import BaseMonitor
from didact.health.configuring import actions, kinds, monitors

__all__ = ["BaseMonitor", "actions", "kinds", "monitors"]
