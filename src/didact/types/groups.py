"""Parameter groups."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from didact.errors import check_range

Members = nn.Module | nn.Parameter | Iterable[nn.Module | nn.Parameter]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with a learning rate, a weight decay and a step interval of their own.

    Raises:
        ConfigError: a rate, decay or interval out of range.
    """

    members: Members
    """Modules and parameters."""
    lr: float | None = None
    """The peak learning rate; None for that of the run. The run's schedule applies to both."""
    weight_decay: float | None = None
    """The weight decay; None for that of the run."""
    every: int = 1
    """The parameters are updated at the steps 0, `every`, 2 `every`, ...; gradients of other steps are dropped."""
    maximise: bool = False
    """Whether the parameters maximise the loss instead of minimising it."""

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
        """Whether it has the run's defaults in everything."""
        return self.lr is None and self.weight_decay is None and self.every == 1 and not self.maximise
