"""Encoders as teachers, and students of their embeddings, against transformers, numpy and scikit-learn themselves."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import cosine_similarity
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

import didact
from didact import evaluation
from didact.cli import main
from didact.errors import ConfigError, DataError, TeacherError
from didact.learners import encoders
from didact.losses.labels.targets import distillation_loss
from didact.parts.part import ForExamples
from didact.types import EMBEDDING, Batch, Examples, Features

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS += ["a", "cat", "dog", "sat", "ran", "on", "under", "the", "mat", "moon", "red", "blue", "big", "old"]
TEXTS = [" ".join(words) for words in np.random.default_rng(0).choice(WORDS[4:], (160, 5)).tolist()]
SETTINGS = {"method": "distill", "task": "embedding", "progress": False, "seed": 1, "steps": 10, "max_length": 8}


def bert(path, **options):
    """A tiny encoder with a tokenizer, as `save_pretrained` writes them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, initializer_range=0.5, **sizes, **options)
    model = BertModel(config).eval()
    model.save_pretrained(path)
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(path)
    return model


def pooled(path, *modes, dense=None, normalised=False):
    """Write what sentence-transformers writes beside an encoder."""
    kinds = [
        "Transformer",
        "Pooling",
        *(["Dense"] if dense is not None else []),
        *(["Normalize"] if normalised else []),
    ]
    layers = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(layers))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 12, **{f"pooling_mode_{mode}": True for mode in modes}})
    )
    if dense is not None:
        (path / "2_Dense").mkdir()
        activation = "torch.nn.modules.activation.Tanh"
        settings = {"in_features": 12, "out_features": len(dense), "bias": True, "activation_function": activation}
        (path / "2_Dense" / "config.json").write_text(json.dumps(settings))
        save_file(
            {"linear.weight": dense, "linear.bias": torch.ones(len(dense))}, path / "2_Dense" / "model.safetensors"
        )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder")
    bert(path)
    return path


