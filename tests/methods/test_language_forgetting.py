"""npo: against a slow transcription, its limit of gradient ascent, and what it refuses."""

import copy

import numpy as np
import pytest
import torch

import didact
from contract import LEARNER
from didact.errors import DataError
from didact.losses.policy.preferences import npo_loss
from didact.methods.language.npo import NPO, Config
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer
from didact.types import Question, Questions
from didact.worlds.strings.forgetting import FORGOTTEN, forgetting, forgotten_or_right

ITEMS = (
    Question(id=1, prompt="2+3=", completion="5", data={"forget": True}),
    Question(id=2, prompt="1+1=", completion="2", data={"forget": False}),
    Question(id=3, prompt="9+9=", completion="18", rejected="19"),
)


def log_probs(learner, prompt, completion):
    """Of the tokens of a completion, by hand."""
    before, after = ([byte + 4 for byte in text.encode()] for text in (prompt, completion))
    ids = torch.tensor([[1, *before, *after, 2]])
    batch = didact.types.Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.zeros(1).long()})
    found = learner(batch).logits[0].log_softmax(-1)
    return [found[place - 1, ids[0, place]] for place in range(len(before) + 1, ids.shape[1])]


@pytest.mark.parametrize(("beta", "forget", "retain"), [(0.1, 1.0, 1.0), (0.7, 2.0, 0.5)])
def test_the_loss_and_its_gradient_are_those_of_a_transcription(beta, forget, retain):
    learner = build_causal("decoder:1x16", seed=0)
    method = NPO(Config(beta=beta, forget=forget, retain=retain), learner, Questions(items=ITEMS))
    first = copy.deepcopy(learner)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    batch = method.collect(ITEMS, Writer(learner, Sampling()))
    terms = method.loss(batch)
    found = torch.autograd.grad(terms.total(), list(learner.parameters()))
    losses, kept = [], []
    for prompt, text in (("2+3=", "5"), ("9+9=", "19")):
        ratio = sum(log_probs(learner, prompt, text)) - sum(log_probs(first, prompt, text)).detach()
        losses.append(2 / beta * torch.log1p(torch.exp(beta * ratio)))
    for prompt, text in (("1+1=", "2"), ("9+9=", "18")):
        kept += [-one for one in log_probs(learner, prompt, text)]
    expected = forget * sum(losses) / 2 + retain * sum(kept) / len(kept)
    assert terms.total().item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(found, torch.autograd.grad(expected, list(learner.parameters())), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert {name: float(term.count) for name, term in terms.items()} == {"forget": 2, "retain": 5, "ratio": 2}
    assert {name: float(count) for name, count in method.counts(batch).items()} == {
        "forget": 2,
        "retain": 5,
        "ratio": 2,
    }


def test_it_tends_to_gradient_ascent_and_vanishes_for_what_is_forgotten():
    ratio = torch.tensor([-30.0, -2.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    for beta, weight in ((1e-6, np.ones(4)), (0.5, 2 / (1 + np.exp(-0.5 * np.array([-30.0, -2.0, 0.0, 3.0]))))):
        (gradient,) = torch.autograd.grad(npo_loss(ratio, beta=beta).sum(), ratio)
        np.testing.assert_allclose(gradient, weight, rtol=1e-4)


def test_the_world_counts_what_is_forgotten_and_what_is_retained():
    asked = forgetting()
    for question in asked[:40]:
        forgotten = question.data["rule"] == FORGOTTEN
        assert question.data["forget"] is forgotten
        assert forgotten_or_right(question.answer, question) == float(not forgotten)
        assert forgotten_or_right("?", question) == float(forgotten)
    assert np.mean([question.data["forget"] for question in asked]) == pytest.approx(0.25, abs=0.01)


def test_there_must_be_something_to_forget():
    data = [{"prompt": f"{n}+1=", "completion": str(n + 1)} for n in range(40)]
    with pytest.raises(DataError, match="npo has nothing to forget; give a column forget"):
        didact.run("npo", data=data, student=LEARNER, steps=1, progress=False)
