"""Learning What Reinforcement Learning Can't: Interleaved Online Fine-Tuning for Hardest Questions (Ma et al. 2025).

ReLIFT learns from its own completions as GRPO does. A prompt whose completions all fail gives no gradient that way: if
the data have a demonstration for it, it is buffered, and once enough are, their demonstrations are learned.

Departures: demonstrations, the data's (theirs: a large model's), share the step of the round that fills the buffer.
Compared with trainer.py and actor.py of TheRoadQaQ/ReLIFT (in relift/verl/verl/relift/): which are buffered and the
cross-entropy agree. There 128 make a step of their own, and the policy's loss is a sum over the longest length:
`tests/methods/test_language_rows_b.py::test_the_loss_is_that_of_grpo_and_the_cross_entropy_of_demonstrations`.

On `addition`, it is equivalent to a tuned `grpo` (+1.5 points, +0.3 to +2.7), and worse than `sft` by 14.0 (8.9 to
19.0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.policy.groups import failed_groups
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.surrogate import ClipConfig
from didact.losses.tokens.rows import token_counts
from didact.rollouts import append_off_policy, completion_of
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `relift`."""

    demonstrations: int = 16  # failed prompts that are buffered before their demonstrations are learned
    demonstration: float = 1.0  # weight of the demonstrations' cross-entropy

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("demonstrations", self.demonstrations, at_least=1)
        check_range("demonstration", self.demonstration, above=0.0)


class _Failed:
    """The buffer of failed prompts, by id; `Stateful`."""

    def __init__(self, questions: Questions, learner: Any) -> None:
        self.known = {question.id: question for question in questions if question.completion}
        self.tokenizer, self.context = learner.tokenizer, learner.context
        self.ids: list[int] = []

    def add(self, ids: Sequence[int]) -> None:
        """Buffer prompts, each once, whose demonstration fits into the learner's context."""
        new = [i for i in dict.fromkeys(ids) if i in self.known and i not in self.ids]
        self.ids += [i for i in new if self._fits(self.known[i])]

    def _fits(self, question: Question) -> bool:
        tokens = self.tokenizer.prompt(question), self.tokenizer.completion(question, completion_of(question))
        return sum(map(len, tokens)) <= self.context

    def pop_all(self) -> list[Question]:
        """Empty the buffer and return its prompts."""
        found, self.ids = [self.known[i] for i in self.ids], []
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"ids": torch.tensor(self.ids, dtype=torch.int64)}

    def load_state_dict(self, state: Any, /) -> None:
        self.ids = state["ids"].tolist()


class ReLIFT(Method):
    """Learn from completions, and from demonstrations of prompts whose completions all fail.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts, some of which have a `completion` (ConfigError if none has one).
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        self.failed = _Failed(questions, learner)
        if not self.failed.known:
            raise ConfigError("No question has a completion, which relift needs; give its column, or choose grpo.")

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage` [B], and demonstrations once the buffer is full; `own` is 1 for rollouts."""
        batch = add_advantages(writer.write(questions).batch)
        self.failed.add(batch["id"][failed_groups(batch["correct"], batch["group"])].tolist())
        batch = Batch({**batch, "own": torch.ones(batch.size)})
        if len(self.failed.ids) < self.config.demonstrations:
            return batch
        asked = self.failed.pop_all()
        shown = writer.encode(asked, writer.data_completions(asked)).batch
        return append_off_policy(batch, shown, trust=0.0)

    def loss(self, batch: Batch) -> Terms:
        """The terms `policy` and `demonstration`, averaged over tokens; the others are metrics."""
        config = self.config
        tokens = policy_outputs(self.learner(batch), batch)
        rows = tokens.rows
        own = rows.spread(batch["own"])
        policy = tokens.ppo_clip_loss(batch["advantage"], *config.clip)
        terms = Terms(
            policy=rows.term(policy, weight=own),
            demonstration=rows.term(-tokens.log_probs, weight=1.0 - own).times(config.demonstration),
        )
        terms |= tokens.metrics(batch)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens of completions, and those of demonstrations."""
        found = rollout_counts(batch, {"policy": "token"})
        return {**found, "policy": found["entropy"], "demonstration": token_counts(batch)["token"] - found["entropy"]}


CLAIM = Claim(
    statement="Demonstrations of prompts whose completions all fail add to what a decoder learns from completions.",
    arms={"relift": "relift", "grpo": "grpo", "sft": "sft", "untaught": "sft,lr=1e-9,batch_size=1"},
    method="relift",
    baseline="grpo",
    cheap="sft",
    ablation="grpo",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "relift": {"lr": (5e-4, 1e-3), "demonstrations": (8, 16)},
        "grpo": {"lr": (2e-4, 3e-4, 5e-4, 1e-3)},
        "sft": {"lr": (1e-3, 3e-3)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 50,
        "batch_size": 128,
        "clip_norm": 1.0,
    },
    equal="steps",
    shows="What a few demonstrations of prompts beyond the model's reach add to rewards.",
    omits="Long reasoning; and costly demonstrations, of which sft here sees many times as many as relift.",
    world="addition",
    systems=("learning-what-reinforcement-learning-can-t",),
)
