"""Labels that are made wrong on purpose, to see what wrong labels do."""

from didact import hashing
from didact.errors import ConfigError
from didact.types import Examples, is_labelled


def redraw_labels(examples: Examples, share: float, *, seed: int) -> Examples:
    """Replace a share of the labels by classes that are drawn at random, which is called symmetric noise.

    All classes are drawn with the same chance, the right one too, so that of C classes `share * (C - 1) / C` of the
    labels become wrong. Which labels, and what they become, depends on the examples' ids and the seed alone; a larger
    share redraws all that a smaller one does, to the same classes.

    Args:
        examples: with classes.
        share: in [0, 1], of the examples that have a label; rounded to a number of them.
        seed: any integer.

    Returns:
        The same examples with other labels.

    Raises:
        ConfigError: The data have no classes.
    """
    if examples.task != "classification":
        raise ConfigError(
            f"redraw_labels is {share:g}, but the data {examples.name!r} are a {examples.task}, without classes to "
            "draw from; leave it out."
        )
    label, ids = examples.tensors["label"], examples.tensors["id"]
    known = is_labelled(label).nonzero()[:, 0]
    order = hashing.keyed_hash(ids[known], seed, "redraw_labels: rows").argsort(stable=True)
    chosen = known[order[: round(share * len(known))]]
    drawn = hashing.uniform(ids[chosen], seed, "redraw_labels: classes").mul(len(examples.classes)).long()
    return examples.with_tensors(label=label.index_copy(0, chosen, drawn.to(label.dtype)))
