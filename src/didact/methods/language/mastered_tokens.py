"""UloRL: An Ultra-Long Output Reinforcement Learning Approach for Advancing LLMs' Reasoning (Du et al. 2025).

GRPO without the tokens that are mastered: where the mean entropy of a right completion is below `target_entropy`, those
of its tokens that are nearly certain are left out of the loss. Learning them again would only sharpen the distribution,
until nothing new is sampled any more (entropy collapse). The mask comes and goes, so that the entropy stays near it.

`segments` divides the largest length: in a round, each completion is continued by one segment, and those that have not
ended go on in the next, so that a round does not wait for the longest. All tokens count as the present policy's.

Departures: prompts whose rewards are all equal are kept and teach nothing, where the paper samples others (`redraw` of
`grpo`); and a prompt is learned once all of its completions have ended. As in the paper, there is no divergence, all
tokens weigh alike, and those that are left out are counted.

Compared with no code: the authors' repository (liushulinle/ULORL) holds none of the training.

Formula: `tests/methods/test_language_stability.py::test_mastered_tokens_is_its_transcription`.

On `addition`, it is equivalent to a tuned `grpo` (+0.6 points, -0.6 to +1.8), worse than `sft` by 18.2 (13.6 to 22.8),
and undecided against itself without its mechanism ("all tokens") (+0.1, -0.2 to +0.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.selection import mastered_tokens
from didact.losses.policy.surrogate import ClipConfig
from didact.rollouts import Segments
from didact.rollouts.writer import TURNS
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `mastered_tokens`."""

    sure: float = 0.99  # the least probability of a token that is mastered
    target_entropy: float = 0.2  # of a completion, in nats a token, below which mastered tokens are left out; 0: never
    segments: int = 1  # over so many rounds the longest completions are sampled
    updates: int = 1  # optimizer steps on each round of completions

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("sure", self.sure, above=0.0, below=1.0)
        check_range("target_entropy", self.target_entropy, at_least=0.0)
        check_range("segments", self.segments, at_least=1, below=TURNS)
        check_range("updates", self.updates, at_least=1)


class MasteredTokens(Method):
    """Learn from rewards relative to a group, without what is mastered.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts; only with `segments`.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, off_policy="weighted", grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Any = ()) -> None:
        self.config, self.learner = config, learner
        self.segments = Segments(config.segments, questions) if config.segments > 1 else None
        self.feed = replace(self.feed, minibatches=config.updates)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B]."""
        found = writer.write(questions) if self.segments is None else self.segments.write(writer, questions)
        return add_advantages(found.batch)

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over all tokens; `mastered` is the share of those that are left out."""
        config, tokens = self.config, policy_outputs(self.learner(batch), batch)
        rows = tokens.rows
        entropy = rows.spread(rows.sums(tokens.entropy) / rows.lengths().clamp(min=1.0))
        mastered = mastered_tokens(
            tokens.log_probs, entropy, rows.spread(batch["reward"]), sure=config.sure, target=config.target_entropy
        )
        losses = tokens.ppo_clip_loss(batch["advantage"], *config.clip) * (1.0 - mastered)
        return Terms(policy=rows.term(losses), **tokens.metrics(batch, mastered=mastered))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens."""
        return rollout_counts(batch, {"policy": "token", "mastered": "token"})


CLAIM = Claim(
    statement="A decoder that learns from rewards without what it has mastered is right on more sums than one that "
    "learns all tokens.",
    arms={
        "mastered_tokens": "mastered_tokens",
        "grpo": "grpo",
        "all tokens": {"method": "mastered_tokens", "target_entropy": 0.0},
        "sft": {"method": "sft", "lr": 1e-3},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="mastered_tokens",
    baseline="grpo",
    cheap="sft",
    ablation="all tokens",
    untaught="untaught",
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 50,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    world="addition",
    smallest_effect=0.03,
    search={
        "mastered_tokens": {"lr": (2e-4, 5e-4), "target_entropy": (0.2, 0.5)},
        "grpo": {"lr": (1e-4, 2e-4, 5e-4, 1e-3)},
    },
    seeds=(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111),
    tuned_on=(0, 1, 2),
    shows="Whether leaving out sure tokens of right completions helps, at as many completions of the model itself.",
    omits="Long reasoning, its entropy over hundreds of steps, and sampling in segments.",
    systems=("ulorl",),
)
