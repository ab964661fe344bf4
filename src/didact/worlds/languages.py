"""Words of made-up languages, one of which is related to another."""

import functools

import torch
from torch import Tensor

from didact import hashing
from didact.types import Examples
from didact.worlds._chance import uniform

CONSONANTS = ("bdgkmnpt", "bdgkmnsz", "cfhjlqrv", "cfhlrswx", "djkqrvwz")
"""Those of each language, by its number in `language`: 0 is the target, 1 is related to it, the others are not."""
VOWELS, MARKERS = "aeiou", "ABCDEFGH"
_CLASSES, _WORDS, _SOURCE, _DRAWN = 4, 600, 500, 1200
_TRAIN, _VALIDATION = 0.1, 0.1
_LETTERS = "abcdefghijklmnopqrstuvwxyz" + MARKERS
"""The token of a letter is its place here, and one; 0 is none."""


@functools.cache
def related() -> Examples:
    """Tell the class of a noun in a language of which few are known, with nouns of one related and three other ones.

    Real: nothing.

    Simulated: 600 words of the target language and 500 of each of four source languages, no two alike, such as `bkatC`:
    two consonants, a vowel, a consonant and a marker. A table says which of four classes each of the 40 pairs of vowel
    and marker has. The related language has the same table, and six of the eight consonants; each of the other three
    has a table of its own, and at most two of the consonants. A tenth of the target's words is for training, with all
    words of the sources; a tenth is the validation, the rest the test. Splits are fixed.

    Known: everything. The class of a word is certain once its pair was seen in its language or the related one;
    another language tells nothing about it.

    Returns:
        `input_ids` and `attention_mask` int64 [2600, 5], `label`, `domain` (0 is the target, 1 a source), `language`
        (see `CONSONANTS`), `split` and `id`, all int64 [2600]; and the 2,600 `texts`.
    """
    found = dict[str, tuple[int, int]]()
    for language in range(len(CONSONANTS)):
        fresh = [(word, label) for word, label in _drawn(language) if word not in found]
        found.update({word: (label, language) for word, label in fresh[: _SOURCE if language else _WORDS]})
    texts = tuple(found)
    label, language = torch.tensor(list(found.values())).unbind(1)
    chance = uniform(torch.arange(len(texts)), 1, 0, "languages: split")[:, 0]
    split = torch.bucketize(chance, torch.tensor([_TRAIN, _TRAIN + _VALIDATION], dtype=torch.float64))
    tokens = torch.tensor([[1 + _LETTERS.index(letter) for letter in text] for text in texts])
    return Examples(
        tensors={
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "label": label.contiguous(),
            "domain": (language > 0).long(),
            "language": language.contiguous(),
            "split": torch.where(language > 0, 0, split),
            "id": hashing.of_strings(texts),
        },
        task="classification",
        modality="text",
        classes=tuple(f"class {number}" for number in range(_CLASSES)),
        texts=texts,
        vocabulary=1 + len(_LETTERS),
        name="languages:related",
    )


def table(language: int) -> Tensor:
    """The class of each vowel with each marker; int64 [vowels, markers]."""
    number = 0 if language == 1 else language
    pairs = torch.arange(len(VOWELS) * len(MARKERS)) + 1000 * number
    return (uniform(pairs, 1, 0, "languages: table")[:, 0] * _CLASSES).long().view(len(VOWELS), -1)


def _drawn(language: int) -> list[tuple[str, int]]:
    """Different words of a language with their classes, more than are used."""
    sounds = (CONSONANTS[language], CONSONANTS[language], VOWELS, CONSONANTS[language], MARKERS)
    chance = uniform(torch.arange(_DRAWN) + _DRAWN * language, len(sounds), 0, "languages: words")
    places = (chance * torch.tensor([len(sound) for sound in sounds])).long().tolist()
    classes = table(language).tolist()
    words = {"".join(sound[i] for sound, i in zip(sounds, row, strict=True)): row for row in places}
    return [(word, classes[row[2]][row[4]]) for word, row in words.items()]
