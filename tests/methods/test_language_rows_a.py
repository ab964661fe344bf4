"""Rewards by length where questions are answered well, and learning from what tells most: against transcriptions."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from didact import worlds
from didact.errors import ConfigError
from didact.losses.policy.rewards import penalise_length
from didact.losses.policy.selection import informative_tokens, max_variance_subset, most_accurate_groups
from didact.methods.language import d3s, grpo_lambda
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.types import Batch

GROUPS = [7, 7, 5, 7, 5, 9, 5, 9]
RIGHT = [1, 0, 1, 1, 0, 0, 1, 0]
REWARDS = [1.0, 0.0, 1.0, 1.0, 0.25, 0.0, 1.0, 0.5]
LENGTHS = [(3, 2), (2, 4), (4, 1), (3, 3), (2, 2), (2, 1), (3, 4), (2, 3)]
"""Of the hand-made attempts: the tokens of prompt and completion."""


def decoder(seed=0):
    return build_causal("decoder:1x16", seed=seed).double()


def hand_made(learner, *, drift=0.3):
    """Rollouts whose tokens had other log-probabilities when they were sampled."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(len(LENGTHS), max(map(sum, LENGTHS)), dtype=torch.int64)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for row, (start, count) in enumerate(LENGTHS):
        ids[row, : start + count] = torch.randint(4, 260, (start + count,), generator=generator)
        mask[row, start : start + count] = True
    batch = Batch({"input_ids": ids, "attention_mask": (ids > 0).long(), "completion_mask": mask})
    then = torch.zeros(ids.shape, dtype=torch.float64)
    for row, logits in enumerate(learner(batch).logits.detach().log_softmax(-1)):
        start, count = LENGTHS[row]
        for t in range(start, start + count):
            then[row, t] = logits[t - 1, ids[row, t]] + drift * (2 * torch.rand((), generator=generator) - 1)
    ones = torch.ones(len(LENGTHS))
    more = {"temperature": ones.double(), "reward": torch.tensor(REWARDS), "trust": ones, "log_probs": then}
    return Batch({**batch, **more, "group": torch.tensor(GROUPS), "id": torch.tensor(GROUPS)})


def asked(batch):
    """Who gives these attempts, whatever is asked."""
    return SimpleNamespace(write=lambda _questions: SimpleNamespace(batch=batch))


def tokens(learner, batch):
    """For each token of the attempts: its row, log-probability now and then, and the entropy before it."""
    found = []
    log_probs = learner(batch).logits.log_softmax(-1)
    for row, (start, count) in enumerate(LENGTHS):
        for t in range(start, start + count):
            place = log_probs[row, t - 1]
            chosen = place[batch["input_ids"][row, t]]
            found.append((row, chosen, batch["log_probs"][row, t], -(place.exp() * place).sum().item()))
    return found


def clipped(now, then, advantage):
    ratio = (now - then).exp()
    return -min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


def agree(method, batch, wanted):
    """The whole loss, and its gradient, are what the transcription says."""
    loss, parameters = method.loss(batch).total(), list(method.learner.parameters())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


def by_length(row, lengths, strength):
    """What one attempt is paid where length counts."""
    if not RIGHT[row]:
        return REWARDS[row]
    same = [lengths[i] for i in range(len(GROUPS)) if GROUPS[i] == GROUPS[row] and RIGHT[i]]
    mean, deviation = np.mean(same), np.std(same)
    rank = (lengths[row] - mean) / deviation if deviation > 0 else 0.0
    return REWARDS[row] * (1 - strength / (1 + math.exp(-rank)))


# ---- rewards by length


@pytest.mark.parametrize("strength", [0.0, 0.2, 1.0])
def test_right_answers_lose_by_their_length(strength):
    lengths = [12.0, 3, 7, 8, 20, 5, 7, 1]
    parts = torch.tensor(REWARDS), torch.tensor(RIGHT).float(), torch.tensor(lengths), torch.tensor(GROUPS)
    found = penalise_length(*parts, strength=strength)
    wanted = [by_length(row, lengths, strength) for row in range(len(GROUPS))]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)
    if strength:
        assert found[0] < found[3] < 1.0
    where = torch.tensor([False] * 3 + [True] * 5)
    some = penalise_length(*parts, strength=strength, where=where)
    assert some.tolist() == pytest.approx(REWARDS[:3] + wanted[3:], rel=1e-5)


