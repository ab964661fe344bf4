"""Rows of a table as texts, and a Hugging Face classifier that reads them."""

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import didact
from didact.errors import TeacherError
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import assemble
from didact.teachers import RawRows, row_texts

TABLE = pd.DataFrame(
    {
        "age": [34, 51, 20, *range(71, 92)],
        "height": [1.5, 1.75, np.nan, 2.0] * 6,
        "city": ["Oslo", None, "Rome", "Oslo"] * 6,
        "label": ["no", "yes", "no", "yes"] * 6,
    }
)


def test_each_cell_is_a_sentence_and_gaps_are_left_out():
    assert row_texts(TABLE.drop(columns="label")[:3]) == [
        "The age is 34. The height is 1.5. The city is Oslo.",
        "The age is 51. The height is 1.75.",
        "The age is 20. The city is Rome.",
    ]


@pytest.fixture
def model(tmp_path):
    """A BERT with weights at random, which knows the words of the table; its classes in another order."""
    torch.manual_seed(0)
    texts = row_texts(TABLE.drop(columns="label"))
    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    plain = Tokenizer(models.WordLevel({w: n for n, w in enumerate(["[PAD]", "[UNK]", *words])}, unk_token="[UNK]"))
    plain.pre_tokenizer = split
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(words) + 2, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=32, pad_token_id=0, id2label={0: "yes", 1: "no"}, label2id={"yes": 0, "no": 1},
        initializer_range=0.5,
    )  # fmt: skip
    bert = BertForSequenceClassification(config).eval()
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert", bert, tokenizer


def test_it_answers_a_table_as_the_model_answers_its_texts(model):
    path, bert, tokenizer = model
    settings = {"data": TABLE, "target": "label", "student": "mlp:4", "steps": 1, "progress": False, "validation": 0}
    run = didact.run("distill", teacher=f"hf:{path}", **settings)
    assert run.cost.teacher_tokens > 0
    config = RunConfig.from_flags(method="distill", teacher=f"hf:{path}", student="mlp:4", target="label", validation=0)
    made = assemble(config, Objects(data=TABLE))
    every = made.data.examples.batch()
    # A split arranges the rows anew; the age tells them apart.
    ages = RawRows(made.data.examples).frame(every)["age"]
    rows = TABLE.drop(columns="label").set_index("age", drop=False).loc[ages]
    tokens = tokenizer(row_texts(rows), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = bert(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits[:, [1, 0]]
    found = made.teachers[0].model.signal(every).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(TeacherError, match=r"has 1\d tokens as a text, of which the teacher would read 8"):
        didact.run("distill", teacher=f"hf:{path}", max_length=8, **settings)
