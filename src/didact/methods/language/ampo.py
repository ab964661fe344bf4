"""More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse Exploration (Yuan et al. 2025, AMPO).

AMPO learns from its own completions as GRPO does. Where all completions of a prompt fail, correct answers from a pool
of teachers replace some of them: those after whose reasoning the learner assigns the correct answer the highest
probability. The advantage of a teacher answer is computed against the failures that remain, and its loss uses the
token's probability, shaped to favour unlikely tokens, in place of a ratio. The teachers are language models with any
tokenizers (`teacher="SPEC+SPEC"`), each queried once for a prompt whenever the learner fails at it, or a table of texts
by teacher name in the data's `rationales`, or both.

Departures: comprehension is measured on the answer as it appears in the teacher's text (on the whole text where it does
not appear); the loss is averaged over a step's tokens, without an entropy bonus.

Compared with mix_core_alg.py and prob.py (below ampo/verl/verl/) of SII-Enigma/AMPO: both losses, comprehension and the
defaults agree. There the loss is divided by the longest length, with a bound of 10 for negative advantages and an
entropy bonus of 0.001; the form counts, too. Values and gradients:
`tests/methods/test_language_several_teachers.py::test_ampo_learns_from_teachers_where_all_attempts_fail`.

On `addition:ways`, it is equivalent to a tuned `grpo` (-0.7 points, -2.7 to +1.3), better than `sft` by 6.7 (1.5 to
11.9), and worse than itself without its mechanism ("one teacher") by 7.0 (4.3 to 9.8).
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
from didact.rollouts import rationales_of, replace_rollouts
from didact.rollouts.guidance import accepted_completions, comprehension_scores, teacher_completions
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `ampo`."""

    replaced: int = 2  # completions of a failed prompt that teachers' answers replace, if there are enough
    solvers: tuple[str, ...] = ()  # names of the teachers whose rationales in the data are used; all by default
    shape: float = 0.1  # probability at which a teacher's token has the largest gradient
    scale: bool = False  # divide advantages by the standard deviation of their group

    def __post_init__(self) -> None:
        check_range("replaced", self.replaced, at_least=1)
        check_range("shape", self.shape, above=0.0)


class AMPO(Method):
    """Learn from completions, and from several teachers if all completions fail.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts, some of which may have `rationales` in their `data`.
        teachers: language models; may be empty if the data have rationales (ConfigError with neither).
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True, tokenizers="any")

    def __init__(
        self, config: Config, learner: LanguageLearner, questions: Questions, teachers: Sequence[Any] = ()
    ) -> None:
        self.config, self.learner, self.pool = config, learner, list(teachers)
        if not self.pool and not any(self._rationales(question) for question in questions):
            raise ConfigError(
                f"ampo has no teacher, and no question has rationales of {' or '.join(config.solvers) or 'anyone'}; "
                "give teacher=SPEC+SPEC, or a column rationales with a table of texts by teacher name."
            )

    def _rationales(self, question: Question) -> list[tuple[Question, str]]:
        known = rationales_of(question)
        return [(question, text) for name, text in known.items() if name in (self.config.solvers or known)]

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts, some replaced by teachers' answers, with their `advantage` [B]; `own` is 1 for rollouts, else 0."""
        if self.config.replaced >= writer.sampling.samples:
            raise ConfigError(
                f"replaced is {self.config.replaced}, but there are {writer.sampling.samples} rollouts of a prompt, "
                "and at least one must stay; give more samples."
            )
        batch = writer.write(questions).batch
        ids = set(batch["group"][failed_groups(batch["correct"], batch["group"])].tolist())
        found = self._guidance(list({q.id: q for q in questions if q.id in ids}.values()), writer)
        mixed = Batch({**batch, "own": torch.ones(batch.size)}) if found is None else replace_rollouts(batch, found)
        return add_advantages(mixed, scale=self.config.scale)

    def _guidance(self, failed: Sequence[Question], writer: Any) -> Batch | None:
        """The right teacher answers with the highest comprehension by the learner; None if there are none."""
        candidates = [pair for question in failed for pair in self._rationales(question)]
        candidates += teacher_completions(writer, [teacher.learner for teacher in self.pool], failed)
        right = accepted_completions(writer, candidates)
        if right is None:
            return None
        score = comprehension_scores(self.learner, right)
        return right.batch.select(best_of_group(score, right.batch["group"], self.config.replaced))

    def loss(self, batch: Batch) -> Terms:
        """The term `policy`, averaged over tokens; the others are metrics."""
        tokens = policy_outputs(self.learner(batch), batch)
        own, advantage = (tokens.rows.spread(batch[name]) for name in ("own", "advantage"))
        mine = tokens.ppo_clip_loss(batch["advantage"])
        theirs = policy_shaping_loss(tokens.log_probs, advantage, self.config.shape)
        terms = Terms(policy=tokens.rows.term(own * mine + (1.0 - own) * theirs))
        terms |= tokens.metrics(batch, guided=1.0 - batch["own"])
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens; for `guided`, completions."""
        return {**rollout_counts(batch, {"policy": "token"}), "guided": float(batch.size)}


CLAIM = Claim(
    statement="A decoder that writes sums out in three ways is right on more of them after learning from its "
    "completions, and from answers of three solvers where all of them fail, than from its completions alone.",
    arms={
        "ampo": "ampo",
        "grpo": {"method": "grpo", "scale": False},
        "one teacher": {"method": "ampo", "solvers": ("columns",)},
        "sft": "sft",
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="ampo",
    baseline="grpo",
    cheap="sft",
    ablation="one teacher",
    untaught="untaught",
    smallest_effect=0.05,
    search={"ampo": {"lr": (2e-4, 5e-4)}, "grpo": {"lr": (2e-4, 5e-4)}, "sft": {"lr": (2e-4, 5e-4)}},
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309),
    settings={
        "student": "warm:20%:decoder:2x64",
        "sampling": "max_new_tokens=25,samples=8",
        "steps": 50,
        "batch_size": 64,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="What right answers add to rewards where these are rare, of three solvers and of one.",
    omits="Teachers that are language models, whose styles are not as clear cut; long reasoning; pass@k.",
    world="addition:ways",
    systems=("more-than-one-teacher",),
)
