"""A Hugging Face model, by its directory or its name on the hub: a classifier, or a causal language model."""

from typing import Any

from didact.learners import CausalLearner, Decoder, causal
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.parts.students import decoder
from didact.parts.students._drawing import seeded_init

FORM = "hf:NAME | hf:DIRECTORY"
EXAMPLE = "hf:EleutherAI/pythia-14m"
PATHS = ("*/config.json", "*/adapter_config.json", "!*/metrics.jsonl")
NAMES = "download"
RATE, LANGUAGE_RATE, ADAPTED_RATE = 5e-5, 2e-5, 2e-4
"""The learning rates of a classifier, a language model, and adapters in one."""


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A classifier with a head for the data's classes, or a causal language model."""
    if not spec.argument:
        raise spec.error()
    text = f"hf:{spec.argument}"
    if isinstance(purpose, ForQuestions):
        model = causal.load_causal(spec.argument, purpose.dtype)
        return Part(model=model, spec=text, rate=rate_of(model), tokenizer=model.tokenizer)
    from didact.learners import encoders, huggingface

    examples = purpose.examples
    if examples.task == "embedding":
        with seeded_init(purpose.seed):
            model = encoders.load_encoder(spec.argument, examples.modality, width=examples.outputs)
        return Part(model=model, spec=text, rate=RATE)
    with seeded_init(purpose.seed):
        model = huggingface.load_student(spec.argument, purpose.examples)
    return Part(model=model, spec=text, rate=RATE)


def rate_of(model: CausalLearner) -> float:
    """The default learning rate of a language model, by its kind."""
    adapted = any(".lora_" in name for name, _ in model.named_parameters())
    return decoder.RATE if isinstance(model.module, Decoder) else ADAPTED_RATE if adapted else LANGUAGE_RATE


def tokenizer(spec: Spec, max_length: int) -> Any:
    """Its tokenizer, which encodes text before the model is built."""
    from didact.learners import encoders

    return encoders.tokenizer_of(spec.argument, max_length)
