"""Environments by their specs."""

from collections.abc import Callable

from didact.parts.grammar import parse
from didact.parts.kinds import find
from didact.rollouts.environments import Environment


def environment_of(text: str) -> Callable[[], Environment] | None:
    """What makes the environments of a spec.

    Args:
        text: such as `calculator` or `package.module:factory`; empty for none.

    Raises:
        ConfigError: the spec is invalid, or names something unknown.
        TrustError: it comes from an untrusted file and names code.
    """
    if not text:
        return None
    spec = parse(text, "environment")
    return find(spec.role, spec.kind).load().build(spec)
