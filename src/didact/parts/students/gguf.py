"""A causal language model from a GGUF file, as llama.cpp uses them, with dequantised weights."""

from pathlib import Path

from didact.learners import causal
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.parts.students import hf

FORM = "gguf:FILE"
EXAMPLE = "gguf:SmolLM2-135M-Instruct.gguf"
PATHS = ("*.gguf",)


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """The model, with the tokenizer and chat template of its file."""
    if not (spec.argument.endswith(causal.GGUF) and Path(spec.argument).is_file()):
        raise spec.error("there is no file of that name that ends in .gguf.")
    model = causal.load_causal(spec.argument, purpose.dtype)
    return Part(model=model, spec=f"gguf:{spec.argument}", rate=hf.rate_of(model), tokenizer=model.tokenizer)
