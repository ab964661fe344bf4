"""Options of sampling."""

import dataclasses
from dataclasses import dataclass

from didact.errors import ConfigError, check_range


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Options of sampling from a language model.

    A token must be among the `top_k` most probable; then in the smallest set of these with `top_p` of their
    probability; then at least `min_p` times as probable as the most probable one.

    Raises:
        ConfigError: an option out of range, or an empty stop string.
    """

    max_new_tokens: int = 64
    """The largest length of a completion in tokens, including the token that ends it."""
    temperature: float = 1.0
    """The temperature of the scores; 0 is greedy."""
    top_k: int = 0
    """The number of most probable tokens to sample from; 0 for all."""
    top_p: float = 1.0
    """The total probability of the tokens to sample from; 1 for all."""
    min_p: float = 0.0
    """The lowest probability of a token, as a share of the highest; 0 for no limit."""
    samples: int = 0
    """The number of completions per prompt; 0 for the method's default."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion once its text contains them, where they stay; special tokens by their names too."""
    slots: int = 64
    """The number of completions that are generated at once."""

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("samples", 0), ("slots", 1)):
            check_range(name, getattr(self, name), at_least=least)
        check_range("temperature", self.temperature, at_least=0.0, below=float("inf"))
        check_range("top_k", self.top_k, at_least=0)
        check_range("top_p", self.top_p, above=0.0, at_most=1.0)
        check_range("min_p", self.min_p, at_least=0.0, at_most=1.0)
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError(f"stop is {self.stop!r}, but must be strings of at least one character, in a tuple.")

    @property
    def greedy(self) -> bool:
        """Whether sampling is greedy."""
        return self.temperature == 0.0

    @property
    def varied(self) -> bool:
        """Whether completions of the same prompt can differ."""
        return not self.greedy and self.top_k != 1 and self.min_p < 1.0

    def settled(self) -> "Sampling":
        """The same options with at least one sample."""
        return self if self.samples else dataclasses.replace(self, samples=1)
