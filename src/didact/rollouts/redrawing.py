"""Rounds in which other prompts replace those that teach nothing."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from didact import hashing
from didact.losses.policy.groups import dead_groups
from didact.rollouts.layout import Rollouts, concat
from didact.rollouts.writer import Writer
from didact.types import Question


def write_live(writer: Writer, questions: Sequence[Question], pool: Sequence[Question], *, tries: int) -> Rollouts:
    """Sample completions, and replace prompts whose rewards are all equal by others (Yu et al. 2025, dynamic sampling).

    Args:
        writer: samples and verifies.
        questions: the prompts of the round.
        pool: further prompts, in an order drawn anew in each round; those of the round are skipped.
        tries: how many times prompts are replaced, below `didact.rollouts.writer.TURNS`.

    Returns:
        As many completions as without; groups with equal rewards stay only if the tries were not enough.
    """
    found, spare = writer.write(questions), _spare(writer, questions, pool)
    for turn in range(1, tries + 1):
        dead = _dead(found).unique()
        others = list(itertools.islice(spare, len(dead)))
        if not others:
            break
        fresh = writer.write(others, turn=turn)
        live = ~torch.isin(fresh.batch["group"], _dead(fresh))
        if live.any():
            gone = dead[: len(fresh.batch["group"][live].unique())]
            found = concat([found.select(~torch.isin(found.batch["group"], gone)), fresh.select(live)])
    return found


def _dead(rollouts: Rollouts) -> Tensor:
    """The groups of rollouts whose rewards are all equal."""
    batch = rollouts.batch
    return batch["group"][dead_groups(batch["reward"], batch["group"], batch["trust"]) > 0]


def _spare(writer: Writer, questions: Sequence[Question], pool: Sequence[Question]) -> Iterator[Question]:
    """The prompts of the pool that are not asked in this round, in its order."""
    asked = {question.id for question in questions}
    ids = torch.tensor([question.id for question in pool], dtype=torch.int64)
    order = hashing.uniform(ids, writer.seed, f"redrawn/{writer.round}").argsort(stable=True)
    yield from (pool[place] for place in order.tolist() if pool[place].id not in asked)
