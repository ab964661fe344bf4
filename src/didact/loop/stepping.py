"""Optimizer steps over the parameter groups of a method, which may change during a run."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from didact.documents import Document, State
from didact.errors import CheckpointError, ConfigError
from didact.loop import foreach
from didact.loop.masters import Masters
from didact.loop.optimizer import LeanAdamW, OptimizerConfig, OptimizerFactory, restore
from didact.types import Group, Method, Terms


class Stepper:
    """An optimizer for the parameter groups of a method.

    Args:
        method: the method.
        optimizer: its settings, or a function from parameters (or torch's groups of them) to an optimizer.

    Raises:
        ConfigError: a trained parameter is in no group, or in several.
    """

    def __init__(self, method: Method, optimizer: OptimizerConfig | OptimizerFactory) -> None:
        self.method = method
        configured = isinstance(optimizer, OptimizerConfig)
        self._build: OptimizerFactory = optimizer.build if configured else optimizer
        self._schedule = optimizer.factor if configured else None
        self.rate_factor = 1.0
        """A factor of the learning rate besides the schedule."""
        self.masters = Masters()
        self.optimizer = self._read()

    def regroup(self) -> None:
        """Read the method's groups again; the moments of earlier parameters are kept."""
        before = self.optimizer.state
        self.optimizer = self._read()
        for parameter in self.stepped:
            if parameter in before:
                self.optimizer.state[parameter] = before[parameter]

    def restart(self) -> None:
        """Reset all moments."""
        self.masters = Masters()
        self.optimizer = self._read()

    def _read(self) -> torch.optim.Optimizer:
        self.groups: dict[str, Group] = dict(self.method.groups())
        self.members = {name: found for name, group in self.groups.items() if (found := group.parameters())}
        """Read the groups, and build the optimizer over those with parameters."""
        self.parameters = [parameter for members in self.members.values() for parameter in members]
        self.stepped = self.masters.of(self.parameters)
        """What the optimizer has in their place."""
        names = {parameter: name for name, parameter in self.method.named_parameters().items()}
        self._check(names)
        self.names = [names[parameter] for parameter in self.parameters]
        self._single, self._terms_checked = len(self.groups) == 1, False
        self._plain = all(group.plain for group in self.groups.values())
        one = self._single and self._plain
        optimizer = self._build(self.stepped if one else [self._torch_group(name) for name in self.members])
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def _torch_group(self, name: str) -> Document:
        group = self.groups[name]
        own = {"lr": group.lr, "weight_decay": group.weight_decay}
        stepped = self.masters.of(self.members[name])
        return {"params": stepped, **{key: value for key, value in own.items() if value is not None}}

    def _check(self, names: Mapping[nn.Parameter, str]) -> None:
        """Refuse groups that do not hold each trained parameter once."""
        kind, listed = type(self.method).__name__, set(self.parameters)
        if len(listed) < len(self.parameters):
            twice = next(p for p in self.parameters if sum(p is other for other in self.parameters) > 1)
            raise ConfigError(f"The groups of {kind} hold {names.get(twice, 'a parameter')} twice; name it in one.")
        if listed != names.keys():
            outside = [name for parameter, name in names.items() if parameter not in listed]
            what = f"leave out {outside[0]}" if outside else "hold a parameter of none of its modules"
            raise ConfigError(f"The groups of {kind} {what}; each trained parameter must be in one group.")

    def check(self) -> None:
        """Refuse parameters that the method trains but the optimizer does not have."""
        known = set(self.parameters)
        new = [name for name, parameter in self.method.named_parameters().items() if parameter not in known]
        if new:
            raise ConfigError(
                f"{type(self.method).__name__}.{new[0]} was added during the run, but nothing trains it; "
                "call self.changed() where it is added."
            )

    def _check_terms(self, terms: Terms) -> None:
        """Refuse terms for unknown groups."""
        self._terms_checked = True
        for name, term in terms.items():
            if term.group is not None and term.group not in self.groups:
                raise ConfigError(
                    f"The term {name!r} is for the group {term.group!r}, but {type(self.method).__name__} has "
                    f"{', '.join(map(repr, self.groups))}."
                )

    def set_rates(self, fraction: float) -> float:
        """Set the learning rates for a fraction of the budget; the rate of the first group."""
        if self._schedule is not None:
            factor = self._schedule(fraction) * self.rate_factor
            for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
                group["lr"] = rate * factor
        return self.optimizer.param_groups[0]["lr"]

    def backward(self, terms: Terms, counts: Mapping[str, Tensor | float] | None = None) -> None:
        """Add the gradient of some terms, each to its group's parameters."""
        if not self._terms_checked:
            self._check_terms(terms)
        terms.backward(counts, None if self._single else self.members)
        self.masters.take_gradients()

    def gradients(self, step: int) -> list[Tensor]:
        """The gradients of a step, in the order of the parameters."""
        if not self._plain:
            self._prepare(step)
        return [p.grad for p in self.stepped if p.grad is not None]

    def _prepare(self, step: int) -> None:
        """Drop the gradients of groups that are not due, and negate those of groups that maximise."""
        for name, members in self.members.items():
            group, members = self.groups[name], self.masters.of(members)
            if step % group.every:
                _clear(members)
            elif group.maximise:
                foreach.negate([p.grad for p in members if p.grad is not None])

    def advance(self, gradients: list[Tensor]) -> None:
        """Take a step of the optimizer."""
        self.masters.refresh()
        if self._single and isinstance(self.optimizer, LeanAdamW):
            self.optimizer.advance(gradients)
        else:
            self.optimizer.step()
        self.masters.give_back()

    def clear(self) -> None:
        """Drop all gradients."""
        _clear(self.stepped)

    def state_dict(self) -> State:
        """The optimizer's state, with the names of its parameters by group."""
        names = iter(self.names)
        groups = {group: [next(names) for _ in members] for group, members in self.members.items()}
        found = {"optimizer": self.optimizer.state_dict(), "groups": groups, "rate_factor": self.rate_factor}
        named = zip(self.names, self.parameters, self.stepped, strict=True)
        return {**found, "masters": {name: master for name, own, master in named if master is not own}}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`, each moment by the name of its parameter.

        Raises:
            CheckpointError: the state belongs to other parameters or groups.
        """
        present = self.state_dict()["groups"]
        saved = state["groups"]
        if {name: sorted(names) for name, names in saved.items()} != {n: sorted(names) for n, names in present.items()}:
            raise CheckpointError(_difference(saved, present))
        at = {name: i for i, name in enumerate(name for names in saved.values() for name in names)}
        packed = dict(state["optimizer"])
        by_group = dict(zip(saved, packed["param_groups"], strict=True))
        packed["param_groups"] = [{**by_group[g], "params": [at[n] for n in names]} for g, names in present.items()]
        restore(self.optimizer, packed)
        named = dict(zip(self.names, self.parameters, strict=True))
        self.masters.load({named[name]: master for name, master in state["masters"].items()})
        self.rate_factor = state["rate_factor"]


def _clear(parameters: list[nn.Parameter]) -> None:
    # Like optimizer.zero_grad, without its profiling, which costs a fiftieth of a small net's step.
    for parameter in parameters:
        parameter.grad = None


def _difference(saved: Mapping[str, list[str]], present: Mapping[str, list[str]]) -> str:
    """A sentence on how the parameters of a checkpoint differ."""
    theirs, ours = ({name for names in groups.values() for name in names} for groups in (saved, present))
    if theirs - ours:
        return (
            f"The optimizer's state holds moments of {min(theirs - ours)}, which the method does not train; a part "
            "that was added during the run is made again in the method's `grow`."
        )
    if ours - theirs:
        return f"The optimizer's state holds nothing of {min(ours - theirs)}, which the method trains."
    return f"The optimizer's state has the groups {', '.join(saved)}, but the method {', '.join(present)}."
