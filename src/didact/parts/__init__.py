"""Parts of a run by their specs, such as `teacher=noisy:0.3:cnn:32,64`: one grammar, one file a kind, found by path.

Importing it doesn't import torch: `parse` reads a spec into a tree of `Spec`, and `kinds` says what there is.
`didact.parts.part` builds them.
"""

from didact.parts.grammar import parse
from didact.parts.kinds import ROLES, Kind, Role, Spec, find, kinds

__all__ = ["ROLES", "Kind", "Role", "Spec", "find", "kinds", "parse"]
