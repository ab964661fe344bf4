"""More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse Exploration (Yuan et al. 2025, AMPO).

AMPO learns from its own completions as GRPO does. Where all completions of a prompt fail, some give way to right
answers of a pool of teachers: those after whose reasoning the learner itself finds the right answer likeliest. They are
compared with the failures that are left, and in the place of a ratio stands the probability of each token, bent
upwards. Teachers are language models (`teacher="SPEC+SPEC"`, of any tokenizers), each asked once for a question
whenever the learner fails at it, or a table of texts by their names, which the data have under `rationales`, or both.

Departures: comprehension is that of the answer as it stands in the teacher's text (of all of the text where it does
not); the loss is averaged over a step's tokens (by the longest length in the authors' code), without an entropy bonus.

Its claim is not replicated, though one teacher, of the shortest way, helps on all seeds; other learning rates,
beginnings and lengths were tried. Where the pool lost, the student kept to the longer ways that it was shown as well.
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
from didact.losses.policy.selection import best_of_group
from didact.losses.policy.surrogate import policy_shaping_loss
from didact.rollouts import accepted_answers, comprehension_scores, rationales_of, replace_rollouts, teacher_answers
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `ampo`."""

    replaced: int = (
        2  # completions at a failed question that teachers' answers take the place of, where there are enough
    )
    solvers: tuple[str, ...] = ()  # whose rationales of the data are used, by name; all by default
    shape: float = 0.1  # at which probability a teacher's token teaches most
    scale: bool = False  # divide advantages by the standard deviation of their group

    def __post_init__(self) -> None:
        check_range("replaced", self.replaced, at_least=1)
        check_range("shape", self.shape, above=0.0)


class AMPO(Method):
    """Learn from completions, and from several teachers where all completions fail.

    Args:
        config: the options.
        learner: a causal language model.
        questions: those of the training, some of which may have `rationales` in their `data`.
        teachers: language models; none where the data have rationales.

    Raises:
        ConfigError: there is neither a teacher nor a rationale.
    """

    feed = RolloutFeed(judged="verifier", rate=0.1, tokenizers="any")

    def __init__(
        self, config: Config, learner: LanguageLearner, questions: Questions, teachers: Sequence[Any] = ()
    ) -> None:
        self.config, self.learner, self.pool = config, learner, list(teachers)
        if not self.pool and not any(self._told(question) for question in questions):
            raise ConfigError(
                f"ampo has no teacher, and no question has rationales of {' or '.join(config.solvers) or 'anyone'}; "
                "give teacher=SPEC+SPEC, or a column rationales with a table of texts by the names of their writers."
            )

    def _told(self, question: Question) -> list[tuple[Question, str]]:
        known = rationales_of(question)
        return [(question, text) for name, text in known.items() if name in (self.config.solvers or known)]

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts, and teachers' answers in the place of some, with their `advantage` [B]; `own` tells them apart."""
        if self.config.replaced >= writer.sampling.samples:
            raise ConfigError(
                f"replaced is {self.config.replaced}, but there are {writer.sampling.samples} rollouts of a question, "
                "and one at least must stay; give more samples."
            )
        batch = writer.write(questions).batch
        ids = set(batch["group"][failed_groups(batch["correct"], batch["group"])].tolist())
        found = self._guidance(list({q.id: q for q in questions if q.id in ids}.values()), writer)
        mixed = Batch({**batch, "own": torch.ones(batch.size)}) if found is None else replace_rollouts(batch, found)
        return add_advantages(mixed, scale=self.config.scale)

    def _guidance(self, failed: Sequence[Question], writer: Any) -> Batch | None:
        """Of teachers' right answers to questions, those that the learner follows best; None where there are none."""
        told = [pair for question in failed for pair in self._told(question)]
        told += teacher_answers(writer, [teacher.learner for teacher in self.pool], failed)
        right = accepted_answers(writer, told)
        if right is None:
            return None
        score = comprehension_scores(self.learner, right)
        return right.batch.select(best_of_group(score, right.batch["group"], self.config.replaced))

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; the others are for looking at."""
        tokens = policy_outputs(self.learner(batch), batch)
        own, advantage = (tokens.rows.spread(batch[name]) for name in ("own", "advantage"))
        mine = tokens.ppo_clip_loss(batch["advantage"])
        theirs = policy_shaping_loss(tokens.log_probs, advantage, self.config.shape)
        terms = Terms(policy=tokens.rows.term(own * mine + (1.0 - own) * theirs))
        terms |= tokens.metrics(batch, guided=1.0 - batch["own"])
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens; and the completions, of the share that is guided."""
        return {**rollout_counts(batch, {"policy": "token"}), "guided": float(batch.size)}


CLAIM = Claim(
    statement="A decoder that writes sums out in three ways is right on more of them after learning from its "
    "completions with answers of three solvers where all completions fail than from its completions alone.",
    arms={
        "ampo": "ampo",
        "grpo": {"method": "grpo", "scale": False},
        "one teacher": {"method": "ampo", "solvers": ("columns",)},
        "another teacher": {"method": "ampo", "solvers": ("rounding",)},
        "sft": {"method": "sft", "lr": 0.001},
    },
    method="ampo",
    baseline="grpo",
    cheap="sft",
    settings={
        "student": "warm:20%:decoder:2x64",
        "sampling": "max_new_tokens=25,samples=8",
        "steps": 60,
        "batch_size": 128,
        "lr": 0.0005,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="What a few right answers that the learner can follow add to rewards where these are rare.",
    omits="Teachers that are language models, whose styles are not as clear cut; long reasoning; pass@k.",
    world="addition:ways",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0, 1),
    tuned="The learning rate of ampo, grpo and one teacher (0.0005, 0.001); where all begin (10, 20, 30%), and steps.",
    systems=("more-than-one-teacher",),
)
