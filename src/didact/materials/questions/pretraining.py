"""Training of a language model before a run, on the data's completions."""

import dataclasses
import re

from didact import catalogue, hashing, sources
from didact.experiment.material import Run
from didact.experiment.pretraining import Pretraining, StopAtGoal
from didact.learners.causal import CausalLearner
from didact.loop import Budget, OptimizerConfig
from didact.materials.questions.data import QuestionData
from didact.materials.questions.source import completions
from didact.materials.questions.verifying import goal_verifier
from didact.parts.part import WarmStart
from didact.rollouts import Writer

RISE = 0.01
"""Warmup of a constant learning rate, as a share of `LIMIT`."""
LIMIT = 5000
"""Steps after which a model that has not reached its accuracy is given up."""
BATCH = 64
"""Batch size."""
EVERY = 25
"""Steps between two measurements of the accuracy."""
ASKED = 256
"""Validation questions in each measurement."""


def pretraining_of(run: Run[QuestionData], role: str, warm_start: WarmStart) -> Pretraining:
    """Fine-tuning on the completions of the training questions, for some steps or to an accuracy."""
    config, info = run.config, catalogue.find("sft")
    model = warm_start.model
    assert isinstance(model, CausalLearner)
    falling, steady = (
        OptimizerConfig(lr=warm_start.rate),
        OptimizerConfig(lr=warm_start.rate, schedule="constant", warmup=RISE),
    )
    return Pretraining(
        method=info.method_type(info.config_type(), model),
        source=completions(run.data.train, model, BATCH, hashing.stream(warm_start.seed, "order")),
        budget=Budget(steps=warm_start.steps or LIMIT),
        optimizer=steady if warm_start.goal else falling,
        seed=hashing.stream(warm_start.seed, "training"),
        loop=dataclasses.replace(config.loop, clip_norm=1.0 if warm_start.goal else None, log_every=EVERY),
        goal=_goal(run, warm_start) if warm_start.goal else None,
        monitors=[],
        cache_key=_cache_key(run, warm_start),
    )


def _goal(run: Run[QuestionData], warm_start: WarmStart) -> StopAtGoal:
    validation = run.data.validation
    asked = validation.select(hashing.sample(len(validation), ASKED))
    greedy = dataclasses.replace(run.config.sampling, temperature=0.0, samples=1)
    writer = Writer(warm_start.model, greedy, goal_verifier(run))

    def score() -> float:
        return float((writer.write(asked).batch["reward"] >= 1.0).float().mean())

    return StopAtGoal(warm_start.goal, score, len(asked))


def _cache_key(run: Run[QuestionData], warm_start: WarmStart) -> list[object] | None:
    """Everything that determines the trained weights; None if weights or rewards come from elsewhere."""
    if not re.match(r"warm:\d+%?:decoder:", warm_start.spec):
        return None
    config, data = run.config, run.data
    verifier = data.questions.verifier or config.verifier
    if warm_start.goal and verifier and verifier.startswith("<"):
        return None
    sampling, parts = config.sampling, [data.train, data.validation] if warm_start.goal else [data.train]
    scoring = [verifier, sampling.max_new_tokens, list(sampling.stop)] if warm_start.goal else []
    asked = [[sources.fingerprint_questions(part), [question.id for question in part]] for part in parts]
    return [warm_start.spec, warm_start.seed, config.loop.precision, config.loop.device, asked, scoring]
