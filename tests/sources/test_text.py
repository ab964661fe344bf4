import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import sources
from didact.errors import ConfigError, DataError
from didact.sources import ByteTokenizer


def slow_encode(texts, max_length):
    rows = [[1, *(4 + byte for byte in text.encode()[: max_length - 2]), 2] for text in texts]
    longest = max(map(len, rows))
    ids = [row + [0] * (longest - len(row)) for row in rows]
    return ids, [[int(i < len(row)) for i in range(longest)] for row in rows]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1), st.integers(3, 12)
)
def test_bytes_are_tokens(texts, max_length):
    tokens = ByteTokenizer(max_length)(texts)
    ids, mask = slow_encode(texts, max_length)
    assert tokens["input_ids"].tolist() == ids
    assert tokens["attention_mask"].tolist() == mask
    assert tokens["input_ids"].dtype == tokens["attention_mask"].dtype == torch.int64


def write(folder, rows):
    path = folder / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


ROWS = [
    {"said": "a fine day, really", "label": "good"},
    {"said": "it rained all day long", "label": "bad"},
    {"said": "über alles gut gelaufen", "label": "good"},
]


def test_a_single_column_of_prose_is_text(tmp_path):
    examples = sources.load(write(tmp_path, ROWS), max_length=10)
    assert examples.modality == "text"
    assert examples.texts == tuple(row["said"] for row in ROWS)
    assert examples.vocabulary == 260
    assert examples.shape == (10,)
    assert examples.tensors["input_ids"].tolist() == slow_encode(examples.texts, 10)[0]
    assert examples.tensors["label"].tolist() == [1, 0, 1]
    assert examples.select(torch.tensor([2, 0])).texts == (ROWS[2]["said"], ROWS[0]["said"])


def test_ids_of_texts_do_not_depend_on_the_tokenizer(tmp_path):
    path = write(tmp_path, ROWS)
    short, long = sources.load(path, max_length=4), sources.load(path, max_length=100)
    assert torch.equal(short.tensors["id"], long.tensors["id"])
    assert long.tensors["id"].unique().numel() == 3


def test_a_named_text_column_leaves_the_others_out(tmp_path):
    rows = [{**row, "n": i, "word": "ab"[i % 2]} for i, row in enumerate(ROWS)]
    examples = sources.load(write(tmp_path, rows), text_column="word")
    assert examples.texts == ("a", "b", "a")
    assert "x" not in examples.tensors


def test_empty_texts_are_named(tmp_path):
    rows = [*ROWS, {"said": "  ", "label": "bad"}, {"label": "bad"}]
    with pytest.raises(DataError, match="text column 'said' is empty in 2 of 5 rows, first in row 4"):
        sources.load(write(tmp_path, rows), text_column="said")


class Words:
    """A tokenizer of another vocabulary, as one of Hugging Face looks."""

    def __len__(self):
        return 50

    def __call__(self, texts):
        rows = [[len(word) for word in text.split()] for text in texts]
        longest = max(map(len, rows))
        return {
            "input_ids": [row + [0] * (longest - len(row)) for row in rows],
            "attention_mask": [[1] * len(row) + [0] * (longest - len(row)) for row in rows],
        }


def test_another_tokenizer_reads_the_same_texts_in_a_view(tmp_path):
    plain = sources.load(write(tmp_path, ROWS))
    viewed = sources.add_view(plain, "teacher", Words())
    direct = sources.load(tmp_path / "t.jsonl", tokenizer=Words())
    assert direct.vocabulary == 50
    assert direct.tensors["input_ids"].tolist() == [[1, 4, 4, 6, 0], [2, 6, 3, 3, 4], [4, 5, 3, 8, 0]]
    assert torch.equal(viewed.batch().view("teacher")["input_ids"], direct.tensors["input_ids"])
    assert torch.equal(viewed.tensors["input_ids"], plain.tensors["input_ids"])


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (lambda texts: {"input_ids": [[1]] * len(texts)}, "gave no rectangular 'attention_mask'"),
        (lambda texts: {"input_ids": [[1], [1, 2], [1]], "attention_mask": [[1]] * 3}, "padding=True"),
        (lambda texts: {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}, r"shape \[3\]; .* \[3, T\]"),
    ],
)
def test_unusable_tokenizers_are_refused(tmp_path, tokenizer, message):
    with pytest.raises(ConfigError, match=message):
        sources.load(write(tmp_path, ROWS), tokenizer=tokenizer)


def test_a_view_needs_text_and_a_plain_name(tmp_path):
    table = sources.from_tensors(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="view 'teacher' needs text, but the data are of the kind table"):
        sources.add_view(table, "teacher", Words())
    with pytest.raises(ConfigError, match=r"view is 'a.b'"):
        sources.add_view(sources.load(write(tmp_path, ROWS)), "a.b", Words())