def token_vectors(path, texts):
    """Token vectors [N, T, D] and masks [N, T] by transformers alone."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = BertModel.from_pretrained(path)(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state
    return found.double().numpy(), tokens["attention_mask"].numpy()


def by_hand(path, texts, mode="mean_tokens"):
    vectors, masks = token_vectors(path, texts)
    pool = {
        "mean_tokens": lambda v: v.mean(0),
        "cls_token": lambda v: v[0],
        "max_tokens": lambda v: v.max(0),
        "lasttoken": lambda v: v[-1],
        "mean_sqrt_len_tokens": lambda v: v.sum(0) / np.sqrt(len(v)),
    }[mode]
    return np.array([pool(vector[mask == 1]) for vector, mask in zip(vectors, masks, strict=True)])


def embed(path, texts):
    """Embeddings by the encoder that didact loads."""
    tokens = encoders.tokenizer_of(str(path), 16)(texts)
    with torch.no_grad():
        learner = encoders.load_encoder(str(path), "text").eval()
        return learner(Batch({**tokens, "id": torch.arange(len(texts))})).logits.double().numpy()


MIXED = ["cat", "the big old red dog sat", "moon on the mat"]


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "max_tokens", "lasttoken", "mean_sqrt_len_tokens"])
def test_tokens_are_pooled_as_configured(encoder, tmp_path, mode):
    shutil.copytree(encoder, tmp_path / "e")
    pooled(tmp_path / "e", mode)
    np.testing.assert_allclose(embed(tmp_path / "e", MIXED), by_hand(encoder, MIXED, mode), atol=1e-5)
    assert encoders.width_of(str(tmp_path / "e")) == 12


def test_without_a_configuration_the_mean_is_taken(encoder):
    np.testing.assert_allclose(embed(encoder, MIXED), by_hand(encoder, MIXED), atol=1e-5)


def test_several_poolings_a_layer_and_a_norm_follow_each_other(encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "e")
    dense = torch.randn(7, 24, generator=torch.Generator().manual_seed(1))
    pooled(tmp_path / "e", "cls_token", "mean_tokens", dense=dense, normalised=True)
    both = np.concatenate([by_hand(encoder, MIXED, mode) for mode in ("cls_token", "mean_tokens")], axis=1)
    expected = np.tanh(both @ dense.double().numpy().T + 1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(tmp_path / "e", MIXED), expected, atol=1e-5)
    assert encoders.width_of(str(tmp_path / "e")) == 7


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"type": "sentence_transformers.models.CNN", "path": ""}], "the layer 'CNN'"),
        ([{"type": "x.Dense", "path": "../../elsewhere"}], "elsewhere"),
        ({"type": "Pooling"}, "no list of objects|where a list of objects"),
    ],
)
def test_layers_that_are_not_known_are_refused(encoder, tmp_path, layers, words):
    shutil.copytree(encoder, tmp_path / "e")
    (tmp_path / "e" / "modules.json").write_text(json.dumps(layers))
    with pytest.raises(ConfigError, match=words):
        encoders.read_recipe(str(tmp_path / "e"))


def test_a_pooling_that_is_not_known_is_refused(encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "e")
    pooled(tmp_path / "e", "weightedmean_tokens")
    with pytest.raises(ConfigError, match="pools tokens by pooling_mode_weightedmean_tokens"):
        encoders.read_recipe(str(tmp_path / "e"))


def test_images_are_embedded_by_their_first_token(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    model = ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).eval()
    model.save_pretrained(tmp_path)
    settings = {"do_resize": False, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    examples = Examples(
        tensors={"x": x, "id": torch.arange(4)}, task="embedding", modality="image", classes=("e0",) * 12
    )
    signal = ForExamples(examples=examples).open(f"hf:{tmp_path}", "teacher").model.signal(examples.batch())
    assert isinstance(signal, Features)
    with torch.no_grad():
        expected = model(pixel_values=(x - 0.5) / 0.25).last_hidden_state[:, 0]
    torch.testing.assert_close(signal.features[EMBEDDING], expected, atol=1e-5, rtol=0)
    assert signal.logits is None


def test_the_loss_is_the_squared_error_in_units_of_the_squared_length():
    rng = np.random.default_rng(0)
    mine, theirs = rng.normal(size=(5, 3)), 100 * rng.normal(size=(5, 3))
    term = distillation_loss(torch.tensor(mine), Features(features={EMBEDDING: torch.tensor(theirs)}))
    expected = ((mine - theirs) ** 2).sum(1) / (theirs**2).sum(1)
    assert float(term.sum / term.count) == pytest.approx(expected.mean(), rel=1e-5)


def test_similarities_and_neighbours_against_scipy_and_scikit_learn():
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=(40, 6))
    mine = theirs @ rng.normal(size=(6, 6)) + rng.normal(size=(40, 6))
    found = evaluation.compare_embeddings(torch.tensor(mine), torch.tensor(theirs))
    near, wanted = cosine_similarity(mine), cosine_similarity(theirs)
    upper = np.triu_indices(40, 1)
    assert found["spearman"] == pytest.approx(spearmanr(near[upper], wanted[upper]).statistic)
    np.fill_diagonal(near, -2)
    np.fill_diagonal(wanted, -2)
    kept, ranks = [], []
    for ours, other in zip(near, wanted, strict=True):
        kept.append(len(set(np.argsort(-ours)[:10]) & set(np.argsort(-other)[:10])) / 10)
        ranks.append(1 / (1 + list(np.argsort(-ours)).index(np.argmax(other))))
    assert found["recall_at_10"] == pytest.approx(np.mean(kept))
    assert found["mrr"] == pytest.approx(np.mean(ranks))
    assert found["mean_cosine"] == pytest.approx(np.diag(cosine_similarity(mine, theirs)).mean())
    same = evaluation.compare_embeddings(torch.tensor(theirs) * 3, torch.tensor(theirs))
    assert same == pytest.approx(dict.fromkeys(evaluation.SIMILARITIES, 1.0))
    assert "mean_cosine" not in evaluation.compare_embeddings(torch.tensor(mine[:, :2]), torch.tensor(theirs))
    tied = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0], [2.0, 1.0, 1.0, 5.0, 4.0, 4.0]
    assert evaluation.spearman(*map(torch.tensor, tied)) == pytest.approx(spearmanr(*tied).statistic)


@pytest.fixture(scope="module")
def taught(encoder, tmp_path_factory):
    place = tmp_path_factory.mktemp("taught")
    (place / "texts.txt").write_text("\n".join(TEXTS))
    shared = {**SETTINGS, "data": str(place / "texts.txt"), "teacher": f"hf:{encoder}"}
    didact.run(student="mlp:32", directory=place / "run", **{**shared, "steps": 300, "lr": 0.01})
    return place


def test_a_small_student_keeps_similarities_and_its_figures_are_those_of_its_answers(encoder, taught):
    student = didact.load(taught / "run")
    new = [" ".join(words) for words in np.random.default_rng(7).choice(WORDS[4:], (60, 5)).tolist()]
    answers = student.predict(new)
    assert answers.embeddings.shape == (60, 12)
    assert list(answers.to_frame().columns) == ["row", *(f"e{i}" for i in range(12))]
    wanted = by_hand(encoder, new)
    found = evaluation.compare_embeddings(torch.tensor(answers.embeddings), torch.tensor(wanted))
    metrics = json.loads((taught / "run" / "result.json").read_text())["metrics"]
    assert list(metrics) == list(evaluation.SIMILARITIES)
    assert metrics["mean_cosine"] > 0.8
    assert found["mean_cosine"] == pytest.approx(metrics["mean_cosine"], abs=0.1)
    for field in ("labels", "probabilities", "values"):
        with pytest.raises(DataError, match="embeddings"):
            getattr(answers, field)


def test_pairs_are_judged_by_rank_correlation(taught, tmp_path, capsys):
    student = didact.load(taught / "run")
    scores = np.random.default_rng(0).random(20)
    frame = pd.DataFrame({"sentence1": TEXTS[:20], "sentence2": TEXTS[20:40], "score": scores})
    one, other = (student.predict(list(frame[name])).embeddings for name in ("sentence1", "sentence2"))
    expected = spearmanr(np.diag(cosine_similarity(one, other)), scores).statistic
    assert student.evaluate(frame)["spearman"] == pytest.approx(expected, abs=1e-6)
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    assert main(["evaluate", str(taught / "run"), "--data", str(tmp_path / "pairs.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["spearman"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="there is no 'score'"):
        student.evaluate(frame.drop(columns="score"))


@pytest.mark.slow
def test_its_export_answers_token_ids(taught, tmp_path):
    student = didact.load(taught / "run")
    session = onnxruntime.InferenceSession(student.export(tmp_path / "s.onnx"))
    from didact.sources import ByteTokenizer

    tokens = ByteTokenizer(student.like.shape[0])(TEXTS[:5])
    length = student.like.shape[0] - tokens["input_ids"].shape[1]
    feed = {name: np.pad(ids.numpy(), ((0, 0), (0, length))) for name, ids in tokens.items()}
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(["embedding"], {name: feed[name] for name in names})
    np.testing.assert_allclose(found, student.predict(TEXTS[:5]).embeddings, atol=1e-4)


def test_an_encoder_learns_from_an_encoder_and_teaches_on(encoder, taught, tmp_path):
    bert(tmp_path / "small", layer_norm_eps=1e-6)
    shared = {**SETTINGS, "data": str(taught / "texts.txt"), "student": f"hf:{tmp_path / 'small'}"}
    shutil.copytree(encoder, tmp_path / "wide")
    pooled(tmp_path / "wide", "cls_token", "max_tokens")
    result = didact.run(teacher=f"hf:{tmp_path / 'wide'}", directory=tmp_path / "run", **shared)
    assert result.student.predict(TEXTS[:3]).embeddings.shape == (3, 24)
    again = didact.load(tmp_path / "run").predict(TEXTS[:3]).embeddings
    np.testing.assert_allclose(again, result.student.predict(TEXTS[:3]).embeddings, atol=1e-6)
    result.student.export(tmp_path / "exported", to="hf")
    np.testing.assert_allclose(embed(tmp_path / "exported", TEXTS[:3]), again, atol=1e-5)
    kinds = [layer["type"] for layer in json.loads((tmp_path / "exported" / "modules.json").read_text())]
    assert [kind.rpartition(".")[2] for kind in kinds] == ["Transformer", "Pooling", "Dense"]
    later = didact.run(teacher=str(tmp_path / "run"), **{**shared, "student": "mlp:4"})
    assert later.student.like.outputs == 24


def test_on_the_command_line(encoder, taught, tmp_path, capsys):
    words = ["distill", "--embeddings", "--teacher", f"hf:{encoder}", "--student", "mlp:8", "--steps", "3"]
    assert main([*words, "--data", str(taught / "texts.txt"), "--out", str(tmp_path / "run"), "--no-progress"]) == 0
    out = tmp_path / "answers.csv"
    assert main(["predict", str(tmp_path / "run"), "--data", str(taught / "texts.txt"), "--out", str(out)]) == 0
    assert pd.read_csv(out).shape == (160, 13)


def test_what_cannot_be_learned_is_refused(encoder, taught):
    shared = {**SETTINGS, "data": str(taught / "texts.txt"), "student": "mlp:8"}
    with pytest.raises(ConfigError, match="makes none; give an encoder"):
        didact.run(teacher="random", **shared)
    labelled = pd.DataFrame({"text": TEXTS, "label": ["a", "b"] * 80})
    with pytest.raises(TeacherError, match="is an encoder, which tells no classes"):
        didact.run(method="distill", data=labelled, teacher=f"hf:{encoder}", student="mlp:8", text_column="text")
    with pytest.raises(ConfigError, match="is for classification"):
        didact.run(**{**shared, "method": "decoupled", "teacher": f"hf:{encoder}"})


@pytest.mark.parametrize("method", ["relational", "fitnet"])
def test_on_labelled_data_an_encoder_teaches_features_and_no_classes(encoder, method):
    labelled = pd.DataFrame({"text": TEXTS, "label": ["cat" if "cat" in text else "none" for text in TEXTS]})
    shared = {"data": labelled, "text_column": "text", "student": "mlp:8,8", "steps": 4, "progress": False}
    options = {"teacher_tap": "tail", "alpha": 0.5} if method == "relational" else {"teacher_tap": "tail"}
    result = didact.run(method=method, teacher=f"hf:{encoder}", **options, **shared)
    assert set(result.metrics) >= {"accuracy"}


def test_an_encoder_that_is_tapped_gives_the_vectors_that_transformers_gives(encoder):
    tokenizer = encoders.tokenizer_of(str(encoder), 16)
    tokens = tokenizer(MIXED)
    examples = Examples(
        tensors={**tokens, "label": torch.tensor([0, 1, 0]), "id": torch.arange(3)},
        task="classification",
        modality="text",
        classes=("a", "b"),
        vocabulary=len(WORDS),
    )
    teacher = ForExamples(examples=examples).open(f"hf:{encoder}", "teacher").model
    teacher.tap("tail")
    signal = teacher.signal(examples.batch())
    assert signal.logits is None
    assert list(signal.features) == ["tail", "silent"]
    np.testing.assert_allclose(signal.features["tail"], by_hand(encoder, MIXED), atol=1e-5)
    term = distillation_loss(torch.randn(3, 2), signal)
    assert (float(term.sum), term.count) == (0.0, 3)


@pytest.mark.slow
def test_the_example_goes_the_whole_way(tmp_path, capsys):
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "embeddings.py"))
    assert example["main"](tmp_path, None, seed=0) == 0
    assert "onnxruntime alone answers as didact does" in capsys.readouterr().out
