"""Countering Language Drift with Seeded Iterated Learning (Lu, Singhal, Strub, Pietquin & Courville 2020).

A model that learns from rewards alone drifts away from natural language. Here it learns from them as a teacher, and
then a student, which is the model from before, fits completions sampled from the teacher and replaces it. Drift that
does not raise the reward is partly lost, since there is little time to imitate it.

Departures: the teacher learns as in GRPO with one step per round (the paper has actor-critic and Gumbel-softmax); both
have the run's learning rate, and moments that persist, as with `same_opt` in the authors' code. `supervised` adds the
cross-entropy of the data's completions; with `imitation=0` it is the baseline S2P. Compared with itlearn/finetune/
(sil_trainer.py, imitate_utils.py) of JACKHAHA363/SILTranslationGame: the phases, the student that persists, and the
mean cross-entropies agree; a value network is the baseline there. Values and gradients:
`tests/methods/test_language_iterated.py::test_both_phases_have_the_gradients_of_their_transcriptions`.

On `choosing`, it is worse than a tuned "supervised mix" by 0.306 nats (0.269 to 0.343), worse than "untaught" by 0.156
(0.123 to 0.189), and better than itself without its mechanism ("rewards alone") by 0.222 (0.173 to 0.271). Training
takes 0.5 times the operations of the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.policy.outputs import add_advantages, policy_outputs, rollout_counts
from didact.losses.tokens.rows import select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Terms
from didact.types.frozen import copy_trained, load_module_state, module_state


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `seeded_iterated`."""

    interaction: int = 20  # steps of each interaction phase, in which the model learns from rewards
    imitation: int = 10  # steps of each imitation phase, in which the earlier model fits its completions; 0 for none
    supervised: float = 0.0  # weight of the cross-entropy of the data's completions, added to the rewards

    def __post_init__(self) -> None:
        check_range("interaction", self.interaction, at_least=1)
        check_range("imitation", self.imitation, at_least=0)
        check_range("supervised", self.supervised, at_least=0.0)


class SeededIterated(Method):
    """Alternate between learning from rewards as a teacher and imitating it as a student.

    Args:
        config: the options.
        learner: a causal language model: the teacher, which takes the student's weights after each imitation.
        questions: the training prompts; all with a `completion` if `supervised` is set (or ConfigError).
    """

    feed = RolloutFeed(rewards="verifier", rate=0.1, grouped=True)

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        if config.supervised and not all(question.completion for question in questions):
            words = "but some questions have no completion to learn from; give their column, or supervised=0"
            raise ConfigError(f"supervised is {config.supervised:g}, {words}.")
        self.config, self.learner = config, learner
        self.feed = replace(self.feed, completions=config.supervised > 0.0)
        # Trained too: each of the two has its own moments in the optimizer.
        self.student: Any = copy_trained(learner) if config.imitation else None

    @property
    def generation(self) -> int:
        """The number of steps of an interaction and an imitation together."""
        return self.config.interaction + self.config.imitation

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """Rollouts of the learner; with their `advantage` [B] while it learns from them."""
        if writer.version % self.generation >= self.config.interaction:
            return writer.write(questions, verify=False).batch
        rollouts = writer.write(questions)
        batch = add_advantages(rollouts.batch)
        if not self.config.supervised:
            return batch
        given = writer.encode(rollouts.questions, writer.data_completions(rollouts.questions)).batch
        inputs = ("input_ids", "attention_mask", "completion_mask")
        return Batch({**batch, **{f"given.{name}": given[name] for name in inputs}})

    def loss(self, batch: Batch) -> Terms:
        """The term `imitation`, or `policy` and `supervised`, averaged over tokens; the others are metrics."""
        if "advantage" not in batch:
            return Terms(imitation=completion_cross_entropy(select_tokens(self.student(batch), batch)))
        tokens = policy_outputs(self.learner(batch), batch)
        terms = Terms(policy=tokens.rows.term(tokens.ppo_clip_loss(batch["advantage"])))
        if self.config.supervised:
            given = batch.view("given")
            term = completion_cross_entropy(select_tokens(self.learner(given), given))
            terms["supervised"] = term.times(self.config.supervised)
        terms |= tokens.metrics(batch)
        return terms

    @property
    def delivered(self) -> Any:
        """The student; the learner if there is no imitation."""
        return self.learner if self.student is None else self.student

    def after_step(self) -> None:
        """Replace the learner by the student at the end of an imitation."""
        if self.student is not None and (self.step + 1) % self.generation == 0:
            load_module_state(self.learner, module_state(self.student))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Tokens of each kind."""
        if "advantage" not in batch:
            return {"imitation": token_counts(batch)["token"]}
        found = rollout_counts(batch, {"policy": "token"})
        return found | {"supervised": token_counts(batch.view("given"))["token"]} if self.config.supervised else found


CLAIM = Claim(
    statement="After as many steps, the data's completions, each one of many that are right, are likelier under a "
    "model that alternates between rewards and imitation than under one that learns from rewards and data at once.",
    arms={
        "seeded_iterated": {"method": "seeded_iterated", "imitation": 10},
        "supervised mix": {"method": "seeded_iterated", "imitation": 0, "supervised": 0.3},
        "rewards alone": {"method": "seeded_iterated", "imitation": 0},
        "untaught": "sft,lr=1e-9,batch_size=1",
    },
    method="seeded_iterated",
    baseline="supervised mix",
    cheap="untaught",
    ablation="rewards alone",
    smallest_effect=0.05,
    search={
        "seeded_iterated": {"lr": (2e-4, 5e-4), "interaction": (10, 20)},
        "supervised mix": {"lr": (2e-4, 5e-4), "supervised": (0.1, 1.0)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311),
    settings={
        "student": "warm:40%:decoder:2x64",
        "sampling": "max_new_tokens=6,samples=8",
        "steps": 60,
        "batch_size": 128,
        "clip_norm": 1.0,
        "evaluate_every": 1000,
    },
    equal="steps",
    shows="How far a model drifts from the data, where 20 answers are right; 0.75 nats a token would be all of them.",
    omits="Two agents that drift together, as in the paper's games; and that rewards rise more by it.",
    world="choosing",
    metric="nll",
    systems=("countering-language-drift-with-seeded-iterated",),
)
