"""Sources: where examples come from, how they are split, and how they become batches."""

from didact.sources.arrays import from_tensors
from didact.sources.batches import BatchSource
from didact.sources.completions import CompletionSource
from didact.sources.config import BatchConfig, DataConfig, SplitConfig
from didact.sources.imputing import fill, fill_values, impute
from didact.sources.loading import load
from didact.sources.phases import Phases
from didact.sources.questions import (
    duplicate_questions,
    fingerprint_questions,
    from_records,
    load_questions,
    split_questions,
)
from didact.sources.rated import rated_answers
from didact.sources.rounds import Rounds
from didact.sources.splitting import Duplicate, Splits, duplicates, fingerprint, keep_labels, split
from didact.sources.streams import split_tasks
from didact.sources.targets import on_target
from didact.sources.text import ByteTokenizer, add_view
from didact.sources.turning import TURNS, turned

__all__ = [
    "TURNS",
    "BatchConfig",
    "BatchSource",
    "ByteTokenizer",
    "CompletionSource",
    "DataConfig",
    "Duplicate",
    "Phases",
    "Rounds",
    "SplitConfig",
    "Splits",
    "add_view",
    "duplicate_questions",
    "duplicates",
    "fill",
    "fill_values",
    "fingerprint",
    "fingerprint_questions",
    "from_records",
    "from_tensors",
    "impute",
    "keep_labels",
    "load",
    "load_questions",
    "on_target",
    "rated_answers",
    "split",
    "split_questions",
    "split_tasks",
    "turned",
]
