"""Options of grpo, dpo and gkd, and the methods beside them: against slow transcriptions, and what each is for."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import didact
from contract import LEARNER, TEACHER
from didact import worlds
from didact.errors import ConfigError, DataError
from didact.experiment.doctor import diagnose
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.losses.policy.groups import extremes_of_groups
from didact.losses.policy.outputs import policy_outputs
from didact.losses.policy.rewards import overlong_penalty
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.overlap import at_likeliest, overlap_figures
from didact.methods.language import dpo, gkd, grpo, kto, online_dpo
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import Sampling, Writer, answer_rewards
from didact.teachers import FunctionVerifier, LanguageTeacher
from didact.types import Batch, Head, Logits, Question, Questions, States
from hand_made import LENGTHS, agree, asked, before, clipped, decoder, hand_made, told
from small_questions import questions

LONGEST = 8


def writing(batch, **sampling):
    """Who gives these attempts, whatever is asked, by such a sampling."""
    given = SimpleNamespace(batch=batch)
    return SimpleNamespace(write=lambda _questions: given, sampling=Sampling(max_new_tokens=LONGEST, **sampling))


# ---- GSPO


def ratios(now, then):
    """By attempt, the geometric mean of its tokens' ratios."""
    return [(torch.stack(mine) - theirs).mean().exp() for mine, theirs in zip(now, then, strict=True)]


@pytest.mark.parametrize("normalise", ["token", "sequence"])
def test_gspo_clips_the_ratio_of_whole_completions(normalise):
    learner = decoder()
    config = grpo.Config(ratio="sequence", normalise=normalise, clip_low=0.02, clip_high=0.03)
    method = grpo.GRPO(config, learner)
    batch = method.collect([], asked(hand_made(learner, drift=0.3)))
    found = ratios(told(learner, batch), before(batch))
    losses, out = [], 0
    for ratio, advantage, (_, count) in zip(found, batch["advantage"].tolist(), LENGTHS, strict=True):
        loss = -torch.minimum(ratio * advantage, ratio.clamp(0.98, 1.03) * advantage)
        losses += [loss] * (count if normalise == "token" else 1)
        beyond = (ratio > 1.03 and advantage > 0) or (ratio < 0.98 and advantage < 0)
        out += count * beyond
    agree(method, batch, torch.stack(losses).mean())
    assert 0 < out < sum(count for _, count in LENGTHS)
    assert float(method.loss(batch)["clipped"].sum) == out


def test_gspo_does_not_clip_for_noise_of_single_tokens():
    """Its mechanism: noise of tokens cancels in a whole completion, a drift of the whole does not.

    Noise like this comes from experts that another kernel routes otherwise. The control is the ratio of tokens.
    """
    learner, generator = decoder(), torch.Generator().manual_seed(0)
    count, length = 4, 40
    ids = torch.randint(4, 260, (count, length + 2), generator=generator)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    mask[:, 2:] = True
    base = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": mask,
        "temperature": torch.ones(count, dtype=torch.float64),
        "id": torch.arange(count),
        "advantage": torch.tensor([1.0, -1.0, 1.0, -1.0]),
        "dead": torch.zeros(count),
    }
    with torch.no_grad():
        scores = learner(Batch(base)).logits.log_softmax(-1)
    now = torch.zeros(ids.shape, dtype=torch.float64)
    now[:, 1:] = scores[:, :-1].gather(2, ids[:, 1:, None])[:, :, 0]
    noise = 0.4 * torch.randn(ids.shape, generator=generator, dtype=torch.float64)
    noise = noise - (noise * mask).sum(1, keepdim=True) / length

    def clipped_share(ratio, old):
        method = grpo.GRPO(grpo.Config(ratio=ratio, clip_low=0.2, clip_high=0.2), learner)
        term = method.loss(Batch({**base, "log_probs": old}))["clipped"]
        return float(term.sum / term.count)

    assert clipped_share("token", now + noise) > 0.2
    assert clipped_share("sequence", now + noise) == 0.0
    # All tokens of the completions with a positive advantage became likelier by 0.3 nats: both notice.
    assert clipped_share("sequence", now - 0.3) == clipped_share("token", now - 0.3) == 0.5


