"""Real text from Python's standard library."""

import functools
import sysconfig
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError
from didact.preprocessing import plain_table
from didact.types import Examples, Question, Questions
from didact.worlds._asking import questions_of

PACKAGES = ("asyncio", "email", "http", "multiprocessing", "unittest", "xml")
"""The classes of `stdlib:text`."""
_LINES = 800
_SHORTEST, _LONGEST = 24, 62
_BOS, _EOS, _FIRST_BYTE = 1, 2, 4


@functools.cache
def text() -> Examples:
    """Tell which package of Python's standard library a line of its source comes from.

    Real: the lines, of code, comments and documentation, from the running interpreter's own files. They are stripped;
    kept are those of 24 to 62 characters that occur in one of the six packages only, each once. The tests that come
    with a package are left out.

    Simulated: the selection of 800 lines per package (or all, if there are fewer), those with the lowest hashes, so
    that it does not depend on the order of files.

    Known: nothing for certain, and the data differ a little between versions of Python; their fingerprint tells. On
    3.11, logistic regression reaches about 70% on TF-IDF weights of words and word pairs, and 75% on those of letters,
    pairs and triples; chance is 17%. Lines of one file are in all splits: it is about style and subject, not about new
    files.

    Returns:
        `input_ids` and `attention_mask` int64 [N, T], T at most 64: bytes as `sources.ByteTokenizer` numbers them;
        `label` int64 [N], `id` int64 [N] from the contents; and the N `texts`.

    Raises:
        DataError: this Python comes without its source files.
    """
    lines = _selected([_lines_of(package) for package in PACKAGES])
    texts = tuple(line for package in lines for line in package)
    label = torch.cat([torch.full((len(package),), number) for number, package in enumerate(lines)])
    return Examples(
        tensors={**_tokens(texts), "label": label, "id": hashing.of_strings(texts)},
        task="classification",
        modality="text",
        classes=PACKAGES,
        texts=texts,
        vocabulary=_FIRST_BYTE + 256,
        name="stdlib:text",
    )


def _lines_of(package: str) -> set[str]:
    """The stripped lines of a package with a length in the range."""
    folder = Path(sysconfig.get_path("stdlib")) / package
    files = [file for file in folder.rglob("*.py") if not {"test", "tests"} & set(file.relative_to(folder).parts)]
    if not files:
        raise _without_source("stdlib:text", folder)
    stripped = (line.strip() for file in files for line in file.read_text("utf-8", errors="replace").splitlines())
    return {line for line in stripped if _SHORTEST <= len(line) <= _LONGEST}


def _without_source(world: str, folder: Path) -> DataError:
    return DataError(
        f"The world {world!r} reads Python's own source files, but there are none in {folder}; use a Python that comes "
        "with them, or another world."
    )


def _selected(packages: list[set[str]]) -> list[list[str]]:
    """For each package, the lines that it alone has with the lowest hashes, in order."""
    owners = Counter(line for package in packages for line in package)
    return [_lowest(line for line in package if owners[line] == 1) for package in packages]


def _lowest(lines: Iterable[str]) -> list[str]:
    known = sorted(lines)
    return [known[i] for i in hashing.of_strings(known).argsort()[:_LINES].tolist()]


def _tokens(texts: tuple[str, ...]) -> dict[str, Tensor]:
    """Bytes as token ids. The rooms' contract keeps worlds from `sources.ByteTokenizer`; a test holds both equal."""
    contents = [text.encode()[:_LONGEST] for text in texts]
    lengths = np.fromiter(map(len, contents), dtype=np.int64)[:, None]
    place = np.arange(lengths.max() + 2)[None]
    ids = np.zeros((len(contents), place.shape[1]), dtype=np.int64)
    ids[(place > 0) & (place <= lengths)] = np.frombuffer(b"".join(contents), np.uint8).astype(np.int64) + _FIRST_BYTE
    ids[:, 0], ids[place == lengths + 1] = _BOS, _EOS
    mask = (place < lengths + 2).astype(np.int64)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


