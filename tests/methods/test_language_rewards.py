"""Methods that learn from rewards: against transcriptions, attempt by attempt, and against exact policy gradients."""

import itertools
import math

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.losses.policy.selection import token_covariances
from didact.methods.language import clip_cov, grpo, nft, reinforce, rloo
from didact.types import Batch, Head, TokenOutput
from didact.worlds import policies
from hand_made import (
    GROUPS,
    LENGTHS,
    REWARDS,
    TRUST,
    agree,
    asked,
    before,
    clipped,
    decoder,
    gradients,
    hand_made,
    mates,
    told,
)

# ---- what a round decides


def test_grpo_compares_within_groups_of_which_something_is_known():
    learner = decoder()
    batch = hand_made(learner)
    for scale in (True, False):
        found = grpo.GRPO(grpo.Config(scale=scale), learner).collect([], asked(batch))["advantage"]
        for row in range(len(LENGTHS)):
            known = [REWARDS[i] for i in mates(row)]
            mean = sum(known) / len(known)
            deviation = math.sqrt(sum((r - mean) ** 2 for r in known) / max(len(known) - 1, 1))
            wanted = (REWARDS[row] - mean) * (TRUST[row] > 0)
            if scale:
                wanted = wanted / deviation if deviation > 0 else 0.0
            assert found[row].item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_rloo_leaves_an_attempt_out_of_its_own_baseline_and_pays_for_divergence():
    learner, kl = decoder(), 0.3
    method = rloo.RLOO(rloo.Config(kl=kl), learner)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.mul_(1.1)
    batch = hand_made(learner)
    worth = [
        REWARDS[row] - kl * (sum(mine) - sum(theirs)).item()
        for row, (mine, theirs) in enumerate(
            zip(told(learner, batch), told(method.reference.learner, batch), strict=True)
        )
    ]
    assert max(abs(w - r) for w, r in zip(worth, REWARDS, strict=True)) > 1e-3
    found = method.collect([], asked(batch))["advantage"]
    for row in range(len(LENGTHS)):
        others = [worth[i] for i in mates(row) if i != row]
        wanted = worth[row] - sum(others) / len(others) if TRUST[row] > 0 else 0.0
        assert found[row].item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_reinforce_compares_with_the_whole_round_or_with_nothing():
    learner = decoder()
    batch = hand_made(learner)
    known = [r for r, trust in zip(REWARDS, TRUST, strict=True) if trust > 0]
    for baseline, level in (("mean", sum(known) / len(known)), ("none", 0.0)):
        config = reinforce.Config(baseline=baseline)
        found = reinforce.Reinforce(config, learner).collect([], asked(batch))["advantage"]
        wanted = [(r - level) * (trust > 0) for r, trust in zip(REWARDS, TRUST, strict=True)]
        assert found.tolist() == pytest.approx(wanted, abs=1e-6)


def test_nft_knows_which_attempts_are_right_and_how_often():
    learner = decoder()
    found = nft.NFT(nft.Config(), learner).collect([], asked(hand_made(learner)))
    for row in range(len(LENGTHS)):
        known = [float(REWARDS[i] >= 1) for i in mates(row)]
        share = sum(known) / len(known)
        assert found["right"][row] == (REWARDS[row] >= 1) * (TRUST[row] > 0)
        assert found["accuracy"][row].item() == pytest.approx(min(max(share, nft.LEAST), 1 - nft.LEAST))
        assert found["dead"][row] == (share in (0, 1))


# ---- the losses


@pytest.mark.parametrize("normalise", ["token", "sequence"])
@pytest.mark.parametrize("kl", [0.0, 0.7])
def test_grpo(normalise, kl):
    learner = decoder()
    config = grpo.Config(normalise=normalise, kl=kl, clip_low=0.15, clip_high=0.3)
    method = grpo.GRPO(config, learner)
    with torch.no_grad():
        learner.module.model.norm.weight.mul_(1.2)
    batch = method.collect([], asked(hand_made(learner, drift=0.5)))
    now, then = told(learner, batch), before(batch)
    parts = []
    for row, advantage in enumerate(batch["advantage"].double()):
        mine = torch.stack(now[row])
        each = clipped(mine, then[row], advantage, 0.15, 0.3)
        if kl:
            gap = torch.stack(told(method.reference.learner, batch)[row]).detach() - mine
            each = each + kl * (gap.exp() - 1 - gap)
        parts.append(each)
    whole = torch.cat(parts).mean() if normalise == "token" else torch.stack([p.mean() for p in parts]).mean()
    agree(method, batch, whole)
    high = (torch.cat([torch.stack(n) for n in now]) - torch.cat(then)).exp()
    side = torch.cat([a.expand(count) for a, (_, count) in zip(batch["advantage"], LENGTHS, strict=True)])
    cut = ((high > 1.3) & (side > 0)) | ((high < 0.85) & (side < 0))
    assert 0 < cut.float().mean() < 1
    assert method.loss(batch)["clipped"].mean().item() == pytest.approx(cut.float().mean().item())


