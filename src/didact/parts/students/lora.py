"""A Hugging Face causal language model with adapters of a rank, which alone are trained."""

from didact.learners import causal
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.parts.students import hf

FORM = "lora:RANK:STUDENT"
EXAMPLE = "lora:8:hf:EleutherAI/pythia-14m"


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A model that keeps its weights and gets adapters."""
    base = spec.inner[0]
    if not (spec.argument.isdecimal() and int(spec.argument) and base.kind == "hf"):
        raise purpose.wrong(spec)
    model = causal.load_adapted(base.argument, int(spec.argument), seed=purpose.seed, dtype=purpose.dtype)
    return Part(
        model=model, spec=f"lora:{spec.argument}:hf:{base.argument}", rate=hf.ADAPTED_RATE, tokenizer=model.tokenizer
    )
