"""A causal language model with LoRA adapters of a rank; only the adapters are trained.

Options follow the rank: `lora:8/alpha=16/dropout=0.05/targets=q_proj,v_proj:hf:DIR`. By default alpha is twice the
rank, there is no dropout, and all linear layers but the head get adapters. `bits=4` or `bits=8` quantises the frozen
weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from didact.errors import ConfigError, nearest
from didact.learners import causal
from didact.learners.adapters import Adapters
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.parts.students import hf

FORM = "lora:RANK:STUDENT | lora:RANK/OPTION=VALUE:STUDENT"
EXAMPLE = "lora:8:hf:EleutherAI/pythia-14m"


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A frozen model with trainable adapters."""
    base, adapters = spec.inner[0], _options(spec)
    if base.kind not in ("hf", "gguf", "run") or (adapters.bits and base.kind == "gguf"):
        raise spec.error()
    run = Path(base.argument)
    name = str(run / "student") if base.kind == "run" else base.argument
    model = causal.load_with_adapters(
        name, adapters, seed=purpose.seed, dtype=purpose.dtype, config=f"lora:{spec.argument}:{base.text}"
    )
    origin = (run,) if base.kind == "run" else ()
    return Part(model=model, spec=spec.text, rate=hf.ADAPTED_RATE, tokenizer=model.tokenizer, origin=origin)


def _options(spec: Spec) -> Adapters:
    """The options of a spec's adapters.

    Raises:
        ConfigError: they cannot be read, or are out of range.
    """
    rank, *words = spec.argument.split("/")
    values = {name: value for name, _, value in (word.partition("=") for word in words)}
    if not (rank.isdecimal() and int(rank)) or len(values) < len(words):
        raise spec.error()
    for name in values:
        if name not in _READ:
            raise spec.error(f"lora has no option {name!r}. {nearest(name, _READ)}")
    try:
        return Adapters(rank=int(rank), **{name: _READ[name](value) for name, value in values.items()})
    except ConfigError:
        raise
    except ValueError:
        raise spec.error() from None


_READ: dict[str, Callable[[str], Any]] = {
    "alpha": float,
    "dropout": float,
    "targets": lambda names: tuple(filter(None, names.split(","))),
    "bits": int,
}
"""How each option is read from words."""