@pytest.mark.parametrize(
    "make", [lambda x: rloo.RLOO(rloo.Config(), x), lambda x: reinforce.Reinforce(reinforce.Config(), x)]
)
def test_a_whole_attempt_is_one_action(make):
    learner = decoder()
    method = make(learner)
    batch = method.collect([], asked(hand_made(learner)))
    pairs = zip(told(learner, batch), batch["advantage"].double(), strict=True)
    agree(method, batch, -sum(sum(tokens) * advantage for tokens, advantage in pairs) / len(LENGTHS))


@pytest.mark.parametrize("priority", ["hard", "even", "scaled"])
@pytest.mark.parametrize(("floor", "wrong"), [(1.0, 1.0), (0.9, 1.0), (1.0, 0.3), (1.0, 0.0)])
def test_nft(priority, floor, wrong):
    learner = decoder()
    method = nft.NFT(nft.Config(priority=priority, floor=floor, negative=wrong), learner)
    batch = method.collect([], asked(hand_made(learner, drift=0.5)))
    now, then = told(learner, batch), before(batch)
    total, floored = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(LENGTHS)):
        r = sum(REWARDS[i] >= 1 for i in mates(row)) / len(mates(row))
        if r in (0, 1) or not TRUST[row]:
            continue
        worth = {"hard": 1 - r, "even": 1.0, "scaled": math.sqrt((1 - r) / r)}[priority]
        for mine, was in zip(now[row], then[row], strict=True):
            ratio = (mine - was).exp()
            if REWARDS[row] >= 1:
                total = total - worth * ratio.log()
                continue
            negative = (1 - r * ratio) / (1 - r)
            floored += bool(negative < floor)
            # Below the floor the value is the floor's, and the slope that of the ratio over it.
            linear = math.log(floor) + (negative - negative.item()) / floor
            total = total - wrong * worth * (negative.log() if negative > floor else linear)
    assert floored
    agree(method, batch, total / sum(count for _, count in LENGTHS))


def test_nft_on_policy_is_grpo():
    """The paper's theorem: with the root of the odds as weight, where GRPO takes the deviation of a whole group."""
    learner = decoder()
    batch = hand_made(learner)
    batch = Batch({**batch, "reward": (batch["reward"] >= 1).float(), "trust": torch.ones(len(LENGTHS))})
    found = []
    for method in (nft.NFT(nft.Config(priority="scaled"), learner), grpo.GRPO(grpo.Config(), learner)):
        rows = method.collect([], asked(batch))
        if "advantage" in rows:
            sizes = torch.tensor([GROUPS.count(group) for group in GROUPS])
            rows = Batch({**rows, "advantage": rows["advantage"] * (sizes / (sizes - 1)).sqrt()})
        found.append(gradients(method.loss(rows).total(), learner))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)
    plain = grpo.GRPO(grpo.Config(scale=False), learner)
    hard = nft.NFT(nft.Config(priority="hard"), learner)
    pair = [gradients(m.loss(m.collect([], asked(batch))).total(), learner) for m in (hard, plain)]
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-7)


def by_covariance(now, batch):
    """Each token's part in the covariance, and the advantage of each."""
    flat = [value.item() for tokens in now for value in tokens]
    side = [a for a, (_, count) in zip(batch["advantage"].tolist(), LENGTHS, strict=True) for _ in range(count)]
    means = [sum(values) / len(values) for values in (flat, side)]
    return [(f - means[0]) * (s - means[1]) for f, s in zip(flat, side, strict=True)], side


