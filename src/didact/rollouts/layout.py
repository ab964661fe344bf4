"""Rollouts as tensors: prompts and completions in padded rows, and combinations of batches.

Axis letters: B rollouts, K off-policy rows, T positions of prompt and completion, L of the completion alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.sources.steps import Decoder, token_ends
from didact.types import Batch, Question, StepRewards

_ROWS, _TOKENS = 64, 8192
"""The most rows and tokens that a model reads at once outside of training."""
_WIDE = ("input_ids", "attention_mask", "completion_mask", "log_probs", "importance")
"""Tensors with an entry for each token."""


@dataclass(frozen=True)
class Rollouts:
    """A batch of rollouts, with their texts and questions."""

    batch: Batch
    """Without `reward` and `trust` if nothing was verified."""
    texts: tuple[str, ...]
    """The B completions as text."""
    questions: tuple[Question, ...]
    """The question of each rollout, B of them."""

    def select(self, mask: Tensor) -> "Rollouts":
        """The rollouts where `mask` (bool [B]) is true."""
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
    """Concatenate prompts and completions into rows that are padded on the right.

    Args:
        prompts: B lists of token ids.
        tokens: int64 [B, L], padded on the right.
        lengths: int64 [B], their numbers of tokens.
        pad: the id of padding.
        log_probs: float [B, L] of the completions.

    Returns:
        `input_ids`, `attention_mask` and `completion_mask` [B, T], and `log_probs` if given.
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


def bounded(batch: Batch) -> Iterator[Batch]:
    """Cut rows into consecutive batches for inference, each as wide as its longest row.

    Args:
        batch: B prompts with answers, padded on the right.

    Yields:
        Batches of at most 64 rows, and at most 8,192 tokens with padding, or a single row.
    """
    lengths, width = batch["attention_mask"].sum(1).tolist(), batch["input_ids"].shape[1]
    start = 0
    while start < batch.size:
        end, longest = start, 0
        while end < min(batch.size, start + _ROWS):
            longest = max(longest, lengths[end])
            if end > start and longest * (end + 1 - start) > _TOKENS:
                break
            end += 1
        longest = max(lengths[start:end])
        part = {name: tensor[start:end] for name, tensor in batch.items()}
        yield Batch({name: x[:, :longest] if name in _WIDE and x.shape[1] == width else x for name, x in part.items()})
        start = end


def answer_rows(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad: int) -> dict[str, Tensor]:
    """Prompts with whole answers as rows that are padded on the right.

    Args:
        prompts: B lists of token ids.
        answers: B lists of token ids.
        pad: the id that fills up.

    Returns:
        See `pad_rows`.
    """
    lengths = torch.tensor([len(answer) for answer in answers])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(answer) for answer in answers], batch_first=True)
    return pad_rows(prompts, tokens, lengths, pad=pad)


def mark_steps(rollouts: Rollouts, steps: Sequence[StepRewards], tokenizer: Decoder) -> dict[str, Tensor]:
    """The rewards of steps at their last tokens.

    Args:
        rollouts: B of one turn each.
        steps: those of each.
        tokenizer: of the ids.

    Returns:
        `step`, bool [B, T], and `step_reward`, float32 [B, T], which is 0 at other tokens.
    """
    mask = rollouts.batch["completion_mask"]
    step, reward = torch.zeros_like(mask), torch.zeros(mask.shape)
    places = step_positions(rollouts, [[end for end, _ in found] for found in steps], tokenizer)
    for row, (at, found) in enumerate(zip(places, steps, strict=True)):
        step[row, at] = True
        reward[row, at] = torch.tensor([worth for _, worth in found])
    return {"step": step, "step_reward": reward}


def step_positions(rollouts: Rollouts, ends: Sequence[Sequence[int]], tokenizer: Decoder) -> list[list[int]]:
    """The positions in their rows of the last tokens of steps.

    Args:
        rollouts: B of one turn each.
        ends: for each, the number of characters up to the end of each of its steps.
        tokenizer: of the ids.
    """
    ids, mask = rollouts.batch["input_ids"], rollouts.batch["completion_mask"]
    found = list[list[int]]()
    for row, (text, own) in enumerate(zip(rollouts.texts, ends, strict=True)):
        written = mask[row].nonzero()[:, 0]
        places = token_ends(tokenizer, ids[row][written].tolist(), text, own) if len(written) else []
        found.append(written[places].tolist())
    return found


def concat(parts: Sequence[Rollouts]) -> Rollouts:
    """Concatenate rollouts, padded to the widest; only the tensors that all have are kept."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.batch["input_ids"].shape[1] for part in parts)
    names = [name for name in parts[0].batch if all(name in part.batch for part in parts)]
    batch = {name: torch.cat([_widened(part.batch[name], width) for part in parts]) for name in names}
    texts = tuple(text for part in parts for text in part.texts)
    return Rollouts(Batch(batch), texts, tuple(question for part in parts for question in part.questions))


def append_off_policy(batch: Batch, rows: Batch, *, trust: float) -> Batch:
    """Append off-policy rows to rollouts.

    Args:
        batch: B rollouts.
        rows: K of them. Tensors that only the rollouts have are 0 for them, except `temperature`, which is 1; their
            `log_probs` are 0, since they were not sampled.
        trust: that of those rows, if they have none.

    Returns:
        B + K rows, with the tensors that the rollouts have.
    """
    known = {name: tensor.new_zeros(rows.size) for name, tensor in batch.items() if tensor.ndim == 1}
    known |= {"temperature": torch.ones(rows.size), "trust": torch.full((rows.size,), trust)}
    shape = rows["input_ids"].shape
    weights = {"importance": torch.ones(shape)} if "importance" in batch else {}
    given = Batch({**known, "log_probs": torch.zeros(shape), **weights, **rows})
    return concat([Rollouts(batch, (), ()), Rollouts(given, (), ())]).batch


def replace_rollouts(batch: Batch, rows: Batch) -> Batch:
    """Replace some rollouts by off-policy rows of the same prompts.

    Args:
        batch: B rollouts, verified; of each prompt at least as many as rows.
        rows: K of them, with `reward`. Their `log_probs` become 0, since they were not sampled.

    Returns:
        B rows, with `own`, float [B]: 1 for rollouts and 0 for the others, which replace the last rollouts of their
        prompts. Tensors that only the rollouts have are 0 for them, except `trust` and `temperature`, which are 1.
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
    """Pad [B, T] with zeros on the right (the masks mark padding); return [B] unchanged."""
    return tensor if tensor.ndim < 2 else torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))
