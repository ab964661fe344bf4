"""A penalty between -1 and 0 for completions longer than MAX tokens; it grows over the last CACHE of them."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import LengthPenalty

FORM = "length:MAX | length:MAX:CACHE"
EXAMPLE = "length:512:64"


def build(spec: Spec) -> LengthPenalty:
    """The penalty in tokens."""
    return penalty(spec)


def penalty(spec: Spec, *, characters: bool = False) -> LengthPenalty:
    """A length penalty from the one or two numbers of a spec.

    Raises:
        ConfigError: They are something else.
    """
    words = spec.argument.split(":")
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        raise spec.error()
    longest, *cache = map(int, words)
    return LengthPenalty(longest, cache=cache[0] if cache else None, characters=characters)
