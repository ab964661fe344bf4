"""Teaches by each method for three steps and keeps the weights; runs alone, or in processes that learn together.

Its words are a folder, the first seed of the loop, and the names of methods.
"""

import os
import sys
from pathlib import Path

import test_contract
import test_language_contract
import torch

from didact.loop import fit


def learn(name: str, seed: int) -> dict[str, torch.Tensor]:
    """The weights after three steps."""
    torch.manual_seed(0)  # some teachers begin with weights that nothing else decides
    prepared = (test_contract if name in test_contract.NAMES else test_language_contract).ready(name)
    options = {"device": "cpu", "precision": "float32", "monitors": [], "log_every": 1, "progress": False}
    result = fit(
        prepared.method,
        prepared.source,
        budget=prepared.config.budget,
        optimizer=prepared.config.optimizer,
        seed=seed,
        **options,
    )
    assert result.status == "done", result.reason
    found = {}
    for part, module in prepared.method.modules().items():
        found |= {f"{part}.{key}": p.detach().clone() for key, p in module.named_parameters()}
    return {
        **found,
        "loss": torch.tensor([record["loss/total"] for record in result.history if "loss/total" in record]),
    }


if __name__ == "__main__":
    folder, seed, *names = sys.argv[1:]
    for name in names:
        torch.save(learn(name, int(seed)), Path(folder) / f"{name}-{os.environ.get('RANK', 'alone')}-{seed}.pt")
