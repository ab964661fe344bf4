"""What a language model learns before a run: the data's own answers."""

import dataclasses
import re

from didact import catalogue, sources
from didact.experiment.lessons import Lesson, Reached
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.loop import Budget, OptimizerConfig
from didact.materials.questions.data import QuestionData
from didact.materials.questions.source import completions
from didact.materials.questions.verifying import examiner
from didact.parts.part import Warmup
from didact.rollouts import Writer

RISE = 0.01
"""Share of `LIMIT` over which a rate that does not fall rises from zero."""
LIMIT = 5000
"""Steps after which a model that is still not right often enough is given up."""
BATCH = 64
"""Answers of the data in each step."""
EVERY = 25
"""Steps between two looks at how often it is right."""
ASKED = 256
"""Validation questions that it is asked at each look."""


def lesson_of(run: Run[QuestionData], role: str, warmup: Warmup) -> Lesson:
    """Fine-tuning on the completions of the training questions, for some steps, or until it is right often enough."""
    config, info = run.config, catalogue.find("sft")
    model = warmup.model.requires_grad_(True)
    assert isinstance(model, CausalLearner)
    falling, steady = OptimizerConfig(lr=warmup.rate), OptimizerConfig(lr=warmup.rate, schedule="constant", warmup=RISE)
    return Lesson(
        method=info.method_type(info.config_type(), model),
        source=completions(run.data.train, model, BATCH, config.seed),
        budget=Budget(steps=warmup.steps or LIMIT),
        optimizer=steady if warmup.goal else falling,
        seed=config.seed,
        loop=dataclasses.replace(config.loop, clip_norm=1.0 if warmup.goal else None, log_every=EVERY),
        reached=_reached(run, warmup) if warmup.goal else None,
        monitors=[],
        decided_by=_decided_by(run, warmup),
    )


def _reached(run: Run[QuestionData], warmup: Warmup) -> Reached:
    validation = run.data.validation
    asked = validation.select(range(min(ASKED, len(validation))))
    greedy = dataclasses.replace(run.config.sampling, temperature=0.0, samples=1)
    writer = Writer(warmup.model, greedy, examiner(run))

    def score() -> float:
        return float((writer.write(asked).batch["reward"] >= 1.0).float().mean())

    return Reached(warmup.goal, score, len(asked))


def _decided_by(run: Run[QuestionData], warmup: Warmup) -> list[object] | None:
    """All that decides what is learned; None where weights or verdicts come from elsewhere."""
    if not re.match(r"warm:\d+%?:decoder:", warmup.spec):
        return None
    config, data = run.config, run.data
    judged = data.questions.verifier or config.verifier
    if warmup.goal and judged and judged.startswith("<"):
        return None
    sampling, parts = config.sampling, [data.train, data.validation] if warmup.goal else [data.train]
    told = [judged, sampling.max_new_tokens, list(sampling.stop)] if warmup.goal else []
    asked = [[sources.fingerprint_questions(part), [question.id for question in part]] for part in parts]
    return [warmup.spec, warmup.seed, config.seed, config.loop.precision, config.loop.device, asked, told]
