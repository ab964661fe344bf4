"""Critiques, mistakes and explanations in place of completions: what is fitted, and what must come of it."""

import dataclasses
import re

import pytest
import torch

import didact
from didact import worlds
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import train
from didact.methods.language.sft import SFT, Config
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import Sampling, Writer
from didact.sources import select_texts

CRITICISED, EXPLAINED = worlds.load("addition:criticised"), worlds.load("addition:explained")


def test_a_critique_is_fitted_given_the_question_and_the_attempt():
    """The mean of log p(critique | question, attempt) over its tokens, and nothing of the attempt."""
    learner = build_causal("decoder:1x16", seed=0)
    asked = select_texts(CRITICISED, ("critique",))[:3]
    batch = Writer(learner, Sampling()).encode(asked, [question.completion for question in asked]).batch
    found, losses = SFT(Config(texts=("critique",)), learner).loss(batch)["answer"].mean().item(), []
    for question in asked:
        before, after = ([byte + 4 for byte in text.encode()] for text in (question.prompt, question.completion))
        ids = torch.tensor([[1, *before, *after, learner.tokenizer.eos]])
        one = didact.types.Batch(
            {"input_ids": ids, "attention_mask": torch.ones_like(ids), "id": torch.zeros(1).long()}
        )
        with torch.no_grad():
            log_probs = learner(one).logits[0].log_softmax(-1)
        losses += [-log_probs[place - 1, ids[0, place]].item() for place in range(len(before) + 1, ids.shape[1])]
        assert "=" in question.prompt and question.prompt.endswith("? ")
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_a_critique_says_what_is_wrong_with_its_attempt_and_an_unrelated_one_does_not():
    """Whether the marks agree with the attempt, and whether the sum after them is the question's."""
    agree = {"critique": [], "unrelated": []}
    for question in CRITICISED:
        for name, hits in agree.items():
            if name in question.data:
                prompt, critique = question.data[name].values()
                attempt, (right, marks) = re.fullmatch(r".*=(\d+)\? ", prompt)[1], critique.split(" ")
                wrong = attempt != question.answer
                hits.append(("-" in marks) == wrong and right == question.answer)
    assert all(agree["critique"]) and 3000 < len(agree["critique"]) == len(agree["unrelated"])
    assert sum(agree["unrelated"]) / len(agree["unrelated"]) < 0.05
    wrong = [q for q in CRITICISED if "-" in q.data.get("critique", {"completion": ""})["completion"]]
    assert len(wrong) / len(agree["critique"]) == pytest.approx(0.75, abs=0.03)


def test_mistakes_are_wrong_and_tagged():
    verifier = verifier_of(CRITICISED.verifier)
    some = CRITICISED[:300]
    assert verifier.verify([q.completion for q in some], some).value.sum() == 300
    assert verifier.verify([q.data["untagged"] for q in some], some).value.sum() == 0
    assert all(q.data["mistake"] == {"prompt": f"{q.prompt[:-1]}#", "completion": q.data["untagged"]} for q in some)


def after(*stages, steps=300):
    """The probabilities of a table of a right and a wrong action under two prompts, fitted to each stage in turn."""
    method = SFT(Config(), Policy(torch.zeros(2, 3)))
    for prompts, chosen in stages:
        train(method, actions(torch.tensor(prompts), torch.tensor(chosen)), steps=steps, rate=0.1)
    return method.learner.table.detach().softmax(1)


def test_a_tag_keeps_mistakes_apart_and_without_it_they_are_half_of_what_is_learned():
    """Action 1 is right under prompt 0; 2 is the mistake, under the tagged prompt 1 or, as the control, under 0 too."""
    tagged, untagged = after(([0, 1], [1, 2])), after(([0, 0], [1, 2]))
    assert tagged[0, 1] > 0.98 and tagged[1, 2] > 0.98
    assert untagged[0, 1].item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_the_last_teacher_is_the_one_that_is_followed_and_mixing_follows_both():
    """Action 1 is the expert's, 2 the assistant's; the control is the order of the two."""
    assistant, expert, both = ([0], [2]), ([0], [1]), ([0, 0], [1, 2])
    assert after(assistant, expert)[0, 1] > 0.95
    assert after(expert, assistant)[0, 1] < 0.05
    assert after(both)[0, 1].item() == pytest.approx(0.5, abs=0.02)


def test_the_expert_is_right_and_rare_and_the_assistant_careless():
    verifier = verifier_of(EXPLAINED.verifier)
    expert = [q for q in EXPLAINED if "expert" in q.data]
    assert len(expert) / len(EXPLAINED) == pytest.approx(0.2, abs=0.02)
    assert verifier.verify([q.data["expert"] for q in expert], expert).value.mean() == 1.0
    right = verifier.verify([q.data["assistant"] for q in EXPLAINED], list(EXPLAINED)).value
    carries = torch.tensor([q.data["a"] % 10 + q.data["b"] % 10 > 9 for q in EXPLAINED])
    assert right[~carries].mean() == 1.0
    assert right[carries].mean().item() == pytest.approx(0.75, abs=0.03)
    assert all(dataclasses.replace(q, data={}).completion == q.answer for q in EXPLAINED)
