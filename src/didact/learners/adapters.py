"""Low-rank adapters of causal language models (LoRA; Hu et al. 2021): adding, saving and merging them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from didact import files
from didact.documents import Document, Values
from didact.errors import CheckpointError, ConfigError, check_choice, check_range, import_optional

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of adapters, as PEFT names them."""
_PREFIX = "base_model.model."
"""What PEFT puts before the names of weights."""


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Options of low-rank adapters (LoRA; Hu et al. 2021), of which only those are trained.

    Raises:
        ConfigError: a number out of range.
    """

    rank: int
    alpha: float | None = None
    """The products are multiplied by alpha / rank; by default twice the rank."""
    dropout: float = 0.0
    """The dropout rate of their inputs, in methods that keep dropout."""
    targets: tuple[str, ...] = ()
    """Names of the layers that get adapters, such as `q_proj`; all linear layers but the head if empty."""
    bits: int | None = None
    """4 or 8: the frozen weights are quantised to so many bits (QLoRA; Dettmers et al. 2023)."""

    def __post_init__(self) -> None:
        check_range("rank of lora", self.rank, at_least=1)
        if self.alpha is not None:
            check_range("alpha of lora", self.alpha, above=0.0)
        check_range("dropout of lora", self.dropout, at_least=0.0, below=1.0)
        if self.bits is not None:
            check_choice("bits of lora", str(self.bits), ("4", "8"))


def add_adapters(model: Any, adapters: Adapters, *, seed: int) -> Any:
    """Freeze a model and add low-rank adapters in float32 (LoRA; Hu et al. 2021).

    Args:
        model: changed in place.
        adapters: their options.
        seed: of the adapters' weights.

    Raises:
        ConfigError: the model has none of the target layers.
        MissingExtraError: peft is not installed.
    """
    peft, config = import_optional("peft", "llm", "A low-rank adapter"), _peft_config(model, adapters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted = peft.inject_adapter_in_model(config, model)
        except ValueError as error:
            raise ConfigError(f"targets of lora is {'+'.join(adapters.targets)}: {error}") from error
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
    return adapted


def _peft_config(model: Any, adapters: Adapters, **more: object) -> Any:
    return import_optional("peft", "llm", "A low-rank adapter").LoraConfig(
        r=adapters.rank,
        lora_alpha=_alpha(adapters),
        lora_dropout=adapters.dropout,
        target_modules=list(adapters.targets) or "all-linear",
        task_type="CAUSAL_LM",
        # GPT-2's layers store their weights transposed.
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in model.modules()),
        **more,
    )


def _alpha(adapters: Adapters) -> float:
    return adapters.alpha or 2 * adapters.rank


def save_adapters(model: Any, adapters: Adapters, base: str, directory: Path) -> None:
    """Write adapters alone, for PEFT's `from_pretrained`.

    Args:
        model: the model that has them.
        adapters: their options.
        base: the directory, hub name or file of GGUF of the frozen model.
        directory: an existing one.
    """
    from safetensors.torch import save_file

    config = _peft_config(model, adapters, base_model_name_or_path=base, inference_mode=True)
    config.save_pretrained(directory)
    kept = {
        _PREFIX + name.replace(".default.", "."): parameter.detach()
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }
    save_file(files.unshare(kept), directory / WEIGHTS, metadata={"format": "pt"})


def describe_adapters(adapters: Adapters, base: str) -> Document:
    """What `merge_adapters` needs to know of saved adapters, ready for JSON."""
    return {"base": base, "adapters": {**asdict(adapters), "alpha": _alpha(adapters)}}


@torch.no_grad()
def merge_adapters(model: nn.Module, directory: Path, told: Values) -> None:
    """Add saved adapters to the weights of the model that they belong to.

    Args:
        model: without adapters; changed in place.
        directory: that `save_adapters` wrote.
        told: the result of `describe_adapters`.

    Raises:
        CheckpointError: the adapters do not fit the model.
    """
    from safetensors.torch import load_file

    place = ""
    try:
        kept, scale = load_file(directory / WEIGHTS), float(told["adapters"]["alpha"]) / int(told["adapters"]["rank"])
        for name in [name for name in kept if name.endswith(".lora_A.weight")]:
            place = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            _add(model.get_submodule(place), kept[name], scale * kept[f"{_PREFIX}{place}.lora_B.weight"])
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"The adapters in {directory} do not fit their base {place}: {error}.") from error


def _add(layer: Any, first: Tensor, second: Tensor) -> None:
    """Add the product of an adapter's matrices to the weights of its layer."""
    transposed = type(layer).__name__ == "Conv1D"
    weight: Tensor = layer.weight.T if transposed else layer.weight
    if weight.shape != (second.shape[0], first.shape[1]):
        raise ValueError(f"they are for weights of shape {(second.shape[0], first.shape[1])}")
    weight.copy_((weight.float() + second.float() @ first.float()).to(weight.dtype))
