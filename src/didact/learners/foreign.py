"""Checks of Hugging Face directories from elsewhere, before transformers opens them.

No code that comes with a model is run, nothing is unpickled, nothing is downloaded for a local directory, and claims of
its files about sizes are checked against the weights.
"""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from didact import files, trusting
from didact.documents import MEBIBYTE, Document, read_object
from didact.errors import ConfigError, MissingExtraError

GIBIBYTE = 1 << 30
LARGEST = {"tokenizer.json": 512, "vocab.json": 512, "model.safetensors.index.json": 64, "chat_template.jinja": 1}
"""The largest size of a text file in mebibytes, by its name."""
LARGEST_OTHER = 16
"""The same for every other .json, .jinja and .txt."""
PACKED = 16
"""The most parameters a model may have for each number in its files; quantized, eight parameters share an int32."""


@contextlib.contextmanager
def check_model(name: str) -> Iterator[None]:
    """Check a model before it is opened, and keep Hugging Face's libraries offline if it is a directory.

    Args:
        name: directory or hub name.

    Raises:
        TrustError: a file asks for a model of the hub that the user did not name.
        ConfigError: the directory has something that is refused; the message names it.
    """
    path = Path(name)
    if not path.is_dir():
        trusting.check(f"hf:{name}", "download")
        yield
        return
    _check_sizes(path)
    _check_adapter(path)
    _check_config(path)
    with offline():
        yield


