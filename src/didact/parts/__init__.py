"""Parts of a run by their specs, such as `teacher=noisy:0.3:cnn:32,64`: one grammar, one file per kind, found by path.

Importing this package does not import torch. `parse` reads a spec into a tree of `Spec`, `kinds` lists the available
kinds, and `didact.parts.part` builds parts.
"""

from didact.parts.grammar import parse
from didact.parts.kinds import ROLES, Kind, Role, Spec, find, kinds

__all__ = ["ROLES", "Kind", "Role", "Spec", "find", "kinds", "parse"]
