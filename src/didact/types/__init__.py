"""The nouns of didact, and the protocols of its parts.

Every room imports this package; of didact, it imports the errors alone. Axis letters used throughout:
B batch, C classes, D width of a representation, T tokens or steps, V vocabulary, N examples.
"""

from didact.types.batches import IGNORE, Batch, is_labelled
from didact.types.costs import Cost, LabelsSpentError, Ledger
from didact.types.data import (
    Examples,
    Lazy,
    Modality,
    Preprocessing,
    Question,
    Questions,
    Rows,
    Scale,
    Standardisation,
    Task,
)
from didact.types.feeds import CompletionFeed, ExampleFeed, Feed, RolloutFeed, StepFeed, Strength, TaskFeed
from didact.types.figures import LOWER_IS_BETTER
from didact.types.groups import Group
from didact.types.health import LEVELS, HeldOut, Level, Monitor, Verdict, Window
from didact.types.methods import Method
from didact.types.outputs import Head, Output, TokenOutput
from didact.types.pixels import MASK, PixelBatch, per_pixel, pixel_labels, pixels_of
from didact.types.place import Place
from didact.types.roles import (
    RESTARTS,
    Actor,
    Curriculum,
    FeedbackSource,
    FollowingTeacher,
    LanguageLearner,
    Learner,
    Player,
    Pool,
    Restart,
    SharedSource,
    Source,
    Spender,
    Stateful,
    Teacher,
)
from didact.types.scores import LOG_FLOOR, Space
from didact.types.signals import (
    EMBEDDING,
    SILENT,
    Derived,
    Features,
    Labels,
    Logits,
    Pending,
    Reward,
    Signal,
    States,
    StepRewards,
    TopK,
)
from didact.types.state import Buffer
from didact.types.terms import LEAST_COUNT, Term, Terms

__all__ = [
    "Actor",
    "Batch",
    "Buffer",
    "CompletionFeed",
    "Cost",
    "Curriculum",
    "Derived",
    "EMBEDDING",
    "ExampleFeed",
    "Examples",
    "Features",
    "Feed",
    "FeedbackSource",
    "FollowingTeacher",
    "SharedSource",
    "Group",
    "HeldOut",
    "Head",
    "IGNORE",
    "LEAST_COUNT",
    "LEVELS",
    "LabelsSpentError",
    "LOG_FLOOR",
    "LOWER_IS_BETTER",
    "Labels",
    "LanguageLearner",
    "Lazy",
    "Learner",
    "Ledger",
    "Level",
    "Logits",
    "MASK",
    "Method",
    "Modality",
    "Standardisation",
    "Monitor",
    "Output",
    "Pending",
    "PixelBatch",
    "Place",
    "Player",
    "Pool",
    "Preprocessing",
    "Question",
    "Questions",
    "RESTARTS",
    "Restart",
    "Reward",
    "StepRewards",
    "RolloutFeed",
    "Rows",
    "SILENT",
    "Scale",
    "Signal",
    "Source",
    "Space",
    "Spender",
    "Stateful",
    "StepFeed",
    "Strength",
    "States",
    "Task",
    "TaskFeed",
    "Teacher",
    "Term",
    "Terms",
    "TokenOutput",
    "TopK",
    "Verdict",
    "Window",
    "is_labelled",
    "per_pixel",
    "pixel_labels",
    "pixels_of",
]