# ---- Dr. GRPO and DAPO


def test_dr_grpo_divides_by_a_constant():
    learner = decoder()
    method = grpo.GRPO(grpo.Config(normalise="constant", scale=False), learner)
    batch = method.collect([], writing(hand_made(learner, drift=0.3)))
    now, then = told(learner, batch), before(batch)
    rows = [
        clipped(torch.stack(mine), theirs, advantage).sum()
        for mine, theirs, advantage in zip(now, then, batch["advantage"].tolist(), strict=True)
    ]
    agree(method, batch, torch.stack(rows).sum() / (len(rows) * LONGEST))
    assert float(method.counts(batch)["policy"]) == len(rows) * LONGEST


def test_dr_grpo_does_not_spare_long_wrong_completions():
    """Its mechanism: each token of a wrong completion is blamed alike, however long that is.

    The control is the mean within sequences, by which a wrong completion pays less a token the longer it is.
    """
    learner = decoder()
    rewards = torch.zeros(len(LENGTHS))
    rewards[0] = 1.0
    one_group = torch.zeros(len(LENGTHS), dtype=torch.int64)
    batch = Batch({**hand_made(learner), "reward": rewards, "group": one_group, "trust": torch.ones(len(LENGTHS))})

    def blame(normalise):
        """How the loss changes with the log-probability of a token of each completion."""
        method = grpo.GRPO(grpo.Config(normalise=normalise, scale=False), learner)
        made = method.collect([], writing(batch))
        tokens = policy_outputs(learner(made), made)
        loss = method._term(made, tokens, tokens.ppo_clip_loss(made["advantage"])).mean()
        (slopes,) = torch.autograd.grad(loss, tokens.log_probs)
        firsts = np.cumsum([0, *(count for _, count in LENGTHS)])[:-1]
        return slopes[firsts].tolist()[1:]

    by_constant, by_sequence = blame("constant"), blame("sequence")
    assert by_constant == pytest.approx([by_constant[0]] * 7)
    assert by_constant[0] > 0
    lengths = [count for _, count in LENGTHS[1:]]
    assert [slope * length for slope, length in zip(by_sequence, lengths, strict=True)] == pytest.approx(
        [by_sequence[0] * lengths[0]] * 7
    )


def test_long_completions_are_punished_softly():
    lengths = torch.tensor([1, 12, 13, 14, 16, 20, 24])
    # The last quarter of 16 tokens: from 12 on, a quarter of a reward for each token.
    assert overlong_penalty(lengths, 16, 0.25).tolist() == pytest.approx([0, 0, -0.25, -0.5, -1.0, -1.0, -1.0])
    learner = decoder()
    batch = hand_made(learner)
    method = grpo.GRPO(grpo.Config(overlong="punish", soft=1.0, scale=False), learner)
    found = method.collect([], writing(batch))["advantage"]
    paid = [reward - count / LONGEST for reward, (_, count) in zip(batch["reward"].tolist(), LENGTHS, strict=True)]
    for row in range(len(LENGTHS)):
        known = [
            paid[i]
            for i in range(len(LENGTHS))
            if batch["group"][i] == batch["group"][row] and float(batch["trust"][i]) > 0
        ]
        wanted = paid[row] - sum(known) / len(known) if float(batch["trust"][row]) > 0 else 0.0
        assert found[row].item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("normalise", ["token", "sequence", "constant"])
