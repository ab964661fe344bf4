"""EvoCoT: Overcoming the Exploration Bottleneck in Reinforcement Learning (Liu et al. 2025).

A prompt whose completions all fail gives no gradient. In stage 1 the learner is given the answer and writes a chain of
thought that leads to it. In stage 2 it learns from completions that continue a prefix of such a chain: at first all but
the last step is given, then all but the last two, until it starts from scratch. It then writes new chains.

Departures: a chain is kept if the learner, without the answer, completes it correctly from all steps but the last (in
the authors' code, gtxygyzb/EvoCoT, if its own answer is right); chains are written when their prompt is sampled and
fails, not for all prompts beforehand; all prefixes lose one more step once a share `enough` of their completions is
right, where the paper removes one after each pass over the prompts; prompts that are solved from scratch are also
trained on; and the loss is averaged over all tokens of a step, as in `grpo`. `prefixes=random` draws the number of
steps.

Compared with sample/prepare_step_RL_data.py and scripts/3grpo.sh of gtxygyzb/EvoCoT, which trains with verl's GRPO: the
choice of failed prompts and the cut from the end agree. There one step of a chain always stays, and the KL has a weight
of 0.0001. Values and gradients:
`tests/methods/test_language_prefixes.py::test_the_loss_is_the_clipped_one_of_what_was_written_behind_the_steps`.

On `sorting:careless`, it is undecided against a tuned `grpo` (-0.3 points, -0.8 to +0.2), undecided against "untaught"
(0.0, -0.6 to +0.7), and undecided against itself without its mechanism ("random prefixes") (-0.1, -0.5 to +0.4); no arm
differs from any other by the smallest effect of interest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from didact import hashing
from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.policy.groups import failed_groups
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.policy.surrogate import ClipConfig
from didact.rollouts import Chains, Rollouts, concat, continue_prefixes, write_chains
from didact.types import Batch, LanguageLearner, Method, Question, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config(ClipConfig):
    """Options of `evocot`."""

    template: str = "{prompt}{answer}:"  # prompt that gives the answer, with {prompt} and {answer}
    separator: str = "\n"  # separator between the steps of a chain of thought
    chains: int = 4  # chains sampled for a failed prompt; the first good one is kept
    enough: float = 0.5  # accuracy of completions of prefixes at which one more step is removed
    prefixes: Literal["shortened", "random"] = "shortened"  # length of prefixes: shrinking, or random

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{prompt}" not in self.template or "{answer}" not in self.template:
            raise ConfigError(f"template is {self.template!r}; it must have {{prompt}} and {{answer}} in it.")
        if not self.separator:
            raise ConfigError("separator is empty; give the text between steps, such as a line break.")
        check_range("chains", self.chains, at_least=1)
        check_range("enough", self.enough, above=0.0, at_most=1.0)


class EvoCoT(Method):
    """Learn to solve prompts from scratch by completing prefixes of own chains of thought.

    Args:
        config: the options.
        learner: a causal language model.
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner) -> None:
        self.config = config
        self.learner = learner
        self.chains = Chains(config.separator)

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts with their `advantage`, and `prefixed`, 1 if they complete a prefix; [B] each."""
        config, chains = self.config, self.chains.texts
        fresh = [question for question in questions if question.id not in chains]
        parts = list[Rollouts]()
        if fresh:
            first = continue_prefixes(writer, fresh, [""] * len(fresh))
            failed = set(first.batch["id"][failed_groups(first.batch["correct"], first.batch["group"])].tolist())
            chains |= write_chains(
                writer,
                [question for question in fresh if question.id in failed],
                template=config.template,
                separator=config.separator,
                samples=config.chains,
                turns=(1, 2),
            )
            kept = torch.tensor([question.id not in chains for question in first.questions])
            parts += [first.select(kept)] if kept.any() else []
        helped = [question for question in questions if question.id in chains]
        if helped:
            parts.append(continue_prefixes(writer, helped, self._prefixes(helped, writer), turn=3))
            self.chains.shorten(float(parts[-1].batch["correct"].mean()), config.enough)
        return add_advantages(concat(parts).batch)

    def _prefixes(self, questions: Sequence[Question], writer: Any) -> list[str]:
        """The prefix of each prompt's chain."""
        ids = [question.id for question in questions]
        if self.config.prefixes == "shortened":
            return [self.chains.prefix(number) for number in ids]
        chances = hashing.uniform(torch.tensor(ids), writer.seed, f"evocot/{writer.round}").tolist()
        return [self.chains.prefix(number, chance) for number, chance in zip(ids, chances, strict=True)]

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; the others are metrics."""
        config = self.config
        tokens = policy_outputs(self.learner(batch), batch)
        losses = tokens.ppo_clip_loss(batch["advantage"], *config.clip)
        return Terms(policy=tokens.rows.term(losses), **tokens.metrics(batch, prefixed=batch["prefixed"]))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens, and completions."""
        return {**rollout_counts(batch, {"policy": "token"}), "prefixed": float(batch.size)}


CLAIM = Claim(
    statement="A decoder whose completions nearly all fail is right on more held-out prompts if it learns from "
    "completions of ever shorter prefixes of its own chains of thought than from completions alone.",
    arms={
        "evocot": "evocot",
        "grpo": "grpo",
        "random prefixes": {"method": "evocot", "prefixes": "random"},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="evocot",
    baseline="grpo",
    cheap="untaught",
    ablation="random prefixes",
    smallest_effect=0.05,
    search={"evocot": {"lr": (3e-4, 6e-4)}, "grpo": {"lr": (3e-4, 6e-4)}},
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309),
    settings={
        "student": "warm:15%:decoder:2x64",
        "sampling": "max_new_tokens=20,samples=8,slots=256",
        "steps": 40,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="64 completions a step are learned from by every arm; the chains cost evocot more sampled tokens.",
    omits="Chains that are long and free in form, and prompts so hard that only few chains are found.",
    world="sorting:careless",
    systems=("evocot",),
)
