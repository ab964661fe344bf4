"""The ends of completions: end-of-sequence tokens and stop strings."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Stopping:
    """Detects the ends of completions, and decodes only where a token can complete a stop string.

    A token can complete a stop string only if the string's last character is in it. This is checked when a token first
    occurs.

    Args:
        stop: the strings.
        decode: decodes ids.
        eos: the id that ends a sequence.
        vocabulary: the number of ids.
    """

    def __init__(
        self, stop: tuple[str, ...], decode: Callable[[Sequence[int]], str], eos: int, vocabulary: int
    ) -> None:
        self.stop, self.decode, self.eos = stop, decode, eos
        self.last = {text[-1] for text in stop}
        self.can_end = torch.full((vocabulary,), bool(stop))
        self.can_end[eos] = True
        self.met = torch.zeros(vocabulary, dtype=torch.bool)

    def ends(self, tokens: Tensor, before: Callable[[int], Sequence[int]]) -> Tensor:
        """Mark the tokens at which completions end.

        Args:
            tokens: int64 [K, S] on the CPU: the newest K tokens of S completions.
            before: returns the earlier tokens of the completion at an index in S.

        Returns:
            bool [K, S].
        """
        ends = tokens == self.eos
        if not self.stop:
            return ends
        self._meet(tokens)
        suspects = self.can_end[tokens] & ~ends
        for place in suspects.any(0).nonzero()[:, 0].tolist():
            earlier, column = list(before(place)), tokens[:, place].tolist()
            for k in suspects[:, place].nonzero()[:, 0].tolist():
                if self._stands(self.decode([*earlier, *column[: k + 1]])):
                    ends[k, place] = True
                    break
        return ends

    def _stands(self, text: str) -> bool:
        return any(string in text for string in self.stop)

    def _meet(self, tokens: Tensor) -> None:
        """Check tokens that occur for the first time."""
        for token in tokens[~self.met[tokens]].unique().tolist():
            # Decoded twice in a row, since some tokenizers drop a leading space. Invalid UTF-8 is part of a character
            # that the token may complete.
            text = self.decode([token, token])
            self.can_end[token] = (
                token == self.eos or "\N{REPLACEMENT CHARACTER}" in text or not self.last.isdisjoint(text)
            )
            self.met[token] = True
