"""Disabling dropout."""

from torch import nn


def switch_off_dropout(model: nn.Module) -> None:
    """Set every dropout rate of a model to 0; training mode is otherwise unchanged.

    Covers dropout layers, and float attributes such as `attention_dropout` and `layerdrop`, which models of
    transformers pass to functions. The model's configuration, and thus a saved model, keeps its rates.

    Args:
        model: changed in place.
    """
    for part in model.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
