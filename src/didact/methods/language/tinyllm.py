"""TinyLLM: Learning a Small Student from Multiple Large Language Models (Tian et al. 2024).

The student learns answers, and for each of several teachers also its rationale, requested by an instruction in front of
the prompt. Each is a task with its own weight; at test time the student is prompted for answers alone.

The rationales are a table of texts by teacher name in the data's `rationales`; teachers are queried beforehand. The
prompt itself requests the answer; with `NAME: ` in front, it requests the rationale of the teacher NAME.

Departures: the answer is requested without an instruction, as wherever the student is used; and the data decide how
rationales are produced (the paper shows teachers two worked examples and the right answer).

Compared with tiny.py and model_utils.py of YikunHan42/TinyLLM: the weighted sum of a mean over tokens for each task
agrees, and the weights of 1 by default (its example has 2 for rationales). Values and gradients:
`tests/methods/test_language_several_teachers.py::test_tinyllm_learns_answers_and_the_rationales_of_each_teacher`.

On `last_letter:explained`, it is worse than a tuned "one teacher" by 27.3 points (23.6 to 30.9), and worse than
"answers" by 27.0 (23.6 to 30.1). Training takes 1.1 times the operations of the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range, nearest
from didact.losses.tokens.rows import select_tokens
from didact.losses.tokens.vocabulary import token_log_probs
from didact.rollouts import check_fits, completion_of, prefix_prompt, rationales_of
from didact.types import Batch, LanguageLearner, Method, Question, Questions, RolloutFeed, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `tinyllm`."""

    solvers: tuple[str, ...] = ()  # names of the teachers whose rationales are learned; all by default
    rationale: tuple[float, ...] = (1.0,)  # weight of each teacher's rationales relative to the answers, or one for all

    def __post_init__(self) -> None:
        for weight in self.rationale:
            check_range("rationale", weight, at_least=0.0)
        if len(self.rationale) not in (1, len(self.solvers)):
            raise ConfigError(
                f"rationale has {len(self.rationale)} weights and solvers {len(self.solvers)} names; give one weight "
                "for all of them, or one for each."
            )


class TinyLLM(Method):
    """Learn answers, and the rationales of several teachers for them.

    Args:
        config: the options.
        learner: a causal language model.
        questions: the training prompts, with an `answer` or a `completion`, some with `rationales` in their `data`.

    Raises:
        ConfigError: there are no rationales, or none of a named teacher.
        DataError: a rationale does not fit into the learner's context.
    """

    feed = RolloutFeed()

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        known = dict.fromkeys(name for question in questions for name in rationales_of(question))
        if not known:
            raise ConfigError(
                "No question has rationales, which tinyllm learns from; give a column rationales with a table of texts "
                "by teacher name, or choose sft."
            )
        for name in config.solvers:
            if name not in known:
                raise ConfigError(f"solvers has {name!r}, who has no rationales. {nearest(name, known)}")
        names = config.solvers or tuple(known)
        weights = config.rationale * len(names) if len(config.rationale) == 1 else config.rationale
        self.weights = {name: weight for name, weight in zip(names, weights, strict=True) if weight}
        for asked, text, _ in (task for question in questions for task in self._tasks(question)):
            check_fits(learner, asked, text)

    def _tasks(self, question: Question) -> list[tuple[Question, str, int]]:
        """Prompt, completion, and number of each task: 0 is the answer, 1 the first teacher's rationale."""
        known = rationales_of(question)
        names = [(task, name) for task, name in enumerate(self.weights, 1) if name in known]
        rationales = [(prefix_prompt(question, f"{name}: "), known[name], task) for task, name in names]
        return [(question, question.answer or completion_of(question), 0), *rationales]

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """The answer to each prompt and its rationales, with their `task` [B]; nothing is sampled."""
        writer.read(questions)
        asked, texts, tasks = zip(*(task for question in questions for task in self._tasks(question)), strict=True)
        return Batch({**writer.encode(asked, texts).batch, "task": torch.tensor(tasks)})

    def loss(self, batch: Batch) -> Terms:
        """The term `answer`, and `rationale_NAME` for each teacher, each averaged over its own tokens."""
        rows = select_tokens(self.learner(batch), batch)
        surprise = -token_log_probs(rows.hidden, rows.head, rows.targets)[0]
        task = rows.spread(batch["task"])
        terms = Terms(answer=rows.term(surprise, weight=(task == 0).float()))
        for place, (name, weight) in enumerate(self.weights.items(), 1):
            terms[f"rationale_{name}"] = rows.term(surprise, weight=(task == place).float()).times(weight)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The tokens of each task."""
        lengths, task = batch["completion_mask"][:, 1:].sum(1), batch["task"]
        names = ["answer", *(f"rationale_{name}" for name in self.weights)]
        return {name: lengths[task == place].sum() for place, name in enumerate(names)}


CLAIM = Claim(
    statement="With as many tokens, a student that learns answers together with the rationales of three teachers is "
    "right more often than one that learns them with the rationales of one teacher.",
    arms={
        "tinyllm": "tinyllm",
        "one teacher": {"method": "tinyllm", "solvers": ("order",)},
        "answers": {"method": "tinyllm", "solvers": ("order",), "rationale": (0.0,), "batch_size": 64},
        "untaught": {"method": "tinyllm", "lr": 1e-9},
    },
    method="tinyllm",
    baseline="one teacher",
    cheap="answers",
    ablation="answers",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "tinyllm": {"rationale": ((0.3,), (1.0,)), "lr": (0.003, 0.01)},
        "one teacher": {"rationale": ((0.3,), (1.0,)), "lr": (0.003, 0.01)},
        "answers": {"lr": (0.003, 0.01)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:20%:decoder:1x16",
        "sampling": {"max_new_tokens": 2},
        "budget": {"tokens": 30000},
        "batch_size": 2,
        "warmup": 0.1,
        "evaluate_every": 1000,
    },
    equal="student_tokens",
    world="last_letter:explained",
    shows="What rationales in different styles add to answers that are requested without any, token by token.",
    omits="Pretrained students, and questions for which each answer is expensive.",
    systems=("tinyllm",),
)
