"""Who spends what in a run: budgets that nothing uses up, and what the labels in its batches cost."""

import math
from collections.abc import Iterator, Mapping

from didact.errors import ConfigError
from didact.loop.budget import AXES, Budget
from didact.types import Batch, LabelsSpentError, Ledger, Method, Source, Spender, Stateful

BATCHES = "batches"
"""Who charges what lies in batches: the loop, for the source."""
_NAMES = {"student_tokens": "tokens"}
"""Fields of `Cost` that a budget has by another name."""


def spenders(parts: Mapping[str, object], inside: str = "", saved: bool = False) -> Iterator[tuple[str, Spender, bool]]:
    """The parts of a run that charge what they spend.

    Args:
        parts: those of the method and the source, by name.
        inside: the name of the part that holds them.
        saved: whether that is asked in their place, and asks them less and less.

    Yields:
        The part's name, itself, and whether it is asked no more at some point, as a teacher behind a cache is.
    """
    for name, part in parts.items():
        place = ".".join(filter(None, (inside, name)))
        if isinstance(part, Spender):
            yield place, part, saved
        yield from spenders(getattr(part, "spenders", {}), place, saved or getattr(part, "saves", False))


def check_budget(budget: Budget, method: Method, source: Source) -> None:
    """Refuse a budget that a run would never use up.

    Raises:
        ConfigError: a limit on an axis on which nothing is spent, or none that is sure to be reached.
    """
    endless = {"steps", "seconds", *(["epochs"] if source.epoch_size else [])}
    endless |= {*method.feed.charges, *getattr(source, "charges", ())}
    spent = set(endless)
    for _, part, saved in spenders({**method.parts(), "": source}):
        spent |= part.charges
        endless |= set() if saved else part.charges
    spent, endless = ({_NAMES.get(axis, axis) for axis in axes} for axes in (spent, endless - {"labels"}))
    limits, words = budget.limits(), f"this run spends {', '.join(axis for axis in AXES if axis in spent)}"
    # A bound on labels holds also where none is read.
    if useless := limits.keys() - spent - {"labels"}:
        raise ConfigError(f"The budget limits {' and '.join(useless)}, on which nothing in this run spends: {words}.")
    if endless.isdisjoint(limits):
        raise ConfigError(
            f"The budget limits {' and '.join(limits)} alone, of which the run may need no more at some point, so that "
            f"it would never end; {words}. Give steps too."
        )


def charge_labels(source: Source, method: Method, ledger: Ledger) -> Iterator[Batch]:
    """The batches of a source, the labels in which are charged as they come, each once.

    Args:
        source: its batches lie on the CPU, or the device is waited for.
        method: whose feed says which labels are read. One that reads none is given none, so that this is true.
        ledger: of the run.

    Yields:
        Batches, to the last before one that would read more labels than the ledger allows; the source then is where it
        was before that one.

    Raises:
        ConfigError: the first batch of a run would.
    """
    batches, feed, most = iter(source), method.feed, getattr(source, "label_count", math.inf)
    reads = "labels" in feed.charges
    while True:
        before = source.state_dict() if ledger.labels is not None and isinstance(source, Stateful) else None
        try:
            batch = next(batches)
            if not reads:
                batch = Batch({name: tensor for name, tensor in batch.items() if name != "label"})
            elif ledger.parts[BATCHES].labels < most:
                ids, each = feed.labels_in(batch)
                ledger.read(ids, BATCHES, each=each)
        except LabelsSpentError as spent:
            if ledger.cost.steps == 0:
                raise ConfigError(f"{spent} Allow more, or take smaller batches or rounds.") from None
            if before is not None and isinstance(source, Stateful):
                source.load_state_dict(before)
            return
        yield batch
