"""Layers that a shallow and a deeper net share."""

from didact.errors import ConfigError
from didact.learners.module import ModuleLearner


def share_layers(shallow: ModuleLearner, deep: ModuleLearner) -> None:
    """Make a deeper net share all layers of a shallow one but the head.

    From then on the two share parameters, matched by name; each keeps a head of its own. Of two
    transformers the embedding, the first blocks and the last normalisation are shared; of two chains of layers, such as
    `mlp:32` and `mlp:32,32`, the first layers.

    Args:
        shallow: not changed.
        deep: gets the shallow net's parameters in place of its own.

    Raises:
        ConfigError: the deep net lacks a layer of the shallow one, or has nothing beyond it.
    """
    theirs = dict(deep.module.named_parameters())
    head = () if shallow.head is None else tuple(map(id, shallow.head.parameters()))
    mine = {name: p for name, p in shallow.module.named_parameters() if id(p) not in head}
    for name, parameter in mine.items():
        if name not in theirs or theirs[name].shape != parameter.shape:
            found = f"{list(theirs[name].shape)}" if name in theirs else "none"
            raise ConfigError(
                f"The deeper net's layer {name!r} should be the shallower one's, {list(parameter.shape)}, but is "
                f"{found}; give nets that begin alike, such as transformer:1x32 and transformer:4x32."
            )
    if len(theirs) <= len(mine) + len(head):
        raise ConfigError("The deeper net has no layer beyond the shallower one's; give one with more layers.")
    for name, parameter in mine.items():
        owner, _, leaf = name.rpartition(".")
        setattr(deep.module.get_submodule(owner), leaf, parameter)
