"""How completions are sampled: the options, and their bounds."""

from dataclasses import dataclass

from didact.errors import ConfigError, check_range


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a language model writes.

    A token must be among the `top_k` most probable; then among the fewest of these that together hold `top_p` of their
    probability; then at least `min_p` times as probable as the most probable one.

    Raises:
        ConfigError: an option out of its bounds, or an empty stop string.
    """

    max_new_tokens: int = 64
    """The longest completion, its end-of-sequence token included."""
    temperature: float = 1.0
    """What the scores are divided by; 0 always takes the most probable token."""
    top_k: int = 0
    """How many tokens are left to choose from; 0 is all of them."""
    top_p: float = 1.0
    """The probability that the tokens left must hold; 1 is all of it."""
    min_p: float = 0.0
    """The least probability of a token, as a share of the greatest; 0 is none."""
    samples: int = 1
    """How many completions of each prompt."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion once they stand in its text; they stay in it."""
    slots: int = 64
    """How many completions are written at once."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "samples", "slots"):
            check_range(name, getattr(self, name), at_least=1)
        check_range("temperature", self.temperature, at_least=0.0, below=float("inf"))
        check_range("top_k", self.top_k, at_least=0)
        check_range("top_p", self.top_p, above=0.0, at_most=1.0)
        check_range("min_p", self.min_p, at_least=0.0, at_most=1.0)
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError(f"stop is {self.stop!r}, but must be strings of at least one character, in a tuple.")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0
