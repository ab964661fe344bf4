"""The ends of completions: end tokens and stop strings."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from didact.learners.tokenizers import Tokens


class Stopping:
    """Detects the ends of completions, and decodes only where a token can complete a stop string.

    A token can complete a stop string only if the string's last character is in it. This is checked when a token first
    occurs. A stop string may contain special tokens, such as `<|im_end|>`.

    Args:
        stop: the strings.
        tokenizer: gives the ids that end a completion, and decodes the others.
        vocabulary: the number of ids.
    """

    def __init__(self, stop: tuple[str, ...], tokenizer: Tokens, vocabulary: int) -> None:
        self.stop, self.tokenizer = stop, tokenizer
        self.last = {text[-1] for text in stop}
        self.over = torch.zeros(vocabulary, dtype=torch.bool)
        self.over[[token for token in tokenizer.ends if token < vocabulary]] = True
        self.can_end = torch.full((vocabulary,), bool(stop)) | self.over
        self.met = torch.zeros(vocabulary, dtype=torch.bool)

    def ends(self, tokens: Tensor, before: Callable[[int], Sequence[int]]) -> Tensor:
        """Mark the tokens at which completions end.

        Args:
            tokens: int64 [K, S] on the CPU: the newest K tokens of S completions.
            before: returns the earlier tokens of the completion at an index in S.

        Returns:
            bool [K, S].
        """
        ends = self.over[tokens]
        if not self.stop:
            return ends
        self._meet(tokens)
        suspects = self.can_end[tokens] & ~ends
        for place in suspects.any(0).nonzero()[:, 0].tolist():
            earlier, column = list(before(place)), tokens[:, place].tolist()
            for k in suspects[:, place].nonzero()[:, 0].tolist():
                if self._stands([*earlier, *column[: k + 1]]):
                    ends[k, place] = True
                    break
        return ends

    def _stands(self, tokens: list[int]) -> bool:
        texts = (self.tokenizer.decode(tokens, special=special) for special in (False, True))
        return any(string in text for text in texts for string in self.stop)

    def _meet(self, tokens: Tensor) -> None:
        """Check tokens that occur for the first time."""
        for token in tokens[~self.met[tokens]].unique().tolist():
            # Decoded twice in a row, since some tokenizers drop a leading space. Invalid UTF-8 is part of a character
            # that the token may complete.
            text = self.tokenizer.decode([token, token], special=True)
            self.can_end[token] = (
                self.over[token] or "\N{REPLACEMENT CHARACTER}" in text or not self.last.isdisjoint(text)
            )
            self.met[token] = True
