"""A causal language model with LoRA adapters of a rank; only the adapters are trained."""

from pathlib import Path

from didact.learners import causal
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.parts.students import hf

FORM = "lora:RANK:STUDENT"
EXAMPLE = "lora:8:hf:EleutherAI/pythia-14m"


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A frozen model with trainable adapters."""
    base = spec.inner[0]
    if not (spec.argument.isdecimal() and int(spec.argument) and base.kind in ("hf", "gguf", "run")):
        raise spec.error()
    run = Path(base.argument)
    name = str(run / "student") if base.kind == "run" else base.argument
    model = causal.load_with_adapters(name, int(spec.argument), seed=purpose.seed, dtype=purpose.dtype)
    origin = (run,) if base.kind == "run" else ()
    return Part(model=model, spec=spec.text, rate=hf.ADAPTED_RATE, tokenizer=model.tokenizer, origin=origin)
