"""Worlds: small real data and simulators on which a claim can be checked in seconds.

A world's docstring says what in it is real, what is simulated, and what is known about the answer. Examples that are
made from the same real one have the same number in the tensor `group`, by which splits keep them together.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, overload

from didact.errors import ConfigError, check_choice
from didact.types import Examples, Questions
from didact.worlds.altered_digits import digits_defects, digits_privileged, digits_styles
from didact.worlds.arranged_digits import digits_bags, digits_stream
from didact.worlds.digits import digits
from didact.worlds.language_addition import addition, addition_pairs, addition_scratchpad
from didact.worlds.language_choosing import choosing
from didact.worlds.language_code import stdlib_code
from didact.worlds.language_markov import markov
from didact.worlds.language_optional import addition_optional_scratchpad
from didact.worlds.language_paraphrases import addition_paraphrased
from didact.worlds.language_ranked import last_letter
from didact.worlds.language_reasoning import reasoning
from didact.worlds.language_rewriting import rewriting
from didact.worlds.language_second_try import addition_second_try
from didact.worlds.language_sorting import careless_sorting
from didact.worlds.language_ways import addition_ways
from didact.worlds.mixtures import MIXTURES, GaussianMixture, gaussian_mixture, gaussian_pair, zipf_mixture
from didact.worlds.planted import PlantedTeacher
from didact.worlds.python_text import stdlib_text
from didact.worlds.tables import breast_cancer, diabetes, wine

Kind = Literal["examples", "questions"]

_EXAMPLES: dict[str, Callable[[], Examples]] = {
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "digits": digits,
    "digits_bags": digits_bags,
    "digits_defects": digits_defects,
    "digits_privileged": digits_privileged,
    "digits_stream": digits_stream,
    "digits_styles": digits_styles,
    "gaussian_mixture": gaussian_mixture,
    "gaussian_pair": gaussian_pair,
    "stdlib_text": stdlib_text,
    "wine": wine,
    "zipf_mixture": zipf_mixture,
}
_QUESTIONS: dict[str, Callable[[], Questions]] = {
    "careless_sorting": careless_sorting,
    "addition": addition,
    "addition_optional_scratchpad": addition_optional_scratchpad,
    "addition_pairs": addition_pairs,
    "addition_paraphrased": addition_paraphrased,
    "addition_scratchpad": addition_scratchpad,
    "addition_second_try": addition_second_try,
    "addition_ways": addition_ways,
    "choosing": choosing,
    "last_letter": last_letter,
    "markov": markov,
    "reasoning": reasoning,
    "rewriting": rewriting,
    "stdlib_code": stdlib_code,
}
_WORLDS: dict[str, Callable[[], Examples | Questions]] = {**_EXAMPLES, **_QUESTIONS}

__all__ = [
    "careless_sorting",
    "GaussianMixture",
    "PlantedTeacher",
    "World",
    "addition",
    "addition_optional_scratchpad",
    "addition_pairs",
    "addition_paraphrased",
    "addition_scratchpad",
    "addition_second_try",
    "addition_ways",
    "bayes_accuracy",
    "breast_cancer",
    "choosing",
    "describe",
    "diabetes",
    "digits",
    "digits_bags",
    "digits_defects",
    "digits_privileged",
    "digits_stream",
    "digits_styles",
    "gaussian_mixture",
    "gaussian_pair",
    "last_letter",
    "load",
    "markov",
    "mixture",
    "names",
    "reasoning",
    "rewriting",
    "stdlib_code",
    "stdlib_text",
    "wine",
    "zipf_mixture",
]


@dataclass(frozen=True, slots=True)
class World:
    """What a world is, in words."""

    name: str
    summary: str
    """What is to be learned, as a sentence."""
    real: str
    """What in it is real, and where it comes from."""
    simulated: str
    """What in it was made up, and how."""
    known: str
    """What is known about the answer."""


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The worlds that there are, sorted.

    Args:
        kind: those of `examples` alone, or those of `questions` for language models; all by default.
    """
    return tuple(sorted({"examples": _EXAMPLES, "questions": _QUESTIONS, None: _WORLDS}[kind]))


@overload
def load(name: str, kind: Literal["examples"]) -> Examples: ...
@overload
def load(name: str, kind: Literal["questions"]) -> Questions: ...
@overload
def load(name: str, kind: None = None) -> Any: ...
def load(name: str, kind: Kind | None = None) -> Examples | Questions:
    """The examples of a world, or its questions.

    Args:
        name: one of `names(kind)`.
        kind: what it must have: `examples`, or `questions` for language models; either by default.

    Returns:
        `Examples` or `Questions`, loaded once a process; change nothing of them in place.

    Raises:
        ConfigError: an unknown name, of which the nearest is offered, or a world of the other kind.
        MissingExtraError: a package that the world needs is not installed.
        DataError: this Python comes without the files that a world reads.
    """
    check_choice("world", name, _WORLDS)
    if kind is not None and name not in names(kind):
        other = "questions for language models" if name in _QUESTIONS else "examples without questions"
        raise ConfigError(f"world is {name!r}, which has {other}; those with {kind} are {', '.join(names(kind))}.")
    return _WORLDS[name]()


def describe(name: str) -> World:
    """What a world is, from its docstring; nothing is loaded.

    Args:
        name: one of `names()`.

    Raises:
        ConfigError: an unknown name; the nearest is offered.
    """
    check_choice("world", name, _WORLDS)
    paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(_WORLDS[name]) or "").split("\n\n")]
    parts = {head: rest for head, _, rest in (part.partition(": ") for part in paragraphs[1:])}
    return World(name, paragraphs[0], parts["Real"], parts["Simulated"], parts["Known"])


def mixture(name: str) -> GaussianMixture:
    """The distribution behind a world that was drawn from one.

    Args:
        name: `gaussian_pair`, `gaussian_mixture` or `zipf_mixture`.

    Raises:
        ConfigError: another name.
    """
    if name in _WORLDS and name not in MIXTURES:
        raise ConfigError(
            f"world is {name!r}, whose distribution nobody knows; it is known of {', '.join(sorted(MIXTURES))}."
        )
    check_choice("world", name, MIXTURES)
    return MIXTURES[name]()


def bayes_accuracy(name: str) -> float:
    """How often the best possible classifier is right on a world: see `GaussianMixture.bayes_accuracy`.

    Args:
        name: `gaussian_pair`, `gaussian_mixture` or `zipf_mixture`.

    Returns:
        In [0, 1]; for unseen examples of the distribution, not for the sample that the world is.

    Raises:
        ConfigError: another name.
    """
    return mixture(name).bayes_accuracy()
