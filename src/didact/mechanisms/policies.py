"""Policies that are tables: one row of scores for each prompt, of which each action is a completion of one token."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from didact.mechanisms.world import gradient
from didact.types import Batch, Head, Method, Question, TokenOutput


class Policy(nn.Module):
    """A language model whose next token depends on the prompt alone.

    Args:
        table: float [P, V], the scores of the V actions of each prompt.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.tokenizer: Any = SimpleNamespace(eos=0)
        self.context = 8
        self.table = nn.Parameter(table.clone())

    def forward(self, batch: Batch) -> TokenOutput:
        """The scores as hidden states, with a head that leaves them as they are."""
        rows, length = self.table[batch["id"]], batch["input_ids"].shape[1]
        return TokenOutput(rows[:, None].expand(-1, length, -1), Head(torch.eye(self.table.shape[1])))


class TwoSteps(Policy):
    """A language model that writes two tokens, each from a row of its own: float [2 * P, V], two rows a prompt."""

    def forward(self, batch: Batch) -> TokenOutput:
        """The scores as hidden states; behind the second token they are 0."""
        rows = self.table.view(-1, 2, self.table.shape[1])[batch["id"]]
        return TokenOutput(torch.nn.functional.pad(rows, (0, 0, 0, 1)), Head(torch.eye(self.table.shape[1])))


def actions(prompts: Tensor, chosen: Tensor, **more: Tensor) -> Batch:
    """Completions of one token.

    Args:
        prompts: int64 [B].
        chosen: int64 [B], the actions.
        more: further tensors [B] of the batch.
    """
    ids = torch.stack([torch.zeros_like(chosen), chosen], 1)
    mask = torch.stack([torch.zeros_like(chosen), torch.ones_like(chosen)], 1).bool()
    size = torch.ones(len(chosen))
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    return Batch({**rows, "id": prompts, "group": prompts, "temperature": size, "trust": size, **more})


def every_action(reward: Tensor) -> Batch:
    """Rollouts of the even policy in which each action of each prompt occurs once, as often as it is expected.

    Args:
        reward: float [P, V].
    """
    prompts, count = reward.shape
    old = torch.full((prompts * count, 2), -torch.tensor(float(count)).log().item())
    each = torch.arange(prompts).repeat_interleave(count), torch.arange(count).repeat(prompts)
    return actions(*each, reward=reward.flatten(), log_probs=old, finished=torch.ones(prompts * count).bool())


def collected(method: Any, batch: Batch) -> Batch:
    """What a method makes of rollouts."""
    writer = SimpleNamespace(write=lambda *_questions, **_options: SimpleNamespace(batch=batch))
    return method.collect([], writer)


def policy_gradient(method: Method, reward: Tensor) -> Tensor:
    """The gradient of a method's policy term with respect to the table: [P, V]."""
    return gradient(method, collected(method, every_action(reward)), "policy")


def shuffled(reward: Tensor, seed: int) -> Tensor:
    """Rewards in another order within each prompt, which says nothing about the actions."""
    order = torch.rand(reward.shape, generator=torch.Generator().manual_seed(seed + 1)).argsort(1)
    return reward.gather(1, order)


LETTERS = "abcdefgh"
"""The texts of the actions of a `speaker`."""


def speaker(table: Tensor) -> Policy:
    """A policy whose actions are letters, for methods that read texts: float [P, V], V at most 8."""
    policy = Policy(table)
    policy.tokenizer = SimpleNamespace(eos=0, prompt=lambda _question: [0], completion=lambda _question, _text: [0])
    return policy


class LetterWriter:
    """Encodes completions of one letter for a speaker whose rows are prompts.

    Args:
        prompts: all different, in the order of the rows.
    """

    seed, round = 0, 0

    def __init__(self, prompts: Sequence[str]) -> None:
        self.rows = {prompt: row for row, prompt in enumerate(prompts)}

    def read(self, questions: Sequence[Question]) -> None:
        """Nothing is charged."""

    def encode(self, questions: Sequence[Question], texts: Sequence[str]) -> SimpleNamespace:
        """The batch of questions with a letter each; an empty text is the first letter."""
        prompts = torch.tensor([self.rows[question.prompt] for question in questions])
        return SimpleNamespace(batch=actions(prompts, torch.tensor([LETTERS.find(text) for text in texts])))
