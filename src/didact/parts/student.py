"""What a run on examples delivers: a net that is used on rows as they come."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from didact import evaluation
from didact.errors import ConfigError, DataError, import_optional
from didact.evaluation import Predictions
from didact.learners import ModuleLearner, export
from didact.preprocessing.cells import Frame
from didact.sources import tables
from didact.sources.inputs import Inputs, labels_of, read_inputs
from didact.sources.masks import images_in, load_like
from didact.sources.text import ByteTokenizer
from didact.types import IGNORE, MASK, Examples

PAIRS = ("sentence1", "sentence2", "score")
"""The columns of pairs of texts with a similarity, as data sets of sentence-transformers have them."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a student answers to N rows."""

    ids: Sequence[object]
    """What names each row: the cells of the id column, file names, a data frame's index, or numbers from 0."""
    predictions: Predictions
    """Class scores, or values in the user's unit; beside the labels, where these were there."""
    id_name: str = "row"
    """What the ids are called."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """By column, how many cells held a category that was never seen in training, or hardly ever; without zeros."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """By column, how many cells were empty and were filled; without zeros."""
    side: tuple[int, ...] = ()
    """The height and width of masks; empty for other answers."""

    @property
    def probabilities(self) -> np.ndarray:
        """Of each class, float64 [N, C], in the order of `predictions.classes`.

        Raises:
            DataError: The student answers with numbers.
        """
        if self.predictions.task != "classification":
            answered = {
                "regression": ("numbers", "values"),
                "embedding": ("embeddings", "embeddings"),
                "segmentation": ("masks", "masks"),
            }
            kind, field = answered[self.predictions.task]
            raise DataError(f"The student answers with {kind}, which have no probabilities; read `{field}`.")
        return self.predictions.logits.double().softmax(1).numpy()

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each row; see `probabilities` for what is raised."""
        classes = self.predictions.classes
        return [classes[place] for place in self.probabilities.argmax(1).tolist()]

    @property
    def values(self) -> np.ndarray:
        """The predicted values of a regression, float64 [N], in the user's unit.

        Raises:
            DataError: The student answers with classes.
        """
        if self.predictions.task != "regression":
            raise DataError(
                "The student answers with no single numbers; read `labels` or `probabilities`, or `embeddings`."
            )
        return self.predictions.logits[:, 0].double().numpy()

    @property
    def embeddings(self) -> np.ndarray:
        """The embeddings of a student of an encoder, float32 [N, D].

        Raises:
            DataError: The student answers with classes or numbers.
        """
        if self.predictions.task != "embedding":
            raise DataError("The student answers with classes or numbers; read `labels`, `probabilities` or `values`.")
        return self.predictions.logits.float().numpy()

    @property
    def masks(self) -> np.ndarray:
        """The class of each pixel, int64 [N, H, W], from a student of masks.

        Raises:
            DataError: The student answers with something else.
        """
        if self.predictions.task != "segmentation":
            raise DataError("The student answers once for each row, with no masks; read `labels` or `values`.")
        return self.predictions.logits.argmax(1).view(-1, *self.side).numpy()

    def to_frame(self) -> Frame:
        """A pandas data frame: the id, `prediction`, and of each class `probability of CLASS`; or `e0`, `e1`, ...

        Of masks, the share of the pixels that each class has, as `share of CLASS`.
        """
        pandas = import_optional("pandas", "data", "A data frame of answers")
        if self.predictions.task == "segmentation":
            flat = self.masks.reshape(len(self.ids), -1)
            shares = {f"share of {name}": (flat == k).mean(1) for k, name in enumerate(self.predictions.classes)}
            return pandas.DataFrame({self.id_name: self.ids, **shares})
        if self.predictions.task == "regression":
            return pandas.DataFrame({self.id_name: self.ids, "prediction": self.values})
        if self.predictions.task == "embedding":
            numbers = pandas.DataFrame(self.embeddings, columns=list(self.predictions.classes))
            numbers.insert(0, self.id_name, self.ids)
            return numbers
        named = zip(self.predictions.classes, self.probabilities.T, strict=True)
        found = {f"probability of {name}": column for name, column in named}
        return pandas.DataFrame({self.id_name: self.ids, "prediction": self.labels, **found})


