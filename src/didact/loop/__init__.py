"""The training loop: fit, its budget, optimizer, checkpoints and run directory."""

from didact.loop.budget import Budget
from didact.loop.checkpoint import load_checkpoint, load_latest, read_checkpoint, save_checkpoint
from didact.loop.config import LoopConfig, Validation
from didact.loop.fitting import fit
from didact.loop.optimizer import OptimizerConfig
from didact.loop.result import FitResult
from didact.loop.run import RunDirectory

__all__ = [
    "Budget",
    "Validation",
    "FitResult",
    "LoopConfig",
    "OptimizerConfig",
    "RunDirectory",
    "fit",
    "load_checkpoint",
    "load_latest",
    "read_checkpoint",
    "save_checkpoint",
]