def test_truncated_completions_are_left_out(normalise):
    learner = decoder()
    finished = torch.tensor([True, False, True, True, True, False, True, True])
    batch = Batch({**hand_made(learner, drift=0.3), "finished": finished})
    method = grpo.GRPO(grpo.Config(overlong="mask", normalise=normalise), learner)
    made = method.collect([], writing(batch))
    now, then = told(learner, made), before(made)
    rows = [
        clipped(torch.stack(mine), theirs, advantage)
        for mine, theirs, advantage, kept in zip(now, then, made["advantage"].tolist(), finished, strict=True)
        if kept
    ]
    wanted = {
        "token": torch.cat(rows).mean(),
        "sequence": torch.stack([row.mean() for row in rows]).mean(),
        "constant": torch.cat(rows).sum() / (len(LENGTHS) * LONGEST),
    }[normalise]
    agree(method, made, wanted)
    assert float(method.loss(made)["policy"].count) == float(method.counts(made)["policy"])
    # Their rewards still count in what the others are compared with.
    plain = grpo.GRPO(grpo.Config(), learner).collect([], asked(batch))
    assert torch.equal(made["advantage"], plain["advantage"])


def half_hopeless(text, question):
    """No answer to a prompt with an even first number is right; of the others, about half."""
    return float(text[:1].isascii() and bool(text)) if int(question.prompt[0]) % 2 else 0.0


def round_of(redraw):
    values = {"data": questions(), "student": LEARNER, "sampling": "max_new_tokens=4,samples=4", "batch_size": 32}
    config, objects = split_arguments("grpo", verifier=half_hopeless, redraw=redraw, steps=1, lr=1e-3, **values)
    return prepare(config, objects)


def test_prompts_that_teach_nothing_give_way_to_others():
    """The mechanism of dynamic sampling: every group of the round differs in worth; the control has many that don't."""
    plain, filled = round_of(0), round_of(10)
    first, batch = next(iter(plain.source)), next(iter(filled.source))
    assert float(first["dead"].mean()) >= 0.25
    assert batch.size == first.size == 32
    assert float(batch["dead"].sum()) == 0.0
    assert (batch["keep"] == 1).all()
    groups, counts = batch["group"].unique(return_counts=True)
    assert counts.tolist() == [4] * 8
    # Those of the first round that are worth something are still there, with the same completions.
    live = first.select(first["dead"] == 0)
    for group in live["group"].unique():
        mine, theirs = (one.select(one["group"] == group) for one in (batch, live))
        width = min(mine["input_ids"].shape[1], theirs["input_ids"].shape[1])
        assert torch.equal(mine["input_ids"][:, :width], theirs["input_ids"][:, :width])
    assert {question.id for question in filled.data.train} >= set(groups.tolist())
    # The same seed gives the same round.
    again = next(iter(round_of(10).source))
    assert torch.equal(again["input_ids"], batch["input_ids"])


def test_what_no_try_replaced_counts_for_nothing():
    values = {"data": questions(), "student": LEARNER, "sampling": "max_new_tokens=4,samples=4", "batch_size": 32}
    only = {"03": 1}

    def one(text, question):
        return float(bool(text) and text[:1].isascii()) if question.id == only["03"] else 0.0

    config, objects = split_arguments("grpo", verifier=one, redraw=2, steps=1, lr=1e-3, **values)
    run = prepare(config, objects)
    for batch in (next(iter(run.source)) for _ in range(1)):
        assert batch.size == 32
        assert torch.equal(batch["keep"], 1.0 - batch["dead"])
        terms = run.method.loss(batch)
        kept = batch["completion_mask"][:, 1:].sum(1)[batch["keep"] > 0].sum()
        assert float(terms["policy"].count) == float(kept) == float(run.method.counts(batch)["policy"])


def test_options_of_grpo_that_cannot_work_are_refused():
    for options in ({"redraw": 16}, {"redraw": -1}, {"soft": 0.0}, {"normalise": "row"}):
        with pytest.raises(ConfigError):
            grpo.Config(**options)


# ---- IPO, SimPO, ORPO


def pairs(learner):
    batch, other = hand_made(learner), hand_made(learner, seed=5)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "completion_mask", "id")}
    view = {f"rejected.{name}": other[name] for name in ("input_ids", "attention_mask", "completion_mask")}
    return Batch({**plain, **view})