@functools.cache
def code() -> Questions:
    """Continue a line of the source of Python's standard library: code, a comment or documentation.

    Real: the lines; see `stdlib:text`, whose lines these are, where they have a space beyond their middle.

    Simulated: the cut, at the first space in the second half of the line. Where two lines begin alike, the first stays.

    Known: the continuation of each line; `data` has the `package` that it comes from. Another continuation may be as
    good, so that there is no answer to verify: the text is for training by likelihood, or with another model.

    Returns:
        Some thousand questions, fewer than 4,800; the completion starts with a space. There is no verifier.

    Raises:
        DataError: this Python comes without its source files.
    """
    lines = text()
    asked: dict[str, Question] = {}
    for line, label in zip(lines.texts, lines.tensors["label"].tolist(), strict=True):
        cut = line.find(" ", len(line) // 2)
        if cut > 0 and line[:cut] not in asked:
            data = {"package": lines.classes[label]}
            asked[line[:cut]] = Question(id=0, prompt=line[:cut], completion=line[cut:], data=data)
    return questions_of(asked.values(), name="stdlib:code")


MODULES, _LINES_EACH, _CHUNKS = 30, 8, 100
_CHARACTERS = "etaoinsrlhdcumfpgwybvkxjqz_0123456789 .,:;()[]{}'\"#=<>+-*/%@\\"


@functools.cache
def modules() -> Examples:
    """Tell which of thirty modules of Python's standard library eight lines come from, by their characters.

    Real: the lines, from the running interpreter's own files: of the thirty longest modules at the top of the library,
    each 100 groups of eight lines that follow each other, evenly spread over the module. Empty lines are left out.

    Simulated: nothing.

    Known: nothing for certain, and the data differ a little between versions of Python; their fingerprint tells. On
    3.11 logistic regression with 20 labels for each class reaches about 38%, with all labels 47%, and a random
    forest 50%.

    Returns:
        `x` float32 [N, C], the standardised shares of C characters among those of a group; `label` int64 [N], `id`
        int64 [N] from the contents.

    Raises:
        DataError: this Python comes without its source files.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    files = [file for file in folder.glob("*.py") if not file.stem.startswith("_")]
    if len(files) < MODULES:
        raise _without_source("stdlib:modules", folder)
    chosen = sorted(sorted(files, key=lambda file: (-file.stat().st_size, file.stem))[:MODULES])
    chunks = [(_spread(_filled(file)), number) for number, file in enumerate(chosen)]
    counts = [[text.count(one) for one in _CHARACTERS] for texts, _ in chunks for text in texts]
    share = torch.tensor(counts, dtype=torch.float64)
    share = share / share.sum(1, keepdim=True)
    x = ((share - share.mean(0)) / share.std(0)).float()
    return Examples(
        tensors={
            "x": x,
            "label": torch.tensor([number for texts, number in chunks for _ in texts]),
            "id": hashing.of_rows(share.float()),
        },
        task="classification",
        modality="table",
        classes=tuple(file.stem for file in chosen),
        preprocessing=plain_table(f"share of {one!r}" for one in _CHARACTERS),
        name="stdlib:modules",
    )


def _filled(file: Path) -> list[str]:
    lines = (line.strip().lower() for line in file.read_text("utf-8", errors="replace").splitlines())
    return [line for line in lines if line]


def _spread(lines: list[str]) -> list[str]:
    """Up to 100 different groups of eight lines, evenly spread."""
    starts = range(0, len(lines) - _LINES_EACH + 1, _LINES_EACH)
    texts = list(dict.fromkeys("\n".join(lines[start : start + _LINES_EACH]) for start in starts))
    return [texts[i * len(texts) // _CHUNKS] for i in range(_CHUNKS)] if len(texts) > _CHUNKS else texts
