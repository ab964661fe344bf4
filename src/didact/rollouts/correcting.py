"""Rollouts of other weights or arithmetic than the student's, with the student's log-probabilities and weights."""

import torch
from torch import Tensor

from didact.learners.causal import CausalLearner
from didact.losses.policy.importance import importance_weights
from didact.rollouts.engine_config import EngineConfig
from didact.rollouts.layout import Rollouts
from didact.rollouts.scoring import score_tokens
from didact.types import Batch


def correct_rollouts(
    rollouts: Rollouts, learner: CausalLearner, config: EngineConfig, *, weighted: bool = True
) -> Rollouts:
    """Replace the log-probabilities of rollouts by the student's present ones, and weigh their tokens.

    Args:
        rollouts: B of them, as they were sampled; log-probabilities that are not known are NaN, and weigh 1.
        learner: the student.
        config: for `correction` and `cap`.
        weighted: False for methods that read neither, for which nothing is computed.

    Returns:
        The same, with `log_probs` [B, T] of the student, `importance` [B, T] of `importance_weights`, and `mismatch`
        [B], the mean absolute difference of the log-probabilities of their tokens.
    """
    batch = rollouts.batch
    sampled, mask = batch["log_probs"], batch["completion_mask"]
    if not weighted:
        return Rollouts(Batch({**batch, "log_probs": sampled.nan_to_num()}), rollouts.texts, rollouts.questions)
    own = score_tokens(learner, batch)
    sampled = torch.where(sampled.isnan(), own, sampled)
    weights = importance_weights(own, sampled, mask, config.correction, config.cap)
    more = {"log_probs": own, "importance": weights, "mismatch": _mean((own - sampled).abs(), mask)}
    return Rollouts(Batch({**batch, **more}), rollouts.texts, rollouts.questions)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)
