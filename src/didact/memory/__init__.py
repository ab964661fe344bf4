"""Memory: what is kept from one batch to a later one."""

from didact.memory.signal_cache import SignalCache

__all__ = ["SignalCache"]
