"""The one check that every monitor makes of its configuration."""

from didact.errors import check_choice
from didact.types import LEVELS, Level


def check_action(monitor: str, action: Level) -> Level:
    """Raise `ConfigError` unless a monitor is configured to do something when it objects."""
    check_choice(f"{monitor}(action=...)", action, LEVELS[1:])
    return action
