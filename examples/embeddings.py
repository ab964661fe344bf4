"""Replaces an encoder of texts with one a quarter of its size that keeps its similarities and neighbours.

The texts are lines of the source of Python's standard library. Give an encoder that you have (a directory of Hugging
Face or sentence-transformers) with --encoder; without one, a small encoder is trained here, by telling each line from
others under dropout (SimCSE, Gao, Yao & Chen 2021). The student has one layer of random weights, and a layer behind it
that gives vectors of the encoder's width. It is judged by similarities and nearest lines among test lines, and exported
to ONNX, which onnxruntime and tokenizers alone answer with.

    python examples/embeddings.py --out runs/embeddings --seed 0

It takes one to two minutes on two idle cores.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils import logging

import didact
from didact import worlds

LENGTH, STEPS = 32, 150
"""Tokens of a line; and steps of the encoder's own training."""


def make_encoder(folder: Path, texts: list[str], seed: int) -> Path:
    """Train an encoder of 2 layers of width 96, and save it as sentence-transformers does; return its directory."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = Tokenizer(models.BPE(unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=2000, special_tokens=special, show_progress=False))
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(seed)
    sizes = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 192}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for step in range(STEPS):
        some = [texts[i] for i in np.random.default_rng([seed, step]).choice(len(texts), 64, replace=False)]
        tokens = tokenizer(some, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
        ids, mask = tokens["input_ids"].repeat(2, 1), tokens["attention_mask"].repeat(2, 1)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        one, other = F.normalize(mean, dim=1).chunk(2)
        loss = F.cross_entropy(one @ other.T / 0.05, torch.arange(len(some)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    layers = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    described = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(layers)
    ]
    (folder / "modules.json").write_text(json.dumps(described, indent=1))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def make_student(teacher: Path, folder: Path, seed: int) -> Path:
    """Save a random encoder of one layer of width 48 with the teacher's tokenizer; return its directory."""
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main(folder: Path, encoder: Path | None, seed: int) -> int:
    """Teach, judge and export; return 1 if no more neighbours are kept, or if the export answers differently."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(text.split()) for text in worlds.load("stdlib:text", "examples").texts]
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    teacher = encoder or make_encoder(folder / "encoder", lines, seed)
    student = f"hf:{make_student(teacher, folder / 'small', seed)}"
    shared = {"method": "distill", "task": "embedding", "data": str(folder / "lines.txt"), "max_length": LENGTH}
    shared |= {"teacher": f"hf:{teacher}", "student": student, "seed": seed, "progress": sys.stderr.isatty()}
    # One step with a tiny learning rate, to evaluate the student as it begins.
    start = didact.run(steps=1, lr=1e-9, directory=folder / "start", **shared)
    taught = didact.run(steps=600, lr=3e-3, directory=folder / "taught", **shared)
    for name, run in (("untaught", start), ("taught", taught)):
        figures = "  ".join(f"{metric} {value:.3f}" for metric, value in run.metrics.items())
        print(f"{name:<12}{figures}")
    delivered = didact.load(folder / "taught")
    near = delivered.predict(lines).embeddings
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    print(f"nearest to {lines[0]!r}: {lines[np.argsort(-near @ near[0])[1]]!r}")
    session = onnxruntime.InferenceSession(delivered.export(folder / "student.onnx"))
    found = Tokenizer.from_file(str(folder / "student.onnx.tokenizer.json")).encode_batch(lines[:100])
    feed = {"input_ids": [one.ids for one in found], "attention_mask": [one.attention_mask for one in found]}
    bare = session.run(["embedding"], {name: np.array(ids, dtype=np.int64) for name, ids in feed.items()})[0]
    apart = np.abs(bare - delivered.predict(lines[:100]).embeddings).max()
    print(f"onnxruntime alone answers as didact does, to within {apart:.1e}: {folder / 'student.onnx'}")
    kept = taught.metrics["recall_at_10"] - start.metrics["recall_at_10"]
    return 0 if apart <= 1e-4 and kept > 0.05 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/embeddings"), help="output directory (runs/embeddings)")
    parser.add_argument("--encoder", type=Path, help="directory of an encoder; by default, a small one is trained")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    options = parser.parse_args()
    sys.exit(main(options.out, options.encoder, options.seed))
