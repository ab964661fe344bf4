"""A penalty between -1 and 0 for completions longer than MAX characters; it grows over the last CACHE of them."""

from didact.parts.kinds import Spec
from didact.parts.verifiers.length import penalty
from didact.teachers.verifiers import LengthPenalty

FORM = "characters:MAX | characters:MAX:CACHE"
EXAMPLE = "characters:2000:400"


def build(spec: Spec) -> LengthPenalty:
    """The penalty in characters."""
    return penalty(spec, characters=True)
