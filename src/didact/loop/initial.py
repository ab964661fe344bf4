"""Weights as they were when a run began, for sources that restart them."""

import copy

from didact.types import Method, Source


class InitialState:
    """What a source that restarts the student at its boundaries will want again.

    It is taken before a run is resumed, from the parts that a resumed run is given as the first one was; so it is in no
    checkpoint. A source that does not restart the student costs nothing.

    Args:
        method: its modules are those that are trained.
        source: see `didact.types.Source`.
    """

    def __init__(self, method: Method, source: Source) -> None:
        self.method, self.kind = method, getattr(source, "restart", "no")
        modules = method.modules() if self.kind == "student" else {}
        self.weights = {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}

    def restore(self) -> None:
        """Put the weights back, where the student is restarted."""
        modules = self.method.modules()
        for name in self.weights.keys() & modules.keys():
            modules[name].load_state_dict(self.weights[name])
