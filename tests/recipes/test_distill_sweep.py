"""The mechanism of `distill_sweep`: soft targets carry what labels do not, if the teacher knows it."""

import numpy as np
import pytest
import torch

import didact
from didact.worlds.gaussian import distribution


def accuracy(method, **settings):
    run = didact.run(
        method=method, data="gaussian:families", labels=80, student="mlp:64", steps=150, lr=0.01, seed=1, **settings
    )
    return run.metrics["accuracy"]


@pytest.mark.slow
def test_soft_targets_help_and_those_of_a_random_teacher_do_not(tmp_path, monkeypatch):
    """Two labels a class are not enough; the posterior of 4,200 rows nearly is, and a random teacher takes away."""
    monkeypatch.chdir(tmp_path)
    mixture = distribution("gaussian:families")

    def posterior(rows):
        return mixture.log_posterior(torch.from_numpy(np.asarray(rows, dtype=np.float32))).exp().numpy()

    alone = accuracy("supervised")
    taught = accuracy("distill", teacher=posterior, options={"temperature": 1.0})
    control = accuracy("distill", teacher="random", options={"temperature": 1.0})
    assert taught == pytest.approx(mixture.bayes_accuracy(), abs=0.06)
    assert taught > alone + 0.1
    assert control < alone