@dataclass(frozen=True, kw_only=True)
class Student:
    """A net with the preprocessing that was fitted to its training rows, and the names of what it answers.

    Examples:
        >>> rows = {"city": ["Oslo", "Rome"] * 20, "age": list(range(40)), "stays": ["yes", "no"] * 20}
        >>> import pandas
        >>> table = pandas.DataFrame(rows)
        >>> result = didact.run("supervised", data=table, target="stays", student="mlp:4", steps=50, progress=False)
        >>> answers = result.student.predict({"city": ["Oslo", "Lima"], "age": [30, None]})
        >>> answers.labels[0], dict(answers.missing)
        ('yes', {'age': 1})
    """

    learner: nn.Module
    """The net, from a batch to an `Output`."""
    like: Examples
    """Examples of the kind that it was taught on, for their preprocessing, classes and scale."""
    spec: str | None = None
    """By which the net can be built again; None for a module of one's own."""
    tokenizer: Any = None
    """By which it reads text, where it brings its own."""
    origin: tuple[Path, ...] = ()
    """The runs that it came from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of its outputs; empty for a regression."""
        return self.like.classes

    def predict(self, rows: object) -> Answers:
        """Answer rows as they come.

        Args:
            rows: a path of a table, an `.npz` file, a file of series, an image or a folder of images; a data frame or a
                mapping of columns; an array or tensor; a list of texts, of series, of images, or of paths of images.
                Columns that the student does not know are left out.

        Returns:
            An answer for each row, in their order.

        Raises:
            DataError: There are none, or they are something else than the student was taught on.
        """
        return join_answers(self.predict_parts(rows))

    def predict_parts(self, rows: object, *, labelled: bool = False) -> Iterator[Answers]:
        """Answer rows a part at a time, so that only a part is in memory.

        Args:
            rows: see `predict`.
            labelled: whether the rows have answers, which are read too.

        Raises:
            DataError: See `predict`; or an answer is one that the student cannot give.
        """
        for part, examples in self.read_parts(rows, labelled=labelled):
            yield Answers(
                ids=part.ids,
                id_name=self.like.id_column or "row",
                predictions=evaluation.predict(self.learner, examples),
                unknown=part.encoded.unknown,
                missing=part.encoded.missing,
                side=self._side,
            )

    @property
    def _side(self) -> tuple[int, ...]:
        return self.like.shape[1:] if self.like.task == "segmentation" else ()

    def read(self, rows: object) -> Examples:
        """Rows as the net takes them, all at once, with their labels where they have some.

        Args:
            rows: see `predict`.

        Raises:
            DataError: See `predict_parts`.
        """
        tokenizer = self.tokenizer or ByteTokenizer(max(self.like.shape[0], 3))
        parts = [self._examples(part, part.answers is not None) for part in read_inputs(rows, self.like, tokenizer)]
        tensors = {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        return replace(parts[0], tensors={**tensors, "id": torch.arange(sum(part.size for part in parts))})

    def read_parts(self, rows: object, *, labelled: bool = False) -> Iterator[tuple[Inputs, Examples]]:
        """Read rows as the net takes them, a part at a time; see `predict_parts`."""
        tokenizer = self.tokenizer or ByteTokenizer(max(self.like.shape[0], 3))
        for part in read_inputs(images_in(rows) if self._side else rows, self.like, tokenizer):
            yield part, self._examples(part, labelled)

    def evaluate(self, rows: object) -> dict[str, float]:
        """The metrics of `didact.evaluation.metrics` on rows with answers.

        Args:
            rows: see `predict`. A student of embeddings takes a table of pairs, with the columns `sentence1`,
                `sentence2` and `score`: `spearman` is the rank correlation of cosine similarities and scores. A student
                of masks takes a folder with `images` and `masks`.

        Raises:
            DataError: See `predict_parts`.
        """
        if self.like.task == "embedding":
            return self._evaluate_pairs(rows)
        if self._side:
            return evaluation.metrics(evaluation.predict(self.learner, load_like(rows, self.like)))
        return evaluation.metrics(join_answers(self.predict_parts(rows, labelled=True)).predictions)

    def _evaluate_pairs(self, rows: Any) -> dict[str, float]:
        frame = tables.read(Path(rows))[0] if isinstance(rows, str | Path) else rows
        if absent := [name for name in PAIRS if name not in frame]:
            raise DataError(
                f"A student of embeddings is evaluated on pairs, with the columns {', '.join(PAIRS)}, but there is no "
                f"{absent[0]!r}; name them so."
            )
        one, other = (torch.from_numpy(self.predict(list(frame[name])).embeddings) for name in PAIRS[:2])
        cosines = torch.nn.functional.cosine_similarity(one.double(), other.double())
        scores = torch.tensor(np.array(frame[PAIRS[2]], dtype=np.float64))
        return {"spearman": evaluation.spearman(cosines, scores)}

    def export(
        self, destination: str | Path, *, to: Literal["safetensors", "onnx", "hf"] = "onnx", logits: bool = False
    ) -> Path:
        """Write it into a file or a directory; see `didact.learners.export.export`.

        Raises:
            ConfigError: It has no such form.
            DidactError: The ONNX graph can't be exported, or answers differently.
        """
        if not isinstance(self.learner, ModuleLearner):
            raise ConfigError(f"The student is a {type(self.learner).__name__}, which can't be exported.")
        return export.export(
            self.learner,
            destination,
            to=to,
            examples=self.like,
            spec=self.spec,
            logits=logits,
            tokenizer=None if isinstance(self.tokenizer, ByteTokenizer) else self.tokenizer,
        )

    def _examples(self, part: Inputs, labelled: bool) -> Examples:
        size = len(part.ids)
        if labelled and part.answers is None:
            raise DataError(f"The rows have no {self.like.target!r} to compare the student's answers with.")
        if labelled:
            label = labels_of(part.answers, self.like)
        else:
            label = torch.full((size,), torch.nan if self.like.task == "regression" else IGNORE)
        masks = {MASK: torch.full((size, *self._side), IGNORE)} if self._side else {}
        return Examples(
            tensors={**part.encoded.tensors, "label": label, "id": torch.arange(size), **masks},
            task=self.like.task,
            modality=self.like.modality,
            classes=self.like.classes,
            scale=self.like.scale,
            vocabulary=self.like.vocabulary,
        )


def join_answers(parts: Iterable[Answers]) -> Answers:
    """The answers of several parts as one; at least one part."""
    found = list(parts)
    first = found[0]
    return Answers(
        ids=[one for part in found for one in part.ids],
        id_name=first.id_name,
        predictions=Predictions(
            logits=torch.cat([part.predictions.logits for part in found]),
            labels=torch.cat([part.predictions.labels for part in found]),
            task=first.predictions.task,
            classes=first.predictions.classes,
        ),
        unknown=add_counts(part.unknown for part in found),
        missing=add_counts(part.missing for part in found),
        side=first.side,
    )


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of counts by name."""
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return dict(total)
