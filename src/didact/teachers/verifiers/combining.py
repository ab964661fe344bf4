"""Combinations of verifiers, and length penalties."""

from collections import Counter
from collections.abc import Sequence

import torch

from didact.errors import ConfigError, TeacherError, check_range
from didact.teachers.verifiers.base import Abstention, Verifier
from didact.types import Question, Reward


class _Combined(Verifier):
    """Abstract: combines the rewards of its parts; it abstains where a part does.

    Args:
        parts: the verifiers.
    """

    def __init__(self, parts: Sequence[Verifier]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    @property
    def abstentions(self) -> Counter[str]:
        """The abstentions of its parts, by part and reason."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            for reason, count in part.abstentions.items():
                counts[reason if isinstance(part, _Combined) else f"{part} {reason}"] += count
        return counts + self._abstentions

    @property
    def spenders(self) -> dict[str, Verifier]:
        """The parts that cost more than calls, such as a judge behind a server."""
        priced = {str(number): part for number, part in enumerate(self.parts) if "money" in part.charges}
        inner = {str(number): part for number, part in enumerate(self.parts) if getattr(part, "spenders", None)}
        return {**priced, **inner}

    def reads(self, question: Question) -> bool:
        """Whether any part does."""
        return any(part.reads(question) for part in self.parts)

    def check(self, questions: Sequence[Question]) -> None:
        """Check the questions with each part."""
        for part in self.parts:
            part.check(questions)

    def guesses(self, question: Question) -> list[str]:
        """The constant completions of all parts."""
        return [guess for part in self.parts for guess in part.guesses(question)]

    def verify(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None = None
    ) -> Reward:
        """See `Verifier.verify`; a text is one call, however many parts there are."""
        rewards = [part.verify(texts, questions, lengths) for part in self.parts]
        self.ledger.charge("teacher_calls", len(texts), self.by)
        value = self._combined([reward.value for reward in rewards])
        trust = torch.stack([reward.trust for reward in rewards if reward.trust is not None]).amin(0)
        overflown = ~value.isfinite() & (trust > 0)
        for _ in range(int(overflown.sum())):
            self._abstain(Abstention("returned infinity"))
        trust = trust * ~overflown
        return Reward(value=torch.where(trust > 0, value, 0.0), trust=trust)

    def _combined(self, values: list[torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class WeightedVerifier(_Combined):
    """The weighted sum of the rewards of several verifiers.

    Args:
        parts: a weight and a verifier each.

    Raises:
        ConfigError: there are none, or a weight isn't finite.
    """

    kind = "a weighted sum of verifiers"

    def __init__(self, parts: Sequence[tuple[float, Verifier]]) -> None:
        if not parts:
            raise ConfigError("A weighted sum of no verifiers was asked for; give it one at least.")
        super().__init__([part for _, part in parts])
        self.weights = tuple(float(weight) for weight, _ in parts)
        for weight in self.weights:
            check_range("weight", weight, above=-float("inf"), below=float("inf"))

    def __str__(self) -> str:
        """`A+0.5*B`."""
        terms = zip(self.weights, self.parts, strict=True)
        return "+".join(
            ("" if w == 1 else f"{w!r}*") + (f"({p})" if isinstance(p, WeightedVerifier) else str(p)) for w, p in terms
        )

    def _combined(self, values: list[torch.Tensor]) -> torch.Tensor:
        return sum((weight * value for weight, value in zip(self.weights, values, strict=True)), torch.zeros(()))


class GatedVerifier(_Combined):
    """The reward of one verifier where another one gives more than 0; else 0.

    Args:
        gate: the verifier that must give more than 0.
        verifier: the verifier of the reward.
    """

    kind = "a gated verifier"

    def __init__(self, gate: Verifier, verifier: Verifier) -> None:
        super().__init__([gate, verifier])

    def __str__(self) -> str:
        """`gate(A,B)`."""
        return f"gate({self.parts[0]},{self.parts[1]})"

    def _combined(self, values: list[torch.Tensor]) -> torch.Tensor:
        return torch.where(values[0] > 0, values[1], 0.0)


class LengthPenalty(Verifier):
    """The soft overlong punishment of DAPO (Yu et al. 2025, equation 13), in [-1, 0].

    0 up to `longest - cache`, then falling linearly to -1 at `longest`, and -1 beyond.

    Args:
        longest: the length from which the full penalty applies.
        cache: the length over which the penalty grows; by default a fifth, as in the paper (4,096 of 20,480 tokens).
        characters: count characters rather than tokens.

    Raises:
        ConfigError: a length below 1, or a cache that is longer than it.
    """

    kind = "a length penalty"

    def __init__(self, longest: int, *, cache: int | None = None, characters: bool = False) -> None:
        super().__init__()
        check_range("longest", longest, at_least=1)
        self.longest = longest
        self.cache = max(longest // 5, 1) if cache is None else cache
        check_range("cache", self.cache, at_least=1, at_most=longest)
        self.characters = characters

    def __str__(self) -> str:
        """`length:MAX:CACHE`, or `characters:MAX:CACHE`."""
        return f"{'characters' if self.characters else 'length'}:{self.longest}:{self.cache}"

    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> list[float | Abstention]:
        if lengths is None and not self.characters:
            raise TeacherError(
                f"The verifier {self} counts tokens, but was not given the completions' lengths: pass lengths, or "
                f"use characters:{self.longest} to count characters."
            )
        counted = [len(text) for text in texts] if self.characters or lengths is None else lengths
        start = self.longest - self.cache
        return [-min(max((length - start) / self.cache, 0.0), 1.0) for length in counted]
