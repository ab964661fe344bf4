"""TinyLLM: Learning a Small Student from Multiple Large Language Models (Tian et al. 2024).

The student learns answers, and beside each the rationales of several teachers, which an instruction in front of the
question asks for. Each is a task of its own, with its own weight; at the end the student is asked for answers alone.

The rationales are a table of texts by the names of the teachers, which the data have under `rationales`; teachers are
asked beforehand. What is asked of the student is the plain question for an answer, and `NAME: ` in front of it for the
rationale of the teacher NAME.

Departures: the answer is asked for without an instruction, as it is wherever the student is used; and how the
rationales came about is left to the data (the paper shows teachers two worked questions and the right answer).

Its claim is not replicated: rationales raise the mean, those of three teachers no more than of one, and seeds differ;
two learning rates and two weights of rationales were tried. Students here begin from nothing, and 800 steps of 64
answers alone gave 90% in a pilot.
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

    solvers: tuple[str, ...] = ()  # teachers whose rationales are learned, by name; all by default
    rationale: tuple[float, ...] = (1.0,)  # weight of each teacher's rationales beside the answers, or one for all

    def __post_init__(self) -> None:
        for weight in self.rationale:
            check_range("rationale", weight, at_least=0.0)
        if len(self.rationale) not in (1, len(self.solvers)):
            raise ConfigError(
                f"rationale has {len(self.rationale)} weights and solvers {len(self.solvers)} names; give one weight "
                "for all of them, or one for each."
            )


class TinyLLM(Method):
    """Learn answers, and to explain them as each of several teachers does.

    Args:
        config: the options.
        learner: a causal language model.
        questions: those of the training, with an `answer` or a `completion`, some with `rationales` in their `data`.

    Raises:
        ConfigError: there are no rationales, or none of a teacher that is named.
        DataError: a rationale does not fit into what the learner reads.
    """

    feed = RolloutFeed()

    def __init__(self, config: Config, learner: LanguageLearner, questions: Questions) -> None:
        self.config, self.learner = config, learner
        known = dict.fromkeys(name for question in questions for name in rationales_of(question))
        if not known:
            raise ConfigError(
                "No question has rationales, which tinyllm learns from; give a column rationales with a table of texts "
                "by the names of those who wrote them, or choose sft."
            )
        for name in config.solvers:
            if name not in known:
                raise ConfigError(f"solvers has {name!r}, of whom there are no rationales. {nearest(name, known)}")
        names = config.solvers or tuple(known)
        weights = config.rationale * len(names) if len(config.rationale) == 1 else config.rationale
        self.weights = {name: weight for name, weight in zip(names, weights, strict=True) if weight}
        for asked, text, _ in (task for question in questions for task in self._tasks(question)):
            check_fits(learner, asked, text)

    def _tasks(self, question: Question) -> list[tuple[Question, str, int]]:
        """What is asked, what is to be said, and which task it is: 0 is the answer, 1 the first teacher's rationale."""
        known = rationales_of(question)
        names = [(task, name) for task, name in enumerate(self.weights, 1) if name in known]
        told = [(prefix_prompt(question, f"{name}: "), known[name], task) for task, name in names]
        return [(question, question.answer or completion_of(question), 0), *told]

    def collect(self, questions: Sequence[Question], writer: Any) -> Batch:
        """The answer to each question and its rationales, with their `task` [B]; nothing is sampled."""
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
    statement="A student that learns sums beside the ways of three teachers to work them out is right on more of them "
    "than one that learns them beside the way of one teacher.",
    arms={
        "tinyllm": "tinyllm",
        "one teacher": {"method": "tinyllm", "solvers": ("columns",)},
        "answers": {"method": "tinyllm", "rationale": (0.0,)},
    },
    method="tinyllm",
    baseline="one teacher",
    cheap="answers",
    settings={
        "student": "decoder:2x64",
        "sampling": "max_new_tokens=6",
        "steps": 500,
        "batch_size": 32,
        "lr": 0.003,
        "clip_norm": 1.0,
        "evaluate_every": 10000,
    },
    equal="steps",
    shows="What rationales in different styles add to answers that are asked for without any.",
    omits="Students that read much before; and that the same number of tokens holds four times as many answers alone.",
    world="addition:ways",
    seeds=(200, 201, 202, 203, 204),
    tuned_on=(0,),
    tuned="Of all arms the learning rate (0.002, 0.003), the batch and the steps; the weight of rationales (0.3, 1).",
    systems=("tinyllm",),
)