def test_clip_cov_takes_the_gradient_from_tokens_in_the_band():
    learner = decoder()
    plain = clip_cov.ClipCov(clip_cov.Config(), learner)
    batch = plain.collect([], asked(hand_made(learner, drift=0.1)))
    now, then = told(learner, batch), torch.cat(before(batch))
    parts, side = by_covariance(now, batch)
    low = sorted(parts)[-6] - 1e-6
    method = clip_cov.ClipCov(clip_cov.Config(share=1.0, band_low=low, band_high=1e9), learner)
    losses = clipped(torch.cat([torch.stack(n) for n in now]), then, torch.tensor(side, dtype=torch.float64))
    held = torch.tensor([part >= low for part in parts])
    assert held.sum() == 6
    agree(method, batch, torch.where(held, losses.detach(), losses).mean())
    # Of the same band, as many as the share says, drawn anew each time.
    some = clip_cov.ClipCov(clip_cov.Config(share=0.1, band_low=low, band_high=1e9), learner)
    assert float(some.loss(batch)["controlled"].sum) == int(0.1 * len(parts)) == 2
    torch.manual_seed(0)
    assert len({round(gradients(some.loss(batch).total(), learner).norm().item(), 9) for _ in range(12)}) > 1


def test_clip_cov_leaves_alone_what_is_clipped_already():
    learner = decoder()
    method = clip_cov.ClipCov(
        clip_cov.Config(share=1.0, band_low=0.0, band_high=1e9, clip_low=0.05, clip_high=0.05), learner
    )
    batch = method.collect([], asked(hand_made(learner, drift=0.1)))
    now, then = told(learner, batch), torch.cat(before(batch))
    parts, side = by_covariance(now, batch)
    advantage = torch.tensor(side, dtype=torch.float64)
    ratio = (torch.cat([torch.stack(n) for n in now]).detach() - then).exp()
    free = ~(((ratio > 1.05) & (advantage > 0)) | ((ratio < 0.95) & (advantage < 0)))
    inside = torch.tensor(parts) >= 0
    assert (inside & ~free).any()
    assert float(method.loss(batch)["controlled"].sum) == int((inside & free).sum())


def test_kl_cov_holds_the_tokens_with_the_highest_covariance():
    learner = decoder()
    method = clip_cov.ClipCov(clip_cov.Config(control="kl", share=0.2, hold=3.0, updates=2), learner)
    batch = method.collect([], asked(hand_made(learner, drift=0.1)))
    now, then = told(learner, batch), torch.cat(before(batch))
    parts, side = by_covariance(now, batch)
    flat = torch.cat([torch.stack(n) for n in now])
    held = torch.tensor([part >= sorted(parts)[-int(0.2 * len(parts))] for part in parts])
    losses = -(flat - then).exp() * torch.tensor(side, dtype=torch.float64)
    agree(method, batch, (losses + held * 3.0 * (flat - then).abs()).mean())


def test_kl_cov_refuses_to_hold_tokens_to_what_they_are():
    with pytest.raises(ConfigError, match="updates is 1"):
        clip_cov.Config(control="kl", updates=1)


# ---- policies of which everything is known


class Table(nn.Module):
    """A policy over sequences, whose next token depends on the token before alone: logits [V + 1, V]."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, batch):
        return TokenOutput(nn.functional.one_hot(batch["input_ids"], len(self.logits)).double(), Head(self.logits.T))


def sequences(world):
    tokens = range(world.reward.shape[1])
    return torch.tensor(list(itertools.product(tokens, repeat=world.length)))


def judged(table, world, tried, group):
    """Sequences [B, T] as attempts of a table's policy, with their rewards."""
    start = torch.full((len(tried), 1), world.reward.shape[1])
    ids = torch.cat([start, tried], 1)
    with torch.no_grad():
        chosen = table.logits.log_softmax(-1)[ids[:, :-1], tried]
    zeros = torch.zeros(len(tried), 1, dtype=torch.float64)
    ones = torch.ones(len(tried))
    return Batch(
        {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "completion_mask": torch.cat([start < 0, torch.ones_like(tried, dtype=torch.bool)], 1),
            "log_probs": torch.cat([zeros, chosen], 1),
            "temperature": ones,
            "reward": world.reward[ids[:, :-1], tried].sum(1),
            "trust": ones,
            "group": group,
            "id": group,
        }
    )


