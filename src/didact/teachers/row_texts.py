"""Rows of a table as texts, for teachers that read text."""

from collections.abc import Sequence
from typing import Any

from didact.errors import TeacherError
from didact.preprocessing.cells import NUMERIC, Frame
from didact.teachers.base import WrappingTeacher
from didact.teachers.tables import RawRows
from didact.types import Batch, Signal

CHECKED = 256
"""Rows whose texts are checked for their length."""


def row_texts(frame: Frame) -> list[str]:
    """Rows as texts: "The NAME is VALUE." for each cell that is not missing (Hegselmann et al. 2023, TabLLM).

    Fine-tune a text classifier on these texts to use it as a teacher of the table.

    Args:
        frame: a pandas data frame [B]. Numbers are written with up to 6 digits, everything else as it is.
    """
    columns = {name: _words(frame[name]) for name in frame}
    return [
        " ".join(f"The {name} is {words[row]}." for name, words in columns.items() if words[row])
        for row in range(len(frame))
    ]


def _words(column: Any) -> list[str]:
    """The cells of a column as words, empty where they are missing."""
    numeric, missing = column.dtype.kind in NUMERIC, column.isna().tolist()
    cells = zip(column.tolist(), missing, strict=True)
    return ["" if gone else f"{float(cell):.6g}" if numeric else str(cell) for cell, gone in cells]


class RowTextTeacher(WrappingTeacher):
    """Shows a teacher of texts the rows of a table as texts.

    Args:
        teacher: it reads `input_ids` and `attention_mask`.
        tokenizer: its own; see `didact.learners.huggingface.Tokenizer`.
        rows: the rows behind the batches.
        few: some rows, whose texts must not be too long.

    Raises:
        TeacherError: the tokenizer would cut a row, so that the teacher would not see its last columns.
    """

    kind = "a teacher of rows as texts"

    def __init__(self, teacher: Any, tokenizer: Any, rows: RawRows, few: Batch) -> None:
        super().__init__(teacher)
        self._tokenizer, self._rows = tokenizer, rows
        self._check(row_texts(rows.frame(few)))

    def _check(self, texts: Sequence[str]) -> None:
        longest = max(len(ids) for ids in self._tokenizer.tokenizer(list(texts))["input_ids"])
        if longest > self._tokenizer.max_length:
            raise TeacherError(
                f"A row of the table has {longest} tokens as a text, of which the teacher would read "
                f"{self._tokenizer.max_length}; give max_length={longest} (--max-length {longest}) if the model takes "
                "so many, or fewer columns."
            )

    def _look(self, batch: Batch) -> Batch:
        """The batch with the tokens of its rows."""
        device = batch["id"].device
        tokens = self._tokenizer(row_texts(self._rows.frame(batch)))
        return Batch({"id": batch["id"], **{name: tensor.to(device) for name, tensor in tokens.items()}})

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        return signal
