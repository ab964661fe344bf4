"""Supervised fine-tuning of a language model: the cross-entropy of given completions.

The next-token loss over the tokens of each completion, and not over those of its prompt. This is the baseline that
methods with a teacher or a reward have to beat, and the start of most of them.

Departures: none.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.losses.tokens.rows import select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `sft`: none."""


class SFT(Method):
    """Fit the completions of the data.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = CompletionFeed(dropout=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner

    def loss(self, batch: Batch) -> Terms:
        """The term `answer`, averaged over tokens."""
        rows = select_tokens(self.learner(batch), batch)
        return Terms(answer=completion_cross_entropy(rows))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of the completions."""
        return {"answer": token_counts(batch)["token"]}


CLAIM = Claim(
    statement="In as many steps from the same warm start, a model that fits demonstrations is right more often than "
    "one that learns from rewards of its own completions.",
    arms={
        "sft": {"method": "sft", "lr": 0.001},
        "grpo": {"method": "grpo", "lr": 0.0003},
        "reinforce": {"method": "reinforce", "lr": 0.0003},
    },
    method="sft",
    baseline="grpo",
    cheap="reinforce",
    settings={
        "student": "warm:300:decoder:2x64",
        "batch_size": 64,
        "steps": 100,
        "warmup": 0.3,
        "sampling": {"max_new_tokens": 14, "samples": 4},
    },
    equal="steps",
    world="rewriting",
    seeds=(100, 101, 102, 103, 104),
    tuned_on=(0,),
    tuned="The learning rate of learning from rewards (0.0001, 0.0003, 0.001); that of sft was not tuned.",
    shows="The value of a demonstration for each prompt, compared with a verifier that scores completions.",
    omits="Prompts without a demonstration, for which there are only rewards; and demonstrations that generalise less "
    "than the model's own solutions.",
)
