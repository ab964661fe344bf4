"""Sources: where examples come from, how they are split, and how they become batches."""

from didact.sources.arrays import from_tensors
from didact.sources.asking import LabelPool, PoolRounds, see
from didact.sources.batches import BatchSource
from didact.sources.completions import CompletionSource
from didact.sources.config import BatchConfig, DataConfig, SplitConfig
from didact.sources.encoding import fit_preprocessing, fit_scale
from didact.sources.loading import from_frame, load
from didact.sources.made_up import make_up, with_made_up
from didact.sources.mixing import distinct_ids, join_questions, read_mixture
from didact.sources.phases import Phases
from didact.sources.questions import (
    find_duplicate_questions,
    fingerprint_questions,
    from_records,
    load_questions,
    split_questions,
)
from didact.sources.rated import rated_answers
from didact.sources.redrawing import redraw_labels
from didact.sources.rotating import TURNS, rotations
from didact.sources.rounds import Rounds
from didact.sources.splitting import (
    Duplicate,
    Splits,
    arrange,
    find_duplicates,
    fingerprint,
    keep_labels,
    split,
)
from didact.sources.steps import step_ends, token_ends
from didact.sources.streams import split_tasks
from didact.sources.targets import switch_target
from didact.sources.text import ByteTokenizer, add_view
from didact.sources.texts import COMPLETION, select_texts

__all__ = [
    "COMPLETION",
    "TURNS",
    "BatchConfig",
    "BatchSource",
    "ByteTokenizer",
    "CompletionSource",
    "DataConfig",
    "Duplicate",
    "LabelPool",
    "Phases",
    "PoolRounds",
    "Rounds",
    "SplitConfig",
    "Splits",
    "add_view",
    "arrange",
    "distinct_ids",
    "find_duplicate_questions",
    "find_duplicates",
    "fingerprint",
    "fit_preprocessing",
    "fit_scale",
    "fingerprint_questions",
    "from_frame",
    "from_records",
    "from_tensors",
    "join_questions",
    "keep_labels",
    "load",
    "load_questions",
    "make_up",
    "switch_target",
    "rated_answers",
    "redraw_labels",
    "read_mixture",
    "split",
    "split_questions",
    "split_tasks",
    "rotations",
    "see",
    "step_ends",
    "token_ends",
    "select_texts",
    "with_made_up",
]
