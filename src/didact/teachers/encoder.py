"""A frozen encoder as a teacher of embeddings, or of features alone."""

from typing import Any

import torch

from didact.teachers.frozen import FrozenTeacher
from didact.types import EMBEDDING, SILENT, Batch, Features, Labels, Logits, Signal


class EncoderTeacher(FrozenTeacher):
    """A learner whose outputs are embeddings, with frozen parameters.

    Args:
        learner: the encoder.
        embeds: whether it teaches the embedding itself; else only what is tapped.
        view: see `FrozenTeacher`.
    """

    kind = "an encoder"

    def __init__(self, learner: Any, *, embeds: bool = True, view: str | None = None) -> None:
        super().__init__(learner, view=view)
        self.embeds = embeds

    def signal(self, batch: Batch) -> Signal:
        """Embed a batch.

        Returns:
            `Features` with the embedding [B, D] under the name `embedding`, or with what is tapped, and no logits.
        """
        found = super().signal(batch)
        features = dict(found.features) if isinstance(found, Features) else {}
        if features and not self.embeds:
            return Features(features={**features, SILENT: batch["id"].new_zeros(batch.size, dtype=torch.float32)})
        if isinstance(found, Labels):
            return Features(features={**features, EMBEDDING: found.labels[:, None]})
        assert isinstance(found, Logits | Features) and found.logits is not None
        return Features(features={**features, EMBEDDING: found.logits})
