"""A Hugging Face causal language model with adapters of a rank, which alone are trained."""

from didact.learners import causal
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part

FORM = "lora:RANK:STUDENT"
EXAMPLE = "lora:8:hf:EleutherAI/pythia-14m"
RATE = 2e-4


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A model that keeps its weights and gets adapters."""
    base = spec.inner[0]
    if not (spec.argument.isdecimal() and int(spec.argument) and base.kind == "hf"):
        raise purpose.wrong(spec, f"it is written lora:RANK:hf:NAME, with a rank of 1 or more, such as {EXAMPLE}.")
    model = causal.load_adapted(base.argument, int(spec.argument), seed=purpose.seed)
    return Part(model=model, spec=f"lora:{spec.argument}:hf:{base.argument}", rate=RATE, tokenizer=model.tokenizer)
