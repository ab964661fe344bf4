"""Hugging Face models, made tiny on the spot."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

from didact.errors import ConfigError, DataError
from didact.learners import ModuleLearner, huggingface
from didact.learners.preprocess import ImagePreprocess
from didact.parts.models import build
from didact.types import Examples

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "very", "not"]
CLASSES = ("negative", "positive", "mixed")
TEXTS = ["a very good film", "bad", "not a good film", "mystery"]


def save_tokenizer(path, **special):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = special or {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", **special).save_pretrained(path)


def bert(path, classes=CLASSES, **options):
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(classes)), "label2id": {c: i for i, c in enumerate(classes)}} if classes else {}
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        initializer_range=0.5,
        **names,
        **options,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(path)
    save_tokenizer(path)
    return model


def vit(path, processor=None, **options):
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.5,
        id2label=dict(enumerate(CLASSES)),
        label2id={c: i for i, c in enumerate(CLASSES)},
        **options,
    )
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(path)
    if processor is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


PROCESSOR = {
    "do_resize": True,
    "size": {"height": 8, "width": 8},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
}


def texts(tokenizer, classes=CLASSES, task="classification"):
    return Examples(
        tensors={**tokenizer(TEXTS), "id": torch.arange(len(TEXTS))},
        task=task,
        modality="text",
        classes=classes,
        texts=tuple(TEXTS),
        vocabulary=len(tokenizer),
    )


def images(size=8, channels=3, count=4):
    x = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))
    return Examples(
        tensors={"x": x, "id": torch.arange(count)}, task="classification", modality="image", classes=CLASSES
    )


def test_tokens_are_words_padded_to_a_multiple(tmp_path):
    bert(tmp_path)
    tokenizer = huggingface.tokenizer_of(str(tmp_path), max_length=16)
    tokens = tokenizer(TEXTS)
    assert tokens["input_ids"].dtype == tokens["attention_mask"].dtype == torch.int64
    assert tokens["input_ids"].tolist() == [
        [2, 7, 8, 4, 6, 3, 0, 0],
        [2, 5, 3, 0, 0, 0, 0, 0],
        [2, 9, 7, 4, 6, 3, 0, 0],
        [2, 1, 3, 0, 0, 0, 0, 0],
    ]
    assert torch.equal(tokens["attention_mask"], (tokens["input_ids"] != 0).long())
    assert tokenizer.vocabulary == len(tokenizer) == len(WORDS)
    assert tokenizer(["good " * 100])["input_ids"].tolist() == [[2, *[4] * 14, 3]]


def test_texts_are_cut_to_what_the_model_can_take(tmp_path):
    bert(tmp_path)
    tokens = huggingface.tokenizer_of(str(tmp_path), max_length=128)(["good " * 100])
    assert tokens["input_ids"].shape == (1, 20)


def test_a_tokenizer_without_padding(tmp_path):
    save_tokenizer(tmp_path / "eos", eos_token="[SEP]")
    ids = huggingface.tokenizer_of(str(tmp_path / "eos"), multiple=4)(["good", "a good film"])["input_ids"]
    assert ids.tolist() == [[2, 4, 3, 3, 3, 3, 3, 3], [2, 7, 4, 6, 3, 3, 3, 3]]
    save_tokenizer(tmp_path / "none", cls_token="[CLS]")
    with pytest.raises(ConfigError, match="neither a padding nor an end token"):
        huggingface.tokenizer_of(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"tokenizer of '.*nowhere' can't be loaded"):
        huggingface.tokenizer_of(str(tmp_path / "nowhere"))


def test_a_text_teacher_answers_as_the_model_itself(tmp_path):
    model = bert(tmp_path, dtype="bfloat16").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = huggingface.load_teacher(str(tmp_path), texts(huggingface.tokenizer_of(str(tmp_path))))
    assert loaded.classes == CLASSES
    examples = texts(loaded.tokenizer)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.learner.parameters())
    assert not loaded.learner.training
    output = loaded.learner(examples.batch())
    tokens = {name: examples.tensors[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(output.logits, model.float()(**tokens).logits)
    assert output.hidden.shape == (4, 16)
    torch.testing.assert_close(loaded.learner.head(output.hidden), output.logits)
    assert output.logits.std() > 0.01
    shorter = {name: tensor[:1, :6] for name, tensor in tokens.items()}
    torch.testing.assert_close(output.logits[:1], model(**shorter).logits, rtol=1e-4, atol=1e-5)


def test_a_text_teacher_can_be_tapped(tmp_path):
    bert(tmp_path)
    learner = huggingface.load_teacher(str(tmp_path), texts(huggingface.tokenizer_of(str(tmp_path)))).learner
    learner.tap("model.bert.encoder.layer.0")
    batch = texts(huggingface.tokenizer_of(str(tmp_path))).batch()
    assert learner(batch).features["model.bert.encoder.layer.0"].shape == (4, 6, 16)


def test_models_without_names_have_none(tmp_path):
    bert(tmp_path, classes=(), num_labels=3)
    loaded = huggingface.load_teacher(str(tmp_path), texts(huggingface.tokenizer_of(str(tmp_path))))
    assert loaded.classes == ()


def test_a_decoder_gets_a_padding_token(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=16, num_labels=3)
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    loaded = huggingface.load_teacher(str(tmp_path), texts(huggingface.tokenizer_of(str(tmp_path))))
    batch = texts(loaded.tokenizer).batch()
    model.config.pad_token_id = 0
    alone = model(input_ids=batch["input_ids"][1:2, :3]).logits
    torch.testing.assert_close(loaded.learner(batch).logits[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_does_not_fit_is_refused(tmp_path):
    bert(tmp_path)
    examples = texts(huggingface.tokenizer_of(str(tmp_path)), classes=("a", "b"))
    with pytest.raises(ConfigError, match=r"has 3 outputs \(negative, positive, mixed\), but the data need 2 \(a, b\)"):
        huggingface.load_teacher(str(tmp_path), examples)
    with pytest.raises(ConfigError, match="but the data are a series; it needs text or images"):
        series = Examples(
            tensors={"x": torch.zeros(2, 1, 3), "id": torch.arange(2)},
            task="classification",
            modality="series",
            classes=CLASSES,
        )
        huggingface.load_teacher(str(tmp_path), series)
    backbone = tmp_path / "backbone"
    BertModel(BertConfig.from_pretrained(tmp_path)).save_pretrained(backbone)
    with pytest.raises(ConfigError, match=r"lacks weights of a classifier \(classifier\.bias"):
        huggingface.load_teacher(str(backbone), texts(huggingface.tokenizer_of(str(tmp_path))))


def test_pickled_weights_are_refused(tmp_path):
    bert(tmp_path)
    weights = tmp_path / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    examples = texts(huggingface.tokenizer_of(str(tmp_path)))
    for load in (huggingface.load_teacher, huggingface.load_student):
        with pytest.raises(ConfigError, match=r"pytorch_model\.bin, a pickle.*save_pretrained"):
            load(str(tmp_path), examples)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match=r"holds no \*\.safetensors"):
        huggingface.load_teacher(str(tmp_path), examples)
    (tmp_path / "config.json").unlink()
    save_file({"a": torch.zeros(1)}, weights)
    with pytest.raises(ConfigError, match="can't be loaded"):
        huggingface.load_teacher(str(tmp_path), examples)


def test_a_student_keeps_a_head_that_fits(tmp_path):
    model = bert(tmp_path)
    tokenizer = huggingface.tokenizer_of(str(tmp_path))
    learner = huggingface.load_student(str(tmp_path), texts(tokenizer))
    assert isinstance(learner, ModuleLearner)
    torch.testing.assert_close(learner.head.weight, model.classifier.weight)


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c"), ("positive", "negative", "mixed")])
def test_a_student_gets_a_new_head_for_other_classes(tmp_path, classes):
    model = bert(tmp_path)
    examples = texts(huggingface.tokenizer_of(str(tmp_path)), classes=classes)
    with warnings.catch_warnings(record=True) as caught:
        one, same, other = (build(f"hf:{tmp_path}", examples, seed=seed) for seed in (0, 0, 1))
    assert not caught
    assert one(examples.batch()).logits.shape == (4, len(classes))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert not any(torch.equal(row, old) for row in one.head.weight for old in model.classifier.weight)
    assert one.head.weight.detach().std() == pytest.approx(0.5, rel=0.4)
    torch.testing.assert_close(one.module.model.bert.pooler.dense.weight, model.bert.pooler.dense.weight)
    assert one.module.model.config.id2label == dict(enumerate(classes))


def test_a_student_of_a_regression_has_one_output(tmp_path):
    bert(tmp_path)
    examples = texts(huggingface.tokenizer_of(str(tmp_path)), classes=(), task="regression")
    assert huggingface.load_student(str(tmp_path), examples)(examples.batch()).logits.shape == (4, 1)


def test_a_student_refuses_tokens_that_it_does_not_know(tmp_path):
    bert(tmp_path)
    examples = texts(huggingface.tokenizer_of(str(tmp_path)))
    examples = Examples(**{**{f: getattr(examples, f) for f in examples.__dataclass_fields__}, "vocabulary": 260})
    with pytest.raises(ConfigError, match=r"a vocabulary of 260 tokens, but .* knows 10"):
        huggingface.load_student(str(tmp_path), examples)


def pillow(x, size, resample):
    """What an image processor does to one image [C, H, W], with Pillow and NumPy."""
    pixels = (x.permute(1, 2, 0).numpy() * 255).round().astype("u1")
    resized = np.asarray(Image.fromarray(pixels).resize(size[::-1], resample), dtype=float)
    return ((resized / 255 - PROCESSOR["image_mean"]) / PROCESSOR["image_std"]).transpose(2, 0, 1)


@pytest.mark.parametrize("resample", [0, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (16, 11), (37, 37)])
def test_preprocessing_is_that_of_pillow(resample, size):
    # Away from black and white, as Pillow cuts off what overshoots after each of its two passes.
    x = (images(size=16, count=1).tensors["x"] * 127 + 64).round() / 255
    module = ImagePreprocess({**PROCESSOR, "resample": resample, "size": {"height": size[0], "width": size[1]}}, 3)
    # Pillow rounds to whole levels, of which the smallest deviation makes 1 / 255 / 0.2.
    np.testing.assert_allclose(module(x)[0], pillow(x[0], size, resample), atol=1.2 / 255 / 0.2)


def test_shortest_edges_are_cropped():
    x = torch.arange(48.0).reshape(1, 1, 4, 12) / 48
    plain = {"do_normalize": False, "size": {"shortest_edge": 4}, "do_center_crop": True, "crop_size": 4}
    torch.testing.assert_close(ImagePreprocess(plain, 1)(x), x[..., 4:8])
    padded = {**plain, "do_resize": False, "crop_size": {"height": 6, "width": 4}}
    torch.testing.assert_close(
        ImagePreprocess(padded, 1)(x), torch.nn.functional.pad(x[..., 4:8], (0, 0, 1, 1)), rtol=0, atol=0
    )
    assert ImagePreprocess({**plain, "do_center_crop": False}, 1)(x[:, :, :2]).shape == (1, 1, 4, 24)
    convnext = {"do_normalize": False, "size": {"shortest_edge": 4}, "crop_pct": 0.5}
    assert ImagePreprocess(convnext, 1).size == (8,)
    assert ImagePreprocess(convnext, 1)(x).shape == (1, 1, 4, 4)
    with pytest.raises(ConfigError, match=r"size is \{'longest_edge': 3\}"):
        ImagePreprocess({"size": {"longest_edge": 3}}, 1)


def test_scales_other_than_the_usual_are_kept():
    x = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    base = {"do_resize": False, "image_mean": [0.5], "image_std": [0.25]}
    torch.testing.assert_close(ImagePreprocess(base, 1)(x), (x - 0.5) / 0.25)
    torch.testing.assert_close(ImagePreprocess({**base, "do_rescale": False}, 1)(x), (x * 255 - 0.5) / 0.25)
    twice = {**base, "rescale_factor": 2 / 255}
    torch.testing.assert_close(ImagePreprocess(twice, 1)(x), (x * 2 - 0.5) / 0.25)


def test_an_image_teacher_sees_what_the_model_was_trained_on(tmp_path):
    model = vit(tmp_path, PROCESSOR)
    examples = images(size=8)
    loaded = huggingface.load_teacher(str(tmp_path), examples)
    assert loaded.classes == CLASSES
    assert loaded.tokenizer is None
    x = examples.tensors["x"]
    mean, std = (torch.tensor(PROCESSOR[name]).reshape(3, 1, 1) for name in ("image_mean", "image_std"))
    output = loaded.learner(examples.batch())
    torch.testing.assert_close(output.logits, model(pixel_values=(x - mean) / std).logits, rtol=1e-4, atol=1e-5)
    assert output.logits.std() > 0.01
    grey = images(size=5, channels=1)
    three = loaded.learner(
        Examples(
            **{**vars_of(grey), "tensors": {"x": grey.tensors["x"].expand(-1, 3, -1, -1), "id": grey.tensors["id"]}}
        ).batch()
    )
    torch.testing.assert_close(loaded.learner(grey.batch()).logits, three.logits)
    with pytest.raises(DataError, match="have 2 channels, but the model takes 3"):
        loaded.learner(images(channels=2).batch())


def vars_of(examples):
    return {name: getattr(examples, name) for name in examples.__dataclass_fields__}


def test_an_image_model_needs_its_processor(tmp_path):
    vit(tmp_path)
    with pytest.raises(ConfigError, match=r"image processor \(preprocessor_config\.json\) of .* can't be loaded"):
        huggingface.load_student(str(tmp_path), images())


def test_an_image_student_learns_through_the_preprocessing(tmp_path):
    vit(tmp_path, PROCESSOR)
    learner = build(f"hf:{tmp_path}", images(), seed=0)
    learner(images().batch()).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.module.model.vit.embeddings.parameters())
