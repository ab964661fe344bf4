"""The output of a sampler."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from didact.learners.tokenizers import Tokens
from didact.types import Place


@dataclass(frozen=True, kw_only=True)
class Completions:
    """Completions of prompts; those of the first prompt come first."""

    tokens: Tensor
    """int64 [M, L] on the CPU, padded on the right; including the token that ended the completion, if any."""
    lengths: Tensor
    """int64 [M]: their numbers of tokens, at least 1; the maximum is L."""
    log_probs: Tensor
    """float32 [M, L]: each token's log-probability at the sampling temperature (1 for greedy ones), before any
    truncation; 0 at padding."""
    finished: Tensor
    """bool [M]: whether it ended by itself (an end token or a stop string), rather than at the length limit."""
    read: int
    """The number of prompt tokens that the model read; a prompt counts once, however many completions it has."""
    written: int
    """The number of tokens that the model generated."""
    tokenizer: Tokens = field(repr=False)
    """Decodes ids."""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The M completions as text, without the token that ended them and special tokens, with stop strings."""
        rows = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return tuple(self._text(tokens[:length]) for tokens, length in rows)

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens[:-1] if tokens[-1] in self.tokenizer.ends else tokens)

    def gather(self, place: Place) -> "Completions":
        """The completions of all processes' prompts, those of the first process first."""
        mine = (self.tokens, self.lengths, self.log_probs, self.finished, self.read, self.written)
        tokens, lengths, log_probs, finished, read, written = zip(*place.gather_objects(mine), strict=True)
        longest = max(part.shape[1] for part in tokens)
        wide = [[pad(part, (0, longest - part.shape[1])) for part in parts] for parts in (tokens, log_probs)]
        return Completions(
            tokens=torch.cat(wide[0]),
            lengths=torch.cat(lengths),
            log_probs=torch.cat(wide[1]),
            finished=torch.cat(finished),
            read=sum(read),
            written=sum(written),
            tokenizer=self.tokenizer,
        )