def summed(learner, side, mean):
    """By attempt, the log-probability of its tokens at temperature 1, or of each on average."""
    logits, found = learner(side).logits, []
    for row, (start, count) in enumerate(LENGTHS):
        steps = [logits[row, t - 1].log_softmax(0)[side["input_ids"][row, t]] for t in range(start, start + count)]
        found.append(torch.stack(steps).mean() if mean else torch.stack(steps).sum())
    return torch.stack(found)


@pytest.mark.parametrize("objective", ["dpo", "ipo", "simpo", "orpo"])
def test_dpo_has_the_objectives_of_its_successors(objective):
    learner = decoder()
    method = dpo.DPO(dpo.Config(objective=objective, margin=0.4), learner)
    with torch.no_grad():
        learner.head.weight.mul_(1.3)
    batch, reference = pairs(learner), decoder()
    mean = objective != "dpo"
    sides = batch, batch.view("rejected")
    chosen, rejected = (summed(learner, side, mean) for side in sides)
    with torch.no_grad():
        before_chosen, before_rejected = (summed(reference, side, mean) for side in sides)
    margin = chosen - before_chosen - (rejected - before_rejected)
    wanted = {
        "dpo": lambda: (1 + (-0.1 * margin).exp()).log().mean(),
        "ipo": lambda: (margin - 5.0).square().mean(),
        "simpo": lambda: (1 + (-(2.0 * (chosen - rejected) - 0.4)).exp()).log().mean(),
        "orpo": lambda: orpo(learner, batch, chosen, rejected),
    }[objective]()
    agree(method, batch, wanted)
    assert (method.reference is None) == (objective in ("simpo", "orpo"))
    counts = method.counts(batch)
    for name, term in method.loss(batch).items():
        assert float(term.count) == float(counts[name])


def orpo(learner, batch, chosen, rejected):
    """The likelihood of the preferred answers by token, and a tenth of the odds ratio of pairs."""
    p, q = chosen.exp(), rejected.exp()
    ratio = torch.log(p / (1 - p)) - torch.log(q / (1 - q))
    tokens = sum(count for _, count in LENGTHS)
    return -summed(learner, batch, False).sum() / tokens + 0.1 * (1 + (-ratio).exp()).log().mean()


# ---- KTO


def unpaired(count=48):
    """Right and wrong answers, one each to a prompt, labelled."""
    found = []
    for question in questions(count):
        good = question.id % 2 == 0
        text = question.completion if good else question.rejected
        found.append(dataclasses.replace(question, completion=text, rejected=None, label=good))
    return Questions(items=tuple(found), name="unpaired", verifier="exact")


def test_kto_weighs_answers_against_the_divergence_of_others():
    learner, asked_for = build_causal("decoder:1x16:64", seed=0), unpaired(6)
    method = kto.KTO(kto.Config(beta=0.4, undesirable=2.0), learner, asked_for)
    with torch.no_grad():
        learner.head.weight.mul_(1.5)
    reference = build_causal("decoder:1x16:64", seed=0)
    writer = Writer(learner, Sampling())
    batch = method.collect(asked_for[:6], writer)

    def total(model, question, text):
        tokens = model.tokenizer.prompt(question), model.tokenizer.completion(question, text)
        ids = torch.tensor([[*tokens[0], *tokens[1]]])
        given = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        with torch.no_grad():
            scores = model(given).logits[0].log_softmax(-1)
        start = len(tokens[0])
        return sum(scores[start + i - 1, token].item() for i, token in enumerate(tokens[1]))

    items = list(asked_for)

    def ratio(question, text):
        return total(learner, question, text) - total(reference, question, text)

    others = [ratio(question, items[(i + 1) % 6].completion) for i, question in enumerate(items)]
    z = max(0.0, sum(others) / 6)
    assert batch["divergence"].tolist() == pytest.approx([z] * 6, abs=1e-4)
    wanted = []
    for question in items:
        gain = 0.4 * (ratio(question, question.completion) - z)
        good = question.label
        wanted.append(1 - 1 / (1 + math.exp(-gain)) if good else 2.0 * (1 - 1 / (1 + math.exp(gain))))
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(sum(wanted) / 6, rel=1e-4)
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {name: float(counts[name]) for name in terms}


