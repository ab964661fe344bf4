"""Rollouts as tensors: prompts and completions in padded rows, and batches put together of several.

Axis letters: B rollouts, K rows that others wrote, T positions of prompt and completion, L of the completion alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.types import Batch, Question


@dataclass(frozen=True)
class Rollouts:
    """Completions, with what a method needs to make batches or further prompts of them."""

    batch: Batch
    """Without `reward` and `trust` where nothing was verified."""
    texts: tuple[str, ...]
    """The B completions as text."""
    questions: tuple[Question, ...]
    """The question of each rollout, B of them."""

    def select(self, mask: Tensor) -> "Rollouts":
        """Those where `mask` (bool [B]) is true."""
        places = mask.nonzero()[:, 0].tolist()
        texts, questions = (tuple(parts[i] for i in places) for parts in (self.texts, self.questions))
        return Rollouts(self.batch.select(mask), texts, questions)


def pad_rows(
    prompts: Sequence[Sequence[int]],
    tokens: Tensor,
    lengths: Tensor,
    *,
    pad: int,
    log_probs: Tensor | None = None,
) -> dict[str, Tensor]:
    """Prompts and completions as rows that are padded on the right.

    Args:
        prompts: B lists of token ids.
        tokens: int64 [B, L], padded on the right.
        lengths: int64 [B], how many of them count.
        pad: the id that fills up.
        log_probs: float [B, L] of the completions.

    Returns:
        `input_ids`, `attention_mask` and `completion_mask` [B, T], and `log_probs` where they were given.
    """
    starts = torch.tensor([len(prompt) for prompt in prompts])
    width = int((starts + lengths).max())
    ids = torch.full((len(prompts), width), pad)
    place = torch.arange(width)[None]
    ids[place < starts[:, None]] = torch.tensor([token for prompt in prompts for token in prompt])
    written = (place >= starts[:, None]) & (place < (starts + lengths)[:, None])
    within = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    ids[written] = tokens[within]
    rows = {
        "input_ids": ids,
        "attention_mask": (place < (starts + lengths)[:, None]).long(),
        "completion_mask": written,
    }
    if log_probs is not None:
        rows["log_probs"] = torch.zeros(ids.shape).masked_scatter_(written, log_probs[within].float())
    return rows


def concat(parts: Sequence[Rollouts]) -> Rollouts:
    """Several rollouts as one, padded to the widest; only the tensors that all have are kept."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.batch["input_ids"].shape[1] for part in parts)
    names = [name for name in parts[0].batch if all(name in part.batch for part in parts)]
    batch = {name: torch.cat([_widened(part.batch[name], width) for part in parts]) for name in names}
    texts = tuple(text for part in parts for text in part.texts)
    return Rollouts(Batch(batch), texts, tuple(question for part in parts for question in part.questions))


def append_off_policy(batch: Batch, rows: Batch, *, trust: float) -> Batch:
    """Rollouts and, behind them, rows that somebody else wrote.

    Args:
        batch: B rollouts.
        rows: K of them, with whatever is known. What else the rollouts have is 0 for them, but for `temperature`, 1;
            their `log_probs` are 0 too, as nobody sampled them.
        trust: of those rows, where they have none.

    Returns:
        B + K rows, with the tensors that the rollouts have.
    """
    known = {name: tensor.new_zeros(rows.size) for name, tensor in batch.items() if tensor.ndim == 1}
    known |= {"temperature": torch.ones(rows.size), "trust": torch.full((rows.size,), trust)}
    given = Batch({**known, "log_probs": torch.zeros(rows["input_ids"].shape), **rows})
    return concat([Rollouts(batch, (), ()), Rollouts(given, (), ())]).batch


def replace_rollouts(batch: Batch, rows: Batch) -> Batch:
    """Rollouts some of which give way to rows that others wrote to the same prompts.

    Args:
        batch: B rollouts, verified; at least as many to each prompt as there are rows to it.
        rows: K of them, with `reward`. Their `log_probs` become 0: nobody sampled them.

    Returns:
        B rows, with `own`, float [B]: 1 for rollouts and 0 for the others, which stand where the last rollouts at their
        prompts stood. What else the rollouts have is 0 for them, but for `trust` and `temperature`, 1.
    """
    places: dict[int, list[int]] = {}
    for place, group in enumerate(batch["group"].tolist()):
        places.setdefault(group, []).append(place)
    taken = [places[group].pop() for group in rows["group"].tolist()]
    left = sorted(place for of_group in places.values() for place in of_group)
    own = Batch({**batch, "own": torch.ones(batch.size)}).select(torch.tensor(left))
    mixed = append_off_policy(own, rows, trust=1.0)
    return mixed.select(torch.tensor([*left, *taken]).argsort())


def _widened(tensor: Tensor, width: int) -> Tensor:
    """[B, T] filled up with zeros on the right (what is padding is told by the masks alone); [B] as it is."""
    return tensor if tensor.ndim < 2 else torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))
