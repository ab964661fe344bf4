"""Two short runs write the same tokens and have the same losses as before rounds were a source of their own."""

import json
from pathlib import Path

import pytest

from conftest import quiet_fit
from didact import Budget
from didact.loop import OptimizerConfig
from didact.methods.language import gkd, grpo
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer, rollout_rounds
from didact.teachers import FunctionVerifier, LanguageTeacher
from small_questions import questions, reward

KEPT = json.loads((Path(__file__).parent / "first_design.json").read_text())
"""By method, of each step the loss, and the sum of the ids of its completions; computed with the first design."""


def made(name, learner):
    if name == "grpo":
        return grpo.GRPO(grpo.Config(kl=0.5, updates=2), learner), FunctionVerifier(reward)
    teacher = LanguageTeacher(build_causal("decoder:1x32:64", seed=1))
    return gkd.GKD(gkd.Config(on_policy=0.5), learner, teacher), None


@pytest.mark.parametrize("name", KEPT)
def test_a_run_writes_and_learns_what_it_did_before(name):
    learner = build_causal("decoder:1x16:64", seed=0)
    method, verifier = made(name, learner)
    losses, tokens, loss = [], [], method.loss

    def noted(batch):
        terms = loss(batch)
        losses.append(terms.total().item())
        tokens.append(int((batch["input_ids"] * batch["completion_mask"]).sum()))
        return terms

    method.loss = noted
    writer = Writer(learner, Sampling(max_new_tokens=4, samples=4), verifier, seed=3)
    source = rollout_rounds(questions(10), writer, method.collect, batch_size=16, feed=method.feed, seed=3)
    options = {"optimizer": OptimizerConfig(lr=1e-2, schedule="constant"), "monitors": []}
    quiet_fit(method, source, budget=Budget(steps=len(KEPT[name]["loss"])), device="cpu", **options)
    assert tokens == KEPT[name]["tokens"]
    assert losses == pytest.approx(KEPT[name]["loss"], rel=1e-4, abs=1e-6)