@pytest.mark.parametrize("divergence", [0.0, 0.8])
def test_kto_is_its_transcription(divergence):
    learner = decoder()
    batch = hand_made(learner)
    good = torch.tensor([True, False, True, True, False, False, True, False])
    with torch.no_grad():
        reference = summed(decoder(1), batch, False)
    z = torch.full((8,), divergence, dtype=torch.float64)
    method = kto.KTO(kto.Config(beta=0.4, desirable=1.5, undesirable=0.5), learner, unpaired(2))
    gain = 0.4 * (summed(learner, batch, False) - reference - divergence)
    losses = [
        1.5 * (1 - g.sigmoid()) if right else 0.5 * (1 - (-g).sigmoid())
        for g, right in zip(gain, good.tolist(), strict=True)
    ]
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "completion_mask", "id")}
    rows = Batch({**plain, "good": good, "reference": reference, "divergence": z})
    agree(method, rows, torch.stack(losses).mean())


def test_kto_learns_what_labels_say_and_nothing_from_labels_that_say_nothing():
    """The mechanism with its control: right answers gain on wrong ones; with labels at random they do not."""

    def gap(shuffled):
        data = unpaired()
        if shuffled:
            generator = torch.Generator().manual_seed(3)
            labels = [data[i].label for i in torch.randperm(len(data), generator=generator).tolist()]
            items = (dataclasses.replace(q, label=label) for q, label in zip(data, labels, strict=True))
            data = dataclasses.replace(data, items=tuple(items))
        result = didact.run("kto", data=data, student=LEARNER, steps=40, batch_size=16, lr=3e-3, progress=False,
                            sampling="max_new_tokens=4", select="last")  # fmt: skip
        student, start = result.student, build_causal(LEARNER, seed=0)
        apart = {True: [], False: []}
        writer = Writer(student, Sampling())
        for question in unpaired():
            rows = writer.encode([question], [question.completion]).batch
            with torch.no_grad():
                now, then = (
                    model(rows).logits[0].log_softmax(-1)[:-1].gather(1, rows["input_ids"][0, 1:, None])[:, 0]
                    for model in (student, start)
                )
            places = rows["completion_mask"][0, 1:]
            apart[question.id % 2 == 0].append(float((now - then)[places].sum()))
        return np.mean(apart[True]) - np.mean(apart[False])

    told_right, told_nothing = gap(False), gap(True)
    assert told_right > 1.0
    assert told_right > 2 * abs(told_nothing)


def test_kto_needs_a_label_for_every_answer():
    bare = [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(40)]
    with pytest.raises(DataError, match="has neither a label nor a rejected answer, but kto needs"):
        didact.run("kto", data=bare, student=LEARNER, steps=1, sampling="max_new_tokens=4")


# ---- online DPO


def test_the_best_and_the_worst_of_each_group():
    reward = torch.tensor([0.5, 1.0, 0.0, 2.0, 1.0, 9.0, 0.5])
    group = torch.tensor([7, 7, 3, 7, 3, 7, 3])
    trust = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    best, worst = extremes_of_groups(reward, group, trust)
    assert best.tolist() == [4, 3]
    assert worst.tolist() == [2, 0]
    assert extremes_of_groups(reward, group)[0].tolist() == [4, 5]