def test_the_best_answered_questions_are_chosen():
    correct, group = torch.tensor(RIGHT).float(), torch.tensor(GROUPS)
    # Two of three are right at 5 and at 7, and none at 9.
    for share, chosen in ((0.0, ()), (0.2, (5,)), (0.4, (5, 7)), (0.67, (5, 7, 9)), (1.0, (5, 7, 9))):
        assert most_accurate_groups(correct, group, share).tolist() == [g in chosen for g in GROUPS]
    correct[1] = 1.0
    assert most_accurate_groups(correct, group, 0.2).tolist() == [g == 7 for g in GROUPS]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_grpo_lambda_pays_by_length_where_questions_are_answered_well(share):
    learner = decoder()
    method = grpo_lambda.GRPOLambda(grpo_lambda.Config(share=share, strength=0.5), learner)
    batch = method.collect([], asked(hand_made(learner)))
    where = {0.0: (), 0.3: (5,), 1.0: (5, 7, 9)}[share]
    lengths = [count for _, count in LENGTHS]
    paid = [by_length(i, lengths, 0.5) if g in where else REWARDS[i] for i, g in enumerate(GROUPS)]
    total = 0.0
    for row, now, then, _ in tokens(learner, batch):
        mates = [paid[i] for i in range(len(GROUPS)) if GROUPS[i] == GROUPS[row]]
        deviation = np.std(mates, ddof=1)
        total = total + clipped(now, then, (paid[row] - np.mean(mates)) / deviation)
    agree(method, batch, total / sum(lengths))
    assert batch["penalised"].tolist() == [float(g in where) for g in GROUPS]


def test_half_of_the_demonstrations_go_without_the_scratchpad():
    whole, mixed = worlds.load("addition:scratchpad"), worlds.load("addition:optional_scratchpad")
    short = [q for q in mixed if q.completion == q.answer]
    assert 0.45 < len(short) / len(mixed) < 0.55
    for long, either in zip(whole, mixed, strict=True):
        assert (either.id, either.prompt, either.answer) == (long.id, long.prompt, long.answer)
        assert either.completion in (long.answer, long.completion)
    verifier, asked = verifier_of(mixed.verifier), list(mixed)[:4]
    assert verifier.verify([q.completion for q in asked], asked).value.tolist() == [1.0] * 4
    wrong = [asked[0].answer + "\n1", "1\n" + asked[1].answer, asked[2].prompt + asked[2].answer, ""]
    assert verifier.verify(wrong, asked).value.tolist() == [0.0, 1.0, 0.0, 0.0]


# ---- what tells most


@pytest.mark.parametrize("seed", range(6))
def test_the_subset_that_is_kept_has_the_highest_variance(seed):
    values = torch.randn(8, generator=torch.Generator().manual_seed(seed))
    if seed % 2:
        values = values.round()
    for count in range(1, 9):
        best = max(np.var(subset) for subset in itertools.combinations(values.double().tolist(), count))
        found = max_variance_subset(values, count)
        assert len(set(found.tolist())) == count
        assert np.var(values[found].double().tolist()) == pytest.approx(best, abs=1e-9)
    with pytest.raises(ConfigError, match="count"):
        max_variance_subset(values, 9)


def test_the_tokens_that_are_kept_are_uncertain_and_matter():
    advantage, entropy = torch.tensor([1.0, -3.0, 0.5, 0.0, -1.0, 9.0]), torch.tensor([0.5, 0.4, 2.0, 5.0, 0.1, 9.0])
    assert informative_tokens(advantage[:5], entropy[:5], 0.4).tolist() == [0, 1, 1, 0, 0]
    assert informative_tokens(advantage[:5], entropy[:5], 0.41).tolist() == [1, 1, 1, 0, 0]
    # What does not count takes nobody's place.
    weight = torch.tensor([1.0, 1, 1, 1, 1, 0])
    assert informative_tokens(advantage, entropy, 0.4, weight).tolist() == [0, 1, 1, 0, 0, 0]
    assert informative_tokens(advantage, entropy, 1.0, weight).tolist() == weight.tolist()


@pytest.mark.parametrize(("fraction", "share"), [(0.0, 0.25), (0.5, 0.625), (1.0, 1.0)])
def test_d3s_learns_from_what_tells_most(fraction, share):
    learner = decoder()
    method = d3s.D3S(d3s.Config(completions=0.25, tokens=0.25), learner)
    rewards = torch.tensor([1.0, 0.0, 0.9, 0.7, 0.25, 0.1, 0.6, 0.5])
    batch = method.collect([], asked(Batch({**hand_made(learner), "reward": rewards})))
    noise = torch.arange(len(GROUPS)) * 0.01
    batch = Batch({**batch, "advantage": batch["advantage"] + noise})  # no two alike
    method.fraction = fraction
    advantage = batch["advantage"].double().tolist()
    subsets = itertools.combinations(range(len(GROUPS)), math.ceil(share * len(GROUPS)))
    kept = max(subsets, key=lambda rows: np.var([advantage[row] for row in rows]))
    seen = [part for part in tokens(learner, batch) if part[0] in kept]
    seen.sort(key=lambda part: -abs(advantage[part[0]]) * part[3])
    seen = seen[: math.ceil(share * len(seen))]
    total = sum(clipped(now, then, advantage[row]) for row, now, then, _ in seen)
    agree(method, batch, total / len(seen))


def test_d3s_may_keep_as_much_at_random():
    learner = decoder()
    method = d3s.D3S(d3s.Config(completions=0.5, tokens=0.5, choose="random"), learner)
    batch = method.collect([], asked(hand_made(learner)))
    torch.manual_seed(0)
    found = [method.loss(batch) for _ in range(6)]
    assert len({round(terms.total().item(), 9) for terms in found}) > 1
    assert {int(terms["length"].count) for terms in found} == {4}
    assert all(float(terms["kept"].sum) == math.ceil(0.5 * float(terms["kept"].count)) for terms in found)
