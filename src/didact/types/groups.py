"""Parameters that are stepped alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from didact.errors import check_range

Members = nn.Module | nn.Parameter | Iterable[nn.Module | nn.Parameter]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with a learning rate, a weight decay and a rhythm of their own.

    Raises:
        ConfigError: a rate, decay or rhythm out of range.
    """

    members: Members
    """Modules and parameters."""
    lr: float | None = None
    """The highest learning rate; None for that of the run. The run's schedule applies to both."""
    weight_decay: float | None = None
    """None for that of the run."""
    every: int = 1
    """At how manieth steps the parameters move: at step 0, `every`, 2 `every`. Their gradient at others is dropped."""
    maximise: bool = False
    """Whether the parameters climb their loss instead of descending it."""

    def __post_init__(self) -> None:
        if self.lr is not None:
            check_range("lr", self.lr, at_least=0.0)
        if self.weight_decay is not None:
            check_range("weight_decay", self.weight_decay, at_least=0.0)
        check_range("every", self.every, at_least=1)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that require a gradient, each once."""
        members = (self.members,) if isinstance(self.members, nn.Module | nn.Parameter) else self.members
        found: dict[nn.Parameter, None] = {}
        for member in members:
            found.update(dict.fromkeys(member.parameters() if isinstance(member, nn.Module) else (member,)))
        return [parameter for parameter in found if parameter.requires_grad]

    @property
    def plain(self) -> bool:
        """Whether it is stepped as the run says."""
        return self.lr is None and self.weight_decay is None and self.every == 1 and not self.maximise
