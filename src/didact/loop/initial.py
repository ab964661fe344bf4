"""The initial weights of a run, for sources that restart the student."""

import copy

from didact.types import Method, Source
from didact.types.frozen import load_module_state, module_state


class InitialState:
    """A copy of the initial weights, for a source that restarts the student at its boundaries.

    It is made before a run is resumed, from the same parts as in the first run, so that it is not in checkpoints. For a
    source that does not restart the student it costs nothing.

    Args:
        method: the method, whose modules are copied.
        source: see `didact.types.Source`.
    """

    def __init__(self, method: Method, source: Source) -> None:
        self.method, self.kind = method, getattr(source, "restart", "no")
        modules = method.modules() if self.kind == "student" else {}
        self.weights = {name: copy.deepcopy(module_state(module)) for name, module in modules.items()}

    def restore(self) -> None:
        """Restore the initial weights, if the source restarts the student."""
        modules = self.method.modules()
        for name in self.weights.keys() & modules.keys():
            load_module_state(modules[name], self.weights[name])
