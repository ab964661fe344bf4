"""Text as token ids."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact.errors import ConfigError, DataError, check_range
from didact.preprocessing import TextPreprocessing
from didact.types import Examples

Tokenizer = Callable[[list[str]], Mapping[str, Any]]
"""Takes N strings; gives `input_ids` and `attention_mask`, rectangular integers [N, T]."""


class ByteTokenizer:
    """Every byte of the UTF-8 text is a token, so that there is nothing to train and nothing unknown.

    The ids: `PAD` 0 fills up, `BOS` 1 begins, `EOS` 2 ends, `UNK` 3 is never produced and left for a learner's own use,
    and byte b is 4 + b; 260 in all.

    Args:
        max_length: the longest sequence T, `BOS` and `EOS` included; longer texts are cut at their end. At least 3.

    Raises:
        ConfigError: a length below 3.
    """

    PAD, BOS, EOS, UNK = 0, 1, 2, 3
    vocabulary = 260
    """How many token ids there are."""

    def __init__(self, max_length: int = 128) -> None:
        check_range("max_length", max_length, at_least=3)
        self.max_length = max_length

    def __len__(self) -> int:
        """The size of the vocabulary, as Hugging Face tokenizers have it."""
        return self.vocabulary

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Encode texts.

        Args:
            texts: N strings.

        Returns:
            `input_ids` and `attention_mask` (1 where there is a token), int64 [N, T], where T is the longest of these.
        """
        contents = [text.encode(errors="replace")[: self.max_length - 2] for text in texts]
        lengths = np.fromiter(map(len, contents), dtype=np.int64, count=len(contents))[:, None]
        column = np.arange(int(lengths.max(initial=0)) + 2)[None]
        ids = np.zeros((len(contents), column.shape[1]), dtype=np.int64)
        ids[:, 0] = self.BOS
        ids[(column > 0) & (column <= lengths)] = np.frombuffer(b"".join(contents), dtype=np.uint8).astype(np.int64) + 4
        ids[column == lengths + 1] = self.EOS
        mask = (column < lengths + 2).astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def tokenize(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[dict[str, Tensor], int]:
    """Run a tokenizer over texts, and check what it gives.

    Args:
        texts: N strings.
        tokenizer: see `Tokenizer`. A length or a `vocabulary` of its own says how many ids there are.

    Returns:
        `input_ids` and `attention_mask`, int64 [N, T]; and the size of the vocabulary.

    Raises:
        ConfigError: the tokenizer gave something else.
    """
    given = tokenizer(list(texts))
    tokens: dict[str, Tensor] = {}
    for key in ("input_ids", "attention_mask"):
        try:
            tokens[key] = torch.as_tensor(given[key], dtype=torch.int64)
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"The tokenizer gave no rectangular {key!r} ({error}). It must return input_ids and attention_mask, "
                "cut and padded to one length: with a Hugging Face tokenizer, call it with padding=True, "
                "truncation=True."
            ) from error
        if tokens[key].ndim != 2 or len(tokens[key]) != len(texts):
            raise ConfigError(
                f"The tokenizer's {key!r} has shape {list(tokens[key].shape)}; for {len(texts)} texts it must be "
                f"[{len(texts)}, T]."
            )
    highest = int(tokens["input_ids"].max()) + 1 if tokens["input_ids"].numel() else 0
    declared = getattr(tokenizer, "vocabulary", None) or (len(tokenizer) if isinstance(tokenizer, Sized) else 0)
    return tokens, max(int(declared), highest)


def add_view(examples: Examples, name: str, tokenizer: Tokenizer) -> Examples:
    """Let another tokenizer read the same texts too, as a teacher with a vocabulary of its own needs it.

    Args:
        examples: text.
        name: of the view; its tensors are `name.input_ids` and `name.attention_mask`.
        tokenizer: see `Tokenizer`.

    Returns:
        The same examples with the view.

    Raises:
        DataError: the examples have no texts.
        ConfigError: the name has a dot, or the tokenizer gave something unusable.
    """
    if not examples.texts:
        raise DataError(f"The view {name!r} needs text, but the data are of the kind {examples.modality}.")
    if "." in name or not name:
        raise ConfigError(f"view is {name!r}; the name of a view has at least one character, and no dot.")
    tokens, _ = tokenize(examples.texts, tokenizer)
    return examples.with_tensors(**{f"{name}.{key}": tensor for key, tensor in tokens.items()})


def from_texts(texts: Sequence[str], tokenizer: Tokenizer, examples: Examples, *, column: str = "text") -> Examples:
    """Give examples their texts and tokens; `label` and `id` are there already."""
    tokens, vocabulary = tokenize(texts, tokenizer)
    return dataclasses.replace(
        examples,
        tensors={**tokens, **examples.tensors},
        modality="text",
        texts=tuple(texts),
        vocabulary=vocabulary,
        preprocessing=TextPreprocessing(column=column, max_length=tokens["input_ids"].shape[1], vocabulary=vocabulary),
    )
