"""Rollouts made by hand, and what transcriptions of policy methods need of them."""

from types import SimpleNamespace

import pytest
import torch

from didact.parts.models import build_causal
from didact.types import Batch

LENGTHS = [(3, 2), (2, 4), (4, 1), (3, 3), (2, 2), (2, 1), (3, 4), (2, 3)]
"""Of the hand-made attempts: the tokens of prompt and completion."""
GROUPS = [7, 7, 5, 7, 5, 9, 5, 9]
REWARDS = [1.0, 0.0, 0.25, 1.0, 1.0, 0.5, 0.0, 0.5]
TRUST = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
WARMTH = [1.0, 0.7, 1.0, 1.0, 1.3, 1.0, 0.7, 1.0]


def decoder(seed=0):
    return build_causal("decoder:1x16", seed=seed).double()


def hand_made(learner, *, drift=0.0, seed=1):
    """Rollouts whose tokens had the log-probabilities of now less up to `drift`."""
    generator = torch.Generator().manual_seed(seed)
    width = max(map(sum, LENGTHS))
    ids = torch.zeros(len(LENGTHS), width, dtype=torch.int64)
    mask = torch.zeros(len(LENGTHS), width, dtype=torch.bool)
    for row, (start, count) in enumerate(LENGTHS):
        ids[row, : start + count] = torch.randint(4, 260, (start + count,), generator=generator)
        mask[row, start : start + count] = True
    batch = Batch(
        {
            "input_ids": ids,
            "attention_mask": (ids > 0).long(),
            "completion_mask": mask,
            "temperature": torch.tensor(WARMTH, dtype=torch.float64),
            "reward": torch.tensor(REWARDS),
            "trust": torch.tensor(TRUST),
            "group": torch.tensor(GROUPS),
            "id": torch.tensor(GROUPS),
            "log_probs": torch.zeros(ids.shape, dtype=torch.float64),
        }
    )
    old = batch["log_probs"].clone()
    for row, (start, count) in enumerate(LENGTHS):
        now = torch.stack(told(learner, batch)[row]).detach()
        old[row, start : start + count] = now - drift * (2 * torch.rand(count, generator=generator).double() - 1)
    return Batch({**batch, "log_probs": old})


def told(learner, batch):
    """By attempt, the log-probabilities of its tokens, one by one; differentiable."""
    logits = learner(batch).logits
    found = []
    for row, (start, count) in enumerate(LENGTHS):
        places = range(start, start + count)
        scaled = [logits[row, t - 1] / WARMTH[row] for t in places]
        found.append([z.log_softmax(0)[batch["input_ids"][row, t]] for z, t in zip(scaled, places, strict=True)])
    return found


def before(batch):
    """By attempt, the log-probabilities that its tokens had when they were sampled."""
    return [batch["log_probs"][row, start : start + count] for row, (start, count) in enumerate(LENGTHS)]


def asked(batch):
    """Who gives these attempts, whatever is asked."""
    return SimpleNamespace(write=lambda _questions: SimpleNamespace(batch=batch))


def mates(row):
    """The attempts in the group of one of which something is known, itself included."""
    return [other for other in range(len(LENGTHS)) if GROUPS[other] == GROUPS[row] and TRUST[other] > 0]


def gradients(loss, learner):
    found = torch.autograd.grad(loss, list(learner.parameters()))
    return torch.cat([part.flatten() for part in found])


def agree(method, batch, wanted):
    """The whole loss, and its gradient, are what the transcription says."""
    loss = method.loss(batch).total()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-9)
    mine, theirs = gradients(loss, method.learner), gradients(wanted, method.learner)
    assert theirs.abs().max() > 1e-6
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


def clipped(now, then, advantage, low=0.2, high=0.2):
    ratio = (now - then).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