def expected_gradient(method, world, samples):
    """What the loss's gradient is on average, over all ways in which `samples` attempts can turn out."""
    table, every = method.learner, sequences(world)
    index = torch.tensor(list(itertools.product(range(len(every)), repeat=samples)))
    each = judged(table, world, every, torch.arange(len(every)))["log_probs"].sum(1).exp()
    chance = each[index].prod(1).repeat_interleave(samples)
    rounds = [judged(table, world, every[row], torch.zeros(samples, dtype=torch.int64)) for row in index]
    made = [method.collect([], asked(one)) for one in rounds]
    batch = Batch({key: torch.cat([one[key] for one in made]) for key in made[0]})
    batch = Batch({**batch, "advantage": batch["advantage"] * chance * len(index)})
    return torch.autograd.grad(method.loss(batch).total(), table.logits)[0]


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda t: rloo.RLOO(rloo.Config(), t), 1.0),
        (lambda t: reinforce.Reinforce(reinforce.Config(baseline="none"), t), 1.0),
        # A baseline that holds the attempt itself takes one part in `samples` away.
        (lambda t: reinforce.Reinforce(reinforce.Config(), t), 0.5),
        # Averaged over the two tokens of each attempt besides.
        (lambda t: grpo.GRPO(grpo.Config(scale=False), t), 0.25),
        (lambda t: clip_cov.ClipCov(clip_cov.Config(share=0.0), t), None),
    ],
)
def test_the_mean_gradient_is_the_policy_gradient(make, share):
    world = policies.bigram(3, length=2, seed=3)
    table = Table(0.5 * policies.bigram(3, seed=4).reference)
    exact = torch.autograd.grad(world.expected_reward(table.logits), table.logits)[0]
    found = -expected_gradient(make(table), world, 2)
    if share is None:
        # Divided by the deviation of each group: not the same gradient, but uphill.
        assert torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.8
    else:
        torch.testing.assert_close(found, share * exact, rtol=1e-5, atol=1e-7)


def test_rloo_with_a_divergence_climbs_the_whole_objective():
    world, kl = policies.bigram(3, length=2, seed=5), 0.4
    table = Table(world.reference)
    method = rloo.RLOO(rloo.Config(kl=kl), table)
    with torch.no_grad():
        table.logits.add_(policies.bigram(3, seed=6).reward, alpha=0.5)
    value = world.expected_reward(table.logits) - kl * world.divergence(table.logits)
    exact = torch.autograd.grad(value, table.logits)[0]
    torch.testing.assert_close(-expected_gradient(method, world, 2), exact, rtol=1e-5, atol=1e-6)


def test_rloo_with_a_divergence_comes_to_rest_at_the_optimum():
    world, kl = policies.bigram(3, length=1, seed=7), 0.5
    table = Table(world.reference)
    method = rloo.RLOO(rloo.Config(kl=kl), table)
    optimizer = torch.optim.LBFGS([table.logits], lr=0.5, max_iter=1)
    for _ in range(30):

        def closure():
            table.logits.grad = expected_gradient(method, world, 2)
            return 0.0

        optimizer.step(closure)
    found = table.logits[-1].detach().log_softmax(0)
    wanted = policies.optimum(world.reference[-1], world.reward[-1], kl)
    assert (wanted - world.reference[-1].log_softmax(0)).abs().max() > 0.3
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_what_entropy_is_lost_is_the_covariance_and_clip_cov_keeps_some():
    counts, reward = torch.tensor([8, 4, 3, 1]), torch.tensor([1.0, 0.2, 0.4, 0.0], dtype=torch.float64)
    world = policies.Bigram(torch.zeros(5, 4).double(), reward.expand(5, 4), 1)
    table = Table((counts / 16.0).double().log().expand(5, 4))
    tried = torch.arange(4).repeat_interleave(counts)[:, None]
    batch = judged(table, world, tried, torch.zeros(16, dtype=torch.int64))
    batch = grpo.GRPO(grpo.Config(scale=False), table).collect([], asked(batch))
    parts = token_covariances(batch["log_probs"][:, 1], batch["advantage"].double())
    logits, rate = table.logits[-1].detach(), 1e-5
    centred = reward - (counts * reward).sum() / 16
    # A step of natural policy gradient moves the logits along the advantages.
    lost = (policies.entropy(logits + rate * centred) - policies.entropy(logits)) / rate
    assert lost.item() == pytest.approx(-parts.mean().item(), rel=1e-4)
    assert policies.entropy_change(logits, centred).item() == pytest.approx(-parts.mean().item(), rel=1e-6)
    assert lost < 0
    assert (parts > 0.15).sum() == 9
    changes = []
    torch.manual_seed(0)
    for share in (0.0, 0.25, 1.0):
        config = clip_cov.Config(share=share, band_low=0.15, band_high=9.0)
        loss = clip_cov.ClipCov(config, table).loss(batch).total()
        step = -torch.autograd.grad(loss, table.logits)[0][-1]
        measured = (policies.entropy(logits + rate * step) - policies.entropy(logits)) / rate
        assert measured.item() == pytest.approx(policies.entropy_change(logits, step).item(), rel=1e-3)
        changes.append(measured.item())
    # The more of the tokens with the highest covariance are left out, the less entropy goes.
    assert changes[0] < changes[1] < changes[2]