@pytest.mark.parametrize("objective", ["dpo", "ipo"])
def test_online_dpo_prefers_the_best_of_its_own_completions_to_the_worst(objective):
    learner = decoder()
    method = online_dpo.OnlineDPO(online_dpo.Config(objective=objective, beta=0.3), learner)
    with torch.no_grad():
        learner.head.weight.mul_(1.2)
    rollouts = hand_made(learner)
    batch = method.collect([], asked(rollouts))
    # Groups 5, 7 and 9: of 9 both are worth the same, and of 7 the fourth is not known.
    assert batch["group"].tolist() == [5, 7, 9]
    assert batch["pair"].tolist() == [1.0, 1.0, 0.0]
    now, reference = told(learner, rollouts), told(decoder(), rollouts)
    ratio = [sum(mine) - sum(theirs).detach() for mine, theirs in zip(now, reference, strict=True)]
    losses = []
    for best, worst in ((4, 6), (0, 1)):
        margin = ratio[best] - ratio[worst]
        losses.append((1 + (-0.3 * margin).exp()).log() if objective == "dpo" else (margin - 1 / 0.6).square())
    agree(method, batch, torch.stack(losses).mean())
    counts = method.counts(batch)
    for name, term in method.loss(batch).items():
        assert float(term.count) == float(counts[name])


@pytest.mark.slow
def test_online_dpo_earns_more_and_a_coin_teaches_it_nothing():
    """The mechanism with its control, on the same questions: rewards that say something, and rewards at random."""
    generator = torch.Generator().manual_seed(0)

    def coin(text, question):
        return float(torch.rand((), generator=generator))

    def ascii_start(text, question):
        return float(bool(text) and text[:1].isascii())

    def earned(verifier):
        result = didact.run("online_dpo", data=questions(), student=LEARNER, verifier=verifier, steps=60, batch_size=32,
                            lr=1e-2, progress=False, sampling="max_new_tokens=2,samples=4")  # fmt: skip
        writer = Writer(result.student, Sampling(max_new_tokens=2, samples=8), FunctionVerifier(ascii_start), seed=5)
        return float(writer.write(list(questions()), turn=3).batch["reward"].mean())

    paid, tossed = earned(ascii_start), earned(coin)
    assert paid > 0.8
    assert paid > tossed + 0.2


# ---- reward models


