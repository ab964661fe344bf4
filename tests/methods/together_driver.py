"""Teaches by each method for three steps and keeps the weights, and how each example went; runs alone, or in processes
that learn together.

Its words are a folder, the first seed of the loop, and the names of methods.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import contract
from conftest import quiet_fit
from didact.memory import PerExample
from didact.types import Batch, Stateful


def noted(source: Any, table: PerExample) -> Any:
    """The source, and a table that is told how each example went."""

    class Noted(type(source)):
        uses_feedback = True

        def feedback(self, batch: Batch, rows: Mapping[str, torch.Tensor]) -> None:
            if "row" in batch and "total" in rows:
                table.put(batch["row"], "told", rows["total"].nan_to_num(-1.0))

    source.__class__ = Noted
    return source


def learn(name: str, seed: int) -> dict[str, torch.Tensor]:
    """The state after three steps, and what was told on the way."""
    torch.manual_seed(0)  # some teachers begin with weights that nothing else decides
    prepared = contract.ready(name)
    table = PerExample(10_000, {"told": ()})
    options = {"device": "cpu", "precision": "float32", "monitors": [], "log_every": 1}
    result = quiet_fit(
        prepared.method,
        noted(prepared.source, table),
        budget=prepared.config.budget,
        # Where a gradient is nothing but rounding, its sign must not decide a whole step.
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=prepared.config.optimizer.lr, eps=1e-5),
        seed=seed,
        **options,
    )
    assert result.status == "done", result.reason
    parts = {
        key: part.state_dict()
        for key, part in prepared.method.parts().items()
        # What a frozen teacher was asked before is each process's own.
        if isinstance(part, Stateful) and not getattr(part, "frozen", False)
    }
    return {
        **contract.tensors(parts),
        **table.state_dict(),
        "loss": torch.tensor([record["loss/total"] for record in result.history if "loss/total" in record]),
    }


if __name__ == "__main__":
    folder, seed, *names = sys.argv[1:]
    for name in names:
        torch.save(learn(name, int(seed)), Path(folder) / f"{name}-{os.environ.get('RANK', 'alone')}-{seed}.pt")
