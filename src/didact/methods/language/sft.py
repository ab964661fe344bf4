"""Supervised fine-tuning of a language model: the cross-entropy of given completions.

The next-token loss over the tokens of each completion, and not over those of its prompt. This is the baseline that
methods with a teacher or a reward have to beat, and the start of most of them.

`texts` says what is learned of a question: its completion, or columns of the data, so that one file serves to compare
them. A column holds another completion of the prompt, or a mapping of a `prompt` and its `completion`. Critique
fine-tuning (Wang, Yue & Chen 2025) is `texts=critique`, with prompts that show an attempt; mistake tuning (Tong et al.
2024) is `texts=completion,mistake`, with a tag in the prompts; progressive learning (Mukherjee et al. 2023, Orca) is
`texts=assistant,expert,first=0.5`, from the weaker teacher to the better one.

Departures: none.

Compared with trl/trainer/sft_trainer.py of huggingface/trl: the mean over the tokens of all completions of a step, with
the end of the sequence and without the prompt, agrees. Values and gradients:
`tests/methods/test_language_teachers.py::test_sft_is_its_transcription`.

On `last_letter`, it is undecided against a tuned `grpo` (+33.9 points, +27.3 to +40.5), undecided against `reinforce`
(+33.4, +28.5 to +38.2), and better than itself without its mechanism ("untaught") by 34.2 (29.0 to 39.5); grpo is
untrained: it is no better than untaught.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.tokens.rows import select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `sft`."""

    texts: tuple[str, ...] = ("completion",)  # what is learned: the completion, or columns with other texts
    first: float = 0.0  # share of the steps in which the first text is learned alone, before the others; 0 mixes them

    def __post_init__(self) -> None:
        check_range("first", self.first, at_least=0.0, below=1.0)
        if not self.texts or len(set(self.texts)) < len(self.texts):
            raise ConfigError(f"texts is {list(self.texts)}; name at least one, each once, such as completion.")
        if self.first and len(self.texts) == 1:
            raise ConfigError(
                f"first is {self.first:g}, but texts has {self.texts[0]!r} alone; name another, or leave it out."
            )


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
        self.feed = replace(self.feed, texts=config.texts, first=config.first)

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
        "sft": "sft",
        "grpo": "grpo",
        "reinforce": "reinforce",
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="sft",
    baseline="grpo",
    cheap="reinforce",
    ablation="untaught",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "sft": {"lr": (0.0003, 0.001, 0.003)},
        "grpo": {"lr": (0.0003, 0.001, 0.003)},
        "reinforce": {"lr": (0.0003, 0.001, 0.003)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:30%:decoder:1x32",
        "batch_size": 64,
        "steps": 40,
        "warmup": 0.1,
        "sampling": {"max_new_tokens": 2, "samples": 4},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="last_letter",
    shows="The value of a demonstration for each prompt, compared with a verifier that scores completions.",
    omits="Prompts without a demonstration, for which there are only rewards; and demonstrations that generalise less "
    "than the model's own solutions.",
)
