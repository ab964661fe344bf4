"""The spenders of a run: checks of the budget, and charges for labels in batches."""

import math
from collections.abc import Iterator, Mapping

from didact.errors import ConfigError
from didact.loop.budget import AXES, Budget
from didact.types import Batch, LabelsSpentError, Ledger, Method, Source, Spender, Stateful

BATCHES = "batches"
"""The name for charges of batches, which the loop makes for the source."""
_NAMES = {"student_tokens": "tokens"}
"""Fields of `Cost` that have another name in a budget."""


def spenders(parts: Mapping[str, object], inside: str = "", saved: bool = False) -> Iterator[tuple[str, Spender, bool]]:
    """The parts of a run that charge what they spend.

    Args:
        parts: those of the method and the source, by name.
        inside: the name of the part that holds them.
        saved: whether that part is a cache, which calls them less and less.

    Yields:
        The part's name, the part, and whether it may not be called any more at some point, like a teacher behind a
        cache.
    """
    for name, part in parts.items():
        place = ".".join(filter(None, (inside, name)))
        if isinstance(part, Spender):
            yield place, part, saved or getattr(part, "saves", False)
        yield from spenders(getattr(part, "spenders", {}), place, saved or getattr(part, "saves", False))


def check_budget(budget: Budget, method: Method, source: Source) -> None:
    """Refuse a budget that a run may never use up.

    Raises:
        ConfigError: a limit on an axis on which nothing is spent, or no limit that is certain to be reached.
    """
    endless = {"steps", "seconds", *(["epochs"] if source.epoch_size else [])}
    endless |= {*method.feed.charges, *getattr(source, "charges", ())}
    spent = set(endless)
    for _, part, saved in spenders({**method.parts(), "": source}):
        spent |= part.charges
        endless |= set() if saved else part.charges
    spent, endless = ({_NAMES.get(axis, axis) for axis in axes} for axes in (spent, endless - {"labels"}))
    limits, words = budget.limits(), f"this run spends {', '.join(axis for axis in AXES if axis in spent)}"
    # A limit of labels is valid even if none are read.
    if useless := limits.keys() - spent - {"labels"}:
        raise ConfigError(f"The budget limits {' and '.join(useless)}, on which nothing in this run spends: {words}.")
    if endless.isdisjoint(limits):
        raise ConfigError(
            f"The budget limits {' and '.join(limits)} alone, of which the run may need no more at some point, so that "
            f"it would never end; {words}. Give steps too."
        )


def charge_labels(source: Source, method: Method, ledger: Ledger) -> Iterator[Batch]:
    """Iterate over the batches of a source, and charge each label once.

    Args:
        source: the source; if its batches are not on the CPU, this waits for the device.
        method: its feed determines the labels that are read. If it reads none, labels are removed from the batches.
        ledger: of the run.

    Yields:
        Batches, up to the first that would read more labels than the ledger allows; the source is then in its state
        before that one.

    Raises:
        ConfigError: the first batch of a run would exceed the limit.
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
