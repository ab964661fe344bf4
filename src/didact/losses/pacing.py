"""How much of a loss is to count yet: self-paced learning."""

from torch import Tensor


def self_paced_weights(losses: Tensor, threshold: Tensor | float) -> Tensor:
    """Weights in [0, 1] that let easy tasks come first: max(0, 1 - loss / threshold).

    These minimise sum_k v_k loss_k + threshold · sum_k (v_k² / 2 - v_k) over v in [0, 1], the linear soft weighting of
    Jiang, Meng, Mitamura and Hauptmann (2014, "Easy samples first"). As the threshold grows, all weights tend to 1.

    Args:
        losses: float [K], 0 or more; no gradient flows through them.
        threshold: above 0; infinity gives ones.

    Returns:
        float [K].
    """
    return (1.0 - losses.detach() / threshold).clamp(min=0.0)
