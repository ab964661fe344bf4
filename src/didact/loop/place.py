"""The place of a process: its device, and its rank among those that train together."""

import atexit
import os
from datetime import timedelta

import torch
import torch.distributed as dist

from didact.errors import ConfigError
from didact.types import Place
from didact.types.place import together

WAIT = timedelta(minutes=30)
"""The time that a process waits for the others, such as while one of them evaluates."""


def find_place(device: torch.device) -> Place:
    """The place of this process: one of several if `torchrun` started it.

    Args:
        device: its device; on `cuda`, each process of a machine takes a GPU of its own.

    Raises:
        ConfigError: more processes than GPUs.
        PeerError: the others cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        return Place(device)
    if device.type == "cuda":
        local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= here:
            raise ConfigError(f"device is 'cuda', but process {local} of this machine finds {here} GPUs; start fewer.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        with together():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=WAIT)
        # The threads of the group abort the process if they outlive the interpreter.
        atexit.register(dist.destroy_process_group)
    return Place(device, dist.get_rank(), dist.get_world_size())