def test_a_reward_is_what_the_model_scores_behind_the_answer():
    learner = build_causal("decoder:1x16:64", seed=0)
    rows = Writer(learner, Sampling()).encode(list(questions(4)), ["1", "22", "333", "4"]).batch
    found = answer_rewards(learner, rows)
    for row in range(4):
        ids = rows["input_ids"][row][rows["attention_mask"][row] > 0]
        assert ids[-1] == learner.tokenizer.eos
        alone = Batch({"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]})
        wanted = learner(alone).logits[0, -1, learner.tokenizer.eos]
        assert found[row].item() == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("center", [0.0, 0.5])
def test_a_reward_model_is_a_bradley_terry_model(center):
    prepared = prepare(*split_arguments("reward_model", data=questions(), student=LEARNER, batch_size=8, center=center))
    method, batch = prepared.method, next(iter(prepared.source))
    learner = method.learner.double()
    chosen, rejected = (behind(learner, side) for side in (batch, batch.view("rejected")))
    wanted = (
        -(chosen.exp() / (chosen.exp() + rejected.exp())).log().mean() + center * (chosen + rejected).square().mean()
    )
    agree(method, batch, wanted)


def behind(learner, side):
    """By answer, the score of the end of the sequence behind its last token."""
    logits = learner(side).logits
    return torch.stack(
        [row[int(there.sum()) - 1, 2] for row, there in zip(logits, side["attention_mask"], strict=True)]
    )


@pytest.mark.slow
def test_a_reward_model_that_was_trained_judges_and_teaches(tmp_path, monkeypatch):
    """From pairs that differ in their first character it orders unseen ones, and grpo learns from it."""
    monkeypatch.chdir(tmp_path)

    def data(shuffled):
        generator = torch.Generator().manual_seed(1)
        rows = []
        for question in questions():
            good, bad = f"7{question.id % 5}", f"3{question.id % 5}"
            if shuffled and torch.rand((), generator=generator) < 0.5:
                good, bad = bad, good
            rows.append({"prompt": question.prompt, "chosen": good, "rejected": bad})
        return rows

    for name, shuffled in (("told", False), ("shuffled", True)):
        didact.run("reward_model", data=data(shuffled), student=LEARNER, steps=60, batch_size=16, lr=3e-3,
                   directory=f"runs/{name}", progress=False, sampling="max_new_tokens=4")  # fmt: skip
    ordered = {}
    unseen = [Question(id=1000 + i, prompt=f"{i}+{i + 1}=") for i in range(10, 40)]
    for name in ("told", "shuffled"):
        verifier = verifier_of(f"reward:runs/{name}")
        good, bad = (verifier.verify([f"{digit}4"] * 30, unseen).value for digit in (7, 3))
        ordered[name] = float((good > bad).float().mean())
        assert verifier.score("74", unseen[0]) == pytest.approx(good[0].item(), abs=1e-5)
    assert ordered["told"] == 1.0
    assert ordered["shuffled"] < 1.0
    long = verifier.verify(["7" * 200, "7"], unseen[:2])
    assert long.trust.tolist() == [0.0, 1.0]
    result = didact.run("grpo", data=data(False), student=LEARNER, verifier="reward:runs/told", steps=40, lr=1e-2,
                        batch_size=32, progress=False, sampling="max_new_tokens=2,samples=8")  # fmt: skip
    rewards = [record["watched/reward"] for record in result.history if "watched/reward" in record]
    assert rewards[-1] > rewards[0] + 0.5


# ---- estimates of the divergence


def scores(seed, count=50, vocabulary=12):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(count, vocabulary, generator=generator)


def test_the_divergence_at_the_likeliest_counts_the_rest_as_one():
    mine, theirs = scores(0), scores(1)
    head, states = Head(torch.eye(12)), mine.clone().requires_grad_()
    signal = at_likeliest(states, head, Logits(logits=theirs), 4)
    term = token_divergence(states, head, signal, kind="reverse")
    q, p = mine.double().softmax(1).numpy(), theirs.double().softmax(1).numpy()
    wanted = 0.0
    for row in range(50):
        best = np.argsort(-q[row])[:4]
        rest = np.setdiff1d(np.arange(12), best)
        outcomes = [(q[row][i], p[row][i]) for i in best] + [(q[row][rest].sum(), p[row][rest].sum())]
        wanted += sum(a * np.log(a / b) for a, b in outcomes)
    assert term.sum.item() == pytest.approx(wanted, rel=1e-5)
    # With all ids it is the whole divergence, and with fewer never more than it.
    whole = token_divergence(states, head, Logits(logits=theirs), kind="reverse").sum.item()
    every = at_likeliest(states, head, Logits(logits=theirs), 12)
    assert token_divergence(states, head, every, kind="reverse").sum.item() == pytest.approx(whole, rel=1e-5)
    assert term.sum.item() < whole


def test_a_small_tail_keeps_its_digits():
    theirs = torch.zeros(1, 1000)
    theirs[0, 0] = 30.0
    signal = at_likeliest(torch.zeros(1, 1000), Head(torch.eye(1000)), Logits(logits=theirs), 1)
    signal = at_likeliest(theirs.clone(), Head(torch.eye(1000)), Logits(logits=theirs), 1)
    assert signal.tail.item() == pytest.approx(999 * math.exp(-30.0), rel=1e-3)


def test_the_sampled_estimate_has_the_gradient_of_the_reverse_divergence():
    """Over all tokens, weighted by the student's probabilities; weighted by the teacher's, the control, it has not."""
    mine, theirs = scores(2, count=1), scores(3, count=1)
    head = Head(torch.eye(12))
    states = mine.clone().requires_grad_()
    whole = torch.autograd.grad(token_divergence(states, head, Logits(logits=theirs), kind="reverse").sum, states)[0]
    method = gkd.GKD(gkd.Config(estimate="sampled"), build_causal(LEARNER), LanguageTeacher(build_causal(TEACHER)))
    q, p = mine.softmax(1)[0], theirs.softmax(1)[0]
    slopes = []
    for token in range(12):
        rows = one_token(states, head, token)
        slopes.append(torch.autograd.grad(method._term(rows, Logits(logits=theirs), Batch({})).sum, states)[0])
    over_student = sum(w * slope for w, slope in zip(q, slopes, strict=True))
    over_teacher = sum(w * slope for w, slope in zip(p, slopes, strict=True))
    torch.testing.assert_close(over_student, whole, rtol=1e-4, atol=1e-5)
    assert (over_teacher - whole).abs().max() > 0.05


def one_token(states, head, token):
    from didact.losses.tokens.rows import CompletionTokens

    zero = torch.zeros(1, dtype=torch.int64)
    return CompletionTokens(
        targets=torch.tensor([token]), row=zero, position=zero + 1, weight=None, size=1, hidden=states, head=head
    )


def test_each_estimate_brings_the_student_nearer_to_its_teacher():
    values = {"data": worlds.load("addition").select(range(60)), "student": LEARNER, "teacher": "decoder:1x16:64"}
    values |= {"batch_size": 16, "sampling": "max_new_tokens=4", "progress": False}
    start = didact.run("gkd", steps=1, lr=1e-9, **values).metrics["teacher_kl"]
    # A sampled token says less.
    for steps, options in ((80, {"estimate": "sampled"}), (40, {"estimate": "top_k", "top_k": 5}), (40, {})):
        found = didact.run("gkd", steps=steps, lr=2e-2, **values, **options)
        assert found.metrics["teacher_kl"] < 0.7 * start, options


def test_estimates_that_would_not_be_what_they_say_are_refused():
    for options in (
        {"estimate": "sampled", "divergence": "forward"},
        {"estimate": "sampled", "on_policy": 0.5},
        {"estimate": "top_k", "softening": 2.0},
        {"estimate": "half"},
        {"top_k": 0},
    ):
        with pytest.raises(ConfigError):
            gkd.Config(**options)


def test_what_the_teacher_thinks_of_the_students_likeliest():
    mine, theirs = scores(4), scores(5)
    found = overlap_figures(mine, Head(torch.eye(12)), States(hidden=theirs, head=Head(torch.eye(12))), 3)
    q, p = mine.double().softmax(1).numpy(), theirs.double().softmax(1).numpy()
    for row in range(50):
        both = set(np.argsort(-q[row])[:3].tolist()) & set(np.argsort(-p[row])[:3].tolist())
        assert found["overlap"][row].item() == pytest.approx(len(both) / 3)
        assert found["overlap_mass"][row].item() == pytest.approx(sum(q[row][i] for i in both), abs=1e-6)
        advantage = np.mean([np.log(p[row][i] / q[row][i]) for i in both]) if both else 0.0
        assert found["overlap_advantage"][row].item() == pytest.approx(advantage, abs=1e-5)
        gap = -np.sum(p[row] * np.log(p[row])) + np.sum(q[row] * np.log(q[row]))
        assert found["entropy_gap"][row].item() == pytest.approx(gap, abs=1e-5)


def test_rows_with_labels_are_read_by_kto_alone():
    """In the layout that people have, from a list of rows; another method would learn bad answers as good ones."""
    rows = [{"prompt": f"{i}+1=", "completion": str(i + 1 + i % 2), "label": i % 2 == 0} for i in range(40)]
    values = {"data": rows, "student": LEARNER, "steps": 2, "batch_size": 8, "lr": 1e-3, "progress": False}
    result = didact.run("kto", sampling="max_new_tokens=4", **values)
    assert result.status == "done"
    assert math.isfinite(result.metrics["nll"])
    config, objects = split_arguments("kto", sampling="max_new_tokens=4", **values)
    (shown,) = (check.detail for check in diagnose(config, objects) if check.name == "example")
    question = prepare(config, objects).data.train[0]
    assert f"{question.prompt}⟦{question.completion}" in shown
    with pytest.raises(DataError, match="whose label is false, but the method 'sft'"):
        didact.run("sft", **values)
    with pytest.raises(DataError, match="whose label is false"):
        didact.run("kto", sampling="max_new_tokens=4", **{**values, "student": f"warm:5:{LEARNER}"})