@contextlib.contextmanager
def gguf_file(path: Path) -> Iterator[Document]:
    """Open a GGUF file without the network.

    Args:
        path: the file.

    Yields:
        The arguments of `from_pretrained` for it.

    Raises:
        MissingExtraError: gguf is not installed.
    """
    _gguf(path)
    with offline():
        yield {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


def check_gguf(path: Path) -> None:
    """Refuse a GGUF file that is broken, or that declares more layers than it has tensors.

    Raises:
        ConfigError: it is such a file.
        MissingExtraError: gguf is not installed.
    """
    try:
        header = _gguf(path).GGUFReader(path)
    except MissingExtraError:
        raise
    except Exception as error:  # the reader trusts the file, and raises whatever comes of that
        raise ConfigError(f"{str(path)!r} is no readable GGUF file: {error}. Convert the model again.") from error
    for name, field in header.fields.items():
        layers = int(field.parts[field.data[0]][0]) if name.endswith(".block_count") else 0
        if not 0 <= layers <= len(header.tensors):
            raise ConfigError(
                f"{path} gives {name} as {layers}, but holds {len(header.tensors)} tensors. Convert the model again."
            )


def _gguf(path: Path) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("gguf", "gguf", f"Reading {path.name}") from error
    return gguf


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep Hugging Face's libraries offline within this context."""
    homes = [("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")]
    there = [(sys.modules[module], name) for module, name in homes if module in sys.modules]
    before = [getattr(module, name) for module, name in there]
    for module, name in there:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(there, before, strict=True):
            setattr(module, name, value)


def check_weights(name: str) -> None:
    """Refuse a directory whose weights are not intact safetensors; from the hub, transformers loads nothing else.

    Raises:
        ConfigError: no safetensors, or an index that names other files.
        CheckpointError: didact wrote the directory, and a file is not what was written.
    """
    path = Path(name)
    if not path.is_dir():
        return
    if (path / files.MANIFEST).is_file():
        files.check_directory(path)
    if not any(path.glob("*.safetensors")):
        raise _without_weights(path)
    index = path / "model.safetensors.index.json"
    shards = read_json(index).get("weight_map", {}) if index.is_file() else {}
    for shard in set(shards.values()) if isinstance(shards, dict) else ():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ConfigError(f"{index} names the file {shard!r}; weights lie in *.safetensors beside it.")


def check_parameters(name: str | Path, build: Callable[[], Any], *, itemsize: float = 4) -> None:
    """Refuse a directory whose configuration speaks of more parameters than its weights can be, or than fit in memory.

    Args:
        name: a directory; what comes from the hub is not looked at.
        build: makes the model of the configuration; it is called where tensors have shapes alone.
        itemsize: bytes of a parameter once it is loaded.

    Raises:
        ConfigError: it has more than `PACKED` times as many as there are numbers in the files, or too many for this
            machine.
    """
    path = Path(name)
    if not path.is_dir():
        return
    import torch

    with torch.device("meta"):
        described = sum(parameter.numel() for parameter in build().parameters())
    held, memory = sum(map(math.prod, _shapes(path))), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if described > PACKED * held:
        raise ConfigError(
            f"{path / 'config.json'} describes a model of {described:,} parameters, but the weights beside it are "
            f"{held:,} numbers. Save the model again."
        )
    if described * itemsize > memory:
        raise ConfigError(
            f"{str(path)!r} has {described:,} parameters, which take {described * itemsize / GIBIBYTE:,.1f} GiB; this "
            f"machine has {memory / GIBIBYTE:,.1f}. Give a smaller model, or one of a type with fewer bytes."
        )


def read_json(path: Path) -> Document:
    """A JSON object from a model's directory.

    Raises:
        ConfigError: it can't be read, or is not an object.
    """
    try:
        return read_object(path, largest=LARGEST.get(path.name, LARGEST_OTHER) * MEBIBYTE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}. Save the model again.") from error


def _without_weights(path: Path) -> ConfigError:
    pickled = sorted(p.name for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in path.glob(suffix))
    if pickled:
        return ConfigError(
            f"{str(path)!r} holds its weights in {pickled[0]}, a pickle, which can run any code when it is opened, and "
            "is refused. Where you trust it, load the model yourself and save it again with save_pretrained, which "
            "writes model.safetensors."
        )
    return ConfigError(f"{str(path)!r} holds no *.safetensors; save the model there with save_pretrained.")


def _check_sizes(path: Path) -> None:
    """Refuse oversized text files, which could fill the memory when read."""
    for file in path.rglob("*"):
        if file.suffix in (".json", ".jinja", ".txt") and file.is_file():
            most = LARGEST.get(file.name, LARGEST_OTHER)
            if (size := file.stat().st_size) > most * MEBIBYTE:
                raise ConfigError(f"{file} has {size / MEBIBYTE:.0f} MiB, more than the {most} that it may have.")


def _check_adapter(path: Path) -> None:
    """Refuse an adapter, which would have its base model downloaded or its weights unpickled."""
    if (path / "adapter_config.json").exists():
        raise ConfigError(
            f"{str(path)!r} holds an adapter (adapter_config.json), which names another model; merge it into that one "
            "with merge_and_unload, and save the whole with save_pretrained."
        )


def _check_config(path: Path) -> None:
    """Refuse a configuration that asks for kernels from the hub, or for more layers than there are weights."""
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    tensors = len(_shapes(path))
    for name, value in _entries(config):
        layers = name.endswith(("_layers", "n_layer")) and not name.startswith("max_")
        if layers and tensors and isinstance(value, int) and not 0 <= value <= tensors:
            raise ConfigError(
                f"{path / 'config.json'} gives {name} as {value}, but the weights beside it are {tensors} tensors. "
                "Save the model again."
            )
        if name.endswith("_implementation") and "/" in str(value):
            raise ConfigError(
                f"{path / 'config.json'} asks for the code {value!r} of the hub as its {name}; remove that line."
            )


def _shapes(path: Path) -> list[list[int]]:
    """The shapes of the tensors in a directory's weights, from their headers alone."""
    from safetensors import SafetensorError, safe_open

    try:
        opened = [safe_open(file, framework="pt") for file in path.glob("*.safetensors") if file.is_file()]
        return [weights.get_slice(name).get_shape() for weights in opened for name in weights.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"The weights in {path} can't be read: {error}. Save the model again.") from error


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, in objects at any depth."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield str(key), item
        if isinstance(item, dict | list):
            yield from _entries(item)
