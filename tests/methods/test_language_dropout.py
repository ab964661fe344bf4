"""Dropout is off wherever a language model's probabilities are compared with what was said without it."""

import math

import pytest
import torch

import didact
from didact.experiment.doctor import diagnose
from didact.experiment.running import split_arguments
from didact.learners.causal import load_causal
from didact.learners.dropout import switch_off_dropout
from small_questions import questions
from tiny_language import save_model

PLAIN = {"sampling": "max_new_tokens=4,samples=4", "batch_size": 16, "steps": 1, "lr": 1e-3, "log_every": 1}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A GPT-2 with dropout of 0.1 everywhere, as it is by default."""
    path = tmp_path_factory.mktemp("models") / "gpt2"
    save_model(path, "gpt2")
    return str(path)


def first(method, student, **settings):
    """What is measured at the first step."""
    result = didact.run(method, data=questions(), student=student, progress=False, **{**PLAIN, **settings})
    return next(record for record in result.history if "loss/total" in record)


def test_at_the_first_step_nothing_is_clipped_and_nothing_has_diverged(gpt2):
    found = first("grpo", gpt2, kl=0.1)
    assert found["watched/clipped"] == 0.0
    assert found["loss/kl"] == pytest.approx(0.0, abs=1e-6)
    found = first("grpo", gpt2, kl=0.1, dropout="on")
    assert found["watched/clipped"] > 0.005
    assert found["loss/kl"] > 0.001


def test_dpo_begins_at_the_logarithm_of_two(gpt2):
    assert first("dpo", gpt2)["loss/preference"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(first("dpo", gpt2, dropout="on")["loss/preference"] - math.log(2)) > 1e-4


def test_fine_tuning_keeps_dropout_unless_it_is_switched_off(gpt2):
    kept, off, again = (
        first("sft", gpt2, **more)["loss/answer"] for more in ({}, {"dropout": "off"}, {"dropout": "on"})
    )
    assert kept == again != off
    model = load_causal(gpt2)
    config, objects = split_arguments("sft", data=questions(), student=gpt2, **PLAIN)
    didact.run(config, data=objects.data, progress=False)
    # What is saved has the rates that it was loaded with.
    assert model.module.config.resid_pdrop == 0.1


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "gpt_neox", "phi"])
def test_in_training_mode_a_model_says_what_it_says_otherwise(architecture, tmp_path):
    rates = {"attention_dropout": 0.3, "hidden_dropout": 0.3, "dropout": 0.3, "resid_pdrop": 0.3, "layerdrop": 0.3}
    save_model(tmp_path, architecture, **rates)
    model = load_causal(str(tmp_path))
    config, objects = split_arguments("sft", data=questions(), student=model, **PLAIN)
    batch = next(iter(didact.experiment.preparing.prepare(config, objects).source))
    plain = load_causal(str(tmp_path))

    def said(one):
        torch.manual_seed(0)
        with torch.no_grad():
            return one(batch).hidden

    switch_off_dropout(plain)
    calm, learning = said(plain.eval()), said(plain.train())
    assert torch.equal(calm, learning)
    assert not torch.equal(calm, said(load_causal(str(tmp_path)).train()))


def doctor(method, **settings):
    config, objects = split_arguments(method, data=questions(), **{**PLAIN, **settings})
    return {check.name: check for check in diagnose(config, objects)}


def test_the_doctor_looks_at_the_model_as_it_learns(gpt2):
    calm = doctor("grpo", student=gpt2)
    assert calm["sampling"].level == calm["self-taught"].level == "pass"
    noisy = doctor("grpo", student=gpt2, dropout="on")["sampling"]
    assert noisy.level == "warn"
    assert "Leave out dropout=on" in noisy.detail


def test_the_doctor_notices_noise_that_is_not_called_dropout(gpt2):
    class Noisy(torch.nn.Module):
        def forward(self, states):
            return states + 0.1 * torch.randn_like(states) if self.training else states

    model = load_causal(gpt2)
    model.module.transformer.drop = Noisy()
    found = doctor("dpo", student=model)
    assert found["self-taught"].level == "fail"
    assert "in training mode" in found["self-taught"].detail
