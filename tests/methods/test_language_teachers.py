"""Language models with a teacher or with preferences, against slow transcriptions in NumPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from didact import worlds
from didact.methods.language import dpo, gkd, kdrl, sft, taid, token_sinkhorn
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer
from didact.teachers import LanguageTeacher
from didact.types import Batch, Head, Questions, TokenOutput
from hand_made import agree, asked, before, clipped, decoder, hand_made, told

PROMPTS = worlds.load("addition")[:4]


def model(seed, shape="1x16"):
    learner = build_causal(f"decoder:{shape}", seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(6.0)
    return learner


def written(learner, texts=("1", "22", "333", "")):
    return Writer(learner, Sampling()).encode(PROMPTS, list(texts)).batch


def log_probs(learner, batch):
    """float64 [B, T, V]."""
    with torch.no_grad():
        scores = learner(batch).logits.double().numpy()
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def predicted(batch):
    """Places of what is learned: row, the position that predicts it, and the token."""
    ids, mask = batch["input_ids"], batch["completion_mask"]
    return [(row, place - 1, int(ids[row, place])) for row, place in mask.nonzero().tolist()]


def dense(learner, batch):
    """The log-probabilities that predict each learned token, [N, V]; differentiable."""
    logits = learner(batch).logits
    return torch.stack([logits[row, place].log_softmax(-1) for row, place, _ in predicted(batch)])


def gradient(terms, learner):
    learner.zero_grad()
    terms.backward()
    return torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])


class Table(nn.Module):
    """A language model of one choice, whose scores are its parameters."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, batch):
        ids = batch["input_ids"]
        return TokenOutput(torch.ones(*ids.shape, 1), Head(self.scores[:, None]))


MINE, THEIRS = [0.3, -1.0, 0.8, 0.0, -0.4], [1.0, 0.2, -0.5, -0.1, 0.4]


def choice(token, reward=0.0, old=0.0):
    """An attempt of one token."""
    one = torch.ones(1)
    mask = torch.tensor([[False, True]])
    ids = torch.tensor([[0, token]])
    batch = {"input_ids": ids, "attention_mask": mask.long(), "completion_mask": mask, "id": torch.tensor([1])}
    batch |= {"log_probs": torch.tensor([[0.0, old]]), "temperature": one, "trust": one, "group": torch.tensor([1])}
    return Batch({**batch, "reward": one * reward, "advantage": one * 0.7, "dead": 0 * one})


def test_sft_is_the_mean_surprise_of_the_answers_tokens():
    learner = model(0)
    batch = written(learner)
    method = sft.SFT(sft.Config(), learner)
    mine = log_probs(learner, batch)
    wanted = -np.mean([mine[row, place, token] for row, place, token in predicted(batch)])
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(wanted, rel=1e-5)
    assert terms["answer"].count == method.counts(batch)["answer"] == 10


def test_sft_is_its_transcription():
    learner = model(0).double()
    batch = written(learner)
    targets = torch.tensor([token for _, _, token in predicted(batch)])
    agree(sft.SFT(sft.Config(), learner), batch, -dense(learner, batch).gather(1, targets[:, None]).mean())


def jensen_shannon(p, q, beta):
    middle = beta * p + (1 - beta) * q
    return beta * np.sum(p * np.log(p / middle)) + (1 - beta) * np.sum(q * np.log(q / middle))


DIVERGENCES = {
    "forward": lambda p, q: np.sum(p * np.log(p / q)),
    "reverse": lambda p, q: np.sum(q * np.log(q / p)),
    "jsd": lambda p, q: jensen_shannon(p, q, 0.3),
    "scaled_jsd": lambda p, q: jensen_shannon(p, q, 0.3) / 0.21,
}


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gkd_compares_the_distributions_at_each_token(kind):
    learner, teacher = model(0), model(1)
    batch = written(learner)
    mine, theirs = log_probs(learner, batch), log_probs(teacher, batch)
    method = gkd.GKD(gkd.Config(divergence=kind, beta=0.3), learner, LanguageTeacher(teacher))
    pairs = [(np.exp(theirs[row, place]), np.exp(mine[row, place])) for row, place, _ in predicted(batch)]
    wanted = np.mean([DIVERGENCES[kind](p, q) for p, q in pairs])
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(wanted, rel=1e-4)
    assert terms["teacher"].count == method.counts(batch)["teacher"]


def kl(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@pytest.mark.parametrize("softening", [1.0, 2.5])
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gkd_is_its_transcription(kind, softening):
    learner, teacher = model(0).double(), model(1).double()
    batch = written(learner)
    q, p = ((dense(one, batch) / softening).log_softmax(-1) for one in (learner, teacher))
    p = p.detach()
    middle = (0.3 * p.exp() + 0.7 * q.exp()).log()
    jsd = 0.3 * kl(p, middle) + 0.7 * kl(q, middle)
    found = {"forward": kl(p, q), "reverse": kl(q, p), "jsd": jsd, "scaled_jsd": jsd / (0.3 * 0.7)}[kind]
    config = gkd.Config(divergence=kind, beta=0.3, softening=softening)
    agree(gkd.GKD(config, learner, LanguageTeacher(teacher)), batch, softening**2 * found.mean())


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gkd_has_nothing_to_learn_from_itself(kind):
    learner = model(0)
    method = gkd.GKD(gkd.Config(divergence=kind), learner, LanguageTeacher(model(0)))
    terms = method.loss(written(learner))
    assert abs(terms.total().item()) < 1e-6
    assert gradient(terms, learner).abs().max() < 1e-6


def test_gkd_asks_the_student_for_its_share_of_the_questions():
    learner = model(0)
    questions = worlds.load("addition")[:40]
    found = {}
    for share in (0.0, 0.5, 1.0):
        method = gkd.GKD(gkd.Config(on_policy=share), learner, LanguageTeacher(model(1)))
        writer = Writer(learner, Sampling(max_new_tokens=9, samples=2), seed=3)
        batch = method.collect(questions, writer)
        assert batch.size == 80
        answers = {question.id: question.completion for question in questions}
        given = [
            learner.tokenizer.decode(ids[mask].tolist()) == answers[int(id)]
            for ids, mask, id in zip(batch["input_ids"], batch["completion_mask"], batch["id"], strict=True)
        ]
        found[share] = sum(given)
        assert bool(writer.ledger.cost.sampled_tokens) == (share > 0)
    assert found[0.0] == 80
    assert 20 < found[0.5] < 60
    assert found[1.0] < 5


def test_taid_aims_between_the_scores_of_student_and_teacher():
    learner, teacher = model(0), model(1)
    batch = written(learner)
    method = taid.TAID(taid.Config(t_start=0.3), learner, LanguageTeacher(teacher))
    with torch.no_grad():
        mine, theirs = (one(batch).logits.double().numpy() for one in (learner, teacher))
    wanted = []
    for row, place, _ in predicted(batch):
        aim = np.exp(0.7 * mine[row, place] + 0.3 * theirs[row, place])
        aim, now = aim / aim.sum(), np.exp(mine[row, place]) / np.exp(mine[row, place]).sum()
        wanted.append(np.sum(aim * np.log(aim / now)))
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(np.mean(wanted), rel=1e-4)
    assert terms["share"].mean().item() == pytest.approx(0.3)


def test_taid_is_its_transcription():
    learner, teacher = model(0).double(), model(1).double()
    batch = written(learner)
    with torch.no_grad():
        parts = [one(batch).logits for one in (learner, teacher)]
        places = [(row, place) for row, place, _ in predicted(batch)]
        aim = torch.stack([(0.7 * parts[0][at] + 0.3 * parts[1][at]).softmax(-1) for at in places])
    method = taid.TAID(taid.Config(t_start=0.3), learner, LanguageTeacher(teacher))
    agree(method, batch, (aim * (aim.log() - dense(learner, batch))).sum(-1).mean())


def test_nothing_flows_through_the_aim_of_taid():
    student = Table(MINE)
    method = taid.TAID(taid.Config(t_start=0.3), student, LanguageTeacher(Table(THEIRS)))
    aim, now = np.exp(0.7 * np.array(MINE) + 0.3 * np.array(THEIRS)), np.exp(MINE)
    found = torch.autograd.grad(method.loss(choice(1))["teacher"].sum, student.scores)[0]
    assert found.numpy() == pytest.approx(now / now.sum() - aim / aim.sum(), abs=1e-6)


def rises(losses, fractions, start, pace, inertia):
    """The share after each step, transcribed from the paper's algorithm, with its alpha for as many steps."""
    share, average, before, used, found = start, 0.0, None, 0.0, []
    for loss, fraction in zip(losses, fractions, strict=True):
        fall = 0.0 if before is None else (before - loss) / (before + 1e-15)
        average = inertia * average + (1 - inertia) * fall
        step = pace * (fraction - used) / (1 + math.exp(-average)) * (1 - share)
        share = min(1.0, max(start + (1 - start) * fraction, share + step))
        before, used = loss, fraction
        found.append(share)
    return found


@pytest.mark.parametrize(("pace", "linear"), [(0.0, True), (3.0, False), (8.0, False)])
def test_the_share_of_taid_rises_as_its_algorithm_says(pace, linear):
    losses = [3.0, 2.0, 2.5, 1.0, 0.2, 0.1, 0.05]
    fractions = [step / 7 for step in range(7)]
    config = taid.Config(t_start=0.2, pace=pace, inertia=0.6)
    learner = model(0)
    method = taid.TAID(config, learner, LanguageTeacher(model(1)))
    found = []
    for loss, fraction in zip(losses, fractions, strict=True):
        method.fraction = fraction
        method.seen = torch.tensor([loss * 5, 5.0])
        method.after_step()
        found.append(float(method.rise.figures[0]))
    assert found == pytest.approx(rises(losses, fractions, 0.2, pace, 0.6), abs=1e-6)
    assert (found == pytest.approx([0.2 + 0.8 * f for f in fractions])) == linear


def test_the_share_of_taid_rises_alike_in_short_and_long_runs():
    """Its adaptive part acts in any budget: what it is after half of it hardly depends on the number of steps."""

    def halfway(steps, pace):
        method = taid.TAID(taid.Config(pace=pace), model(0), LanguageTeacher(model(1)))
        for step in range(steps // 2 + 1):
            method.fraction, method.seen = step / steps, torch.tensor([5.0, 5.0])
            method.after_step()
        return float(method.rise.figures[0])

    linear = 0.4 + 0.6 * 0.5
    short, long = halfway(100, taid.Config().pace), halfway(4000, taid.Config().pace)
    assert short == pytest.approx(long, abs=0.01)
    # Without falls of the loss, the distance to 1 shrinks as exp(-pace / 2 · fraction).
    assert long == pytest.approx(1 - 0.6 * math.exp(-taid.Config().pace / 2 * 0.5), abs=0.005)
    assert long > linear + 0.1
    assert halfway(100, 0.0) == pytest.approx(linear)


def test_taid_goes_on_where_it_was_and_sees_all_parts_of_a_step():
    def made():
        learner = model(0)
        return taid.TAID(taid.Config(pace=0.3), learner, LanguageTeacher(model(1))), learner

    (whole, learner), (cut, _) = made(), made()
    batch = written(learner)
    for method, parts in ((whole, [batch]), (cut, batch.split(3))):
        for part in parts:
            method.loss(part)
        method.after_step()
    assert torch.allclose(whole.rise.figures, cut.rise.figures, rtol=1e-5)
    other, _ = made()
    other.load_state_dict(whole.state_dict())
    assert torch.equal(other.rise.figures, whole.rise.figures)


def pairs(learner):
    batch, other = written(learner), written(learner, ("2", "2", "3", "9999"))
    return Batch({**batch, **{f"rejected.{name}": tensor for name, tensor in other.items() if name != "id"}})


def test_dpo_is_the_logistic_loss_of_the_margin():
    learner = model(0)
    method = dpo.DPO(dpo.Config(beta=0.4), learner)
    with torch.no_grad():
        learner.head.weight.mul_(1.3)
    batch, reference = pairs(learner), model(0)
    margins = []
    for row in range(4):
        sums = {}
        for who, one in (("now", learner), ("then", reference)):
            for side, part in (("chosen", batch), ("rejected", batch.view("rejected"))):
                table = log_probs(one, part)
                sums[who, side] = sum(table[r, place, token] for r, place, token in predicted(part) if r == row)
        chosen = sums["now", "chosen"] - sums["then", "chosen"]
        margins.append(chosen - (sums["now", "rejected"] - sums["then", "rejected"]))
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(np.mean(np.log1p(np.exp(-0.4 * np.array(margins)))), rel=1e-4)
    assert terms["right"].mean().item() == pytest.approx(np.mean(np.array(margins) > 0))
    assert terms["preference"].count == method.counts(batch)["preference"] == 4


def test_dpo_begins_at_log_2_and_widens_the_margin():
    learner = model(0)
    method, batch = dpo.DPO(dpo.Config(), learner), pairs(learner)
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(math.log(2), rel=1e-6)
    terms.backward()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter -= 0.05 * parameter.grad
    assert method.loss(batch).total().item() < math.log(2) - 1e-3
    assert all(not p.requires_grad for p in method.reference.learner.parameters())
    assert "reference" not in method.state_dict()


def taught(**options):
    student = Table(MINE)
    return kdrl.KDRL(kdrl.Config(**options), student, LanguageTeacher(Table(THEIRS))), student


def test_the_estimate_of_kdrl_has_the_gradient_of_the_reverse_divergence():
    q, p = (np.exp(s) / np.exp(s).sum() for s in (np.array(MINE), np.array(THEIRS)))
    excess = np.log(q / p)
    wanted = q * (excess - np.sum(q * excess))
    method, student = taught(estimate="k2")
    expected = np.zeros(5)
    for token in range(5):
        term = method.loss(choice(token))["teacher"]
        assert term.sum.item() == pytest.approx(0.5 * excess[token] ** 2, rel=1e-4)
        expected += q[token] * torch.autograd.grad(term.sum, student.scores)[0].numpy()
    assert expected == pytest.approx(wanted, abs=1e-6)
    method, student = taught(estimate="whole")
    term = method.loss(choice(2))["teacher"]
    assert term.sum.item() == pytest.approx(np.sum(q * excess), rel=1e-5)
    assert torch.autograd.grad(term.sum, student.scores)[0].numpy() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("old", "clipped"), [(-0.9, False), (-5.0, True)])
def test_kdrl_adds_the_surrogate_of_grpo_and_the_teacher(old, clipped):
    q, p = (np.exp(s) / np.exp(s).sum() for s in (np.array(MINE), np.array(THEIRS)))
    method, _ = taught(teacher_weight=0.5, teacher_end=0.1)
    method.fraction = 0.25
    ratio = q[2] / math.exp(old)
    policy = -min(ratio * 0.7, 1.2 * 0.7)
    assert (ratio > 1.2) == clipped
    found = method.loss(choice(2, old=old)).total().item()
    assert found == pytest.approx(policy + 0.4 * np.sum(q * np.log(q / p)), rel=1e-5)


@pytest.mark.parametrize("only_wrong", [False, True])
@pytest.mark.parametrize("estimate", ["whole", "k2"])
def test_kdrl_is_its_transcription(estimate, only_wrong):
    learner, teacher = decoder(), decoder(1)
    config = kdrl.Config(estimate=estimate, only_wrong=only_wrong, teacher_weight=0.5, teacher_end=0.1)
    method = kdrl.KDRL(config, learner, LanguageTeacher(teacher))
    batch = method.collect([], asked(hand_made(learner, drift=0.5)))
    method.fraction = 0.25
    now, then, theirs = told(learner, batch), before(batch), told(teacher, batch)
    policy = [clipped(torch.stack(n), t, a) for n, t, a in zip(now, then, batch["advantage"].double(), strict=True)]
    wrong = [not only_wrong or reward < 1.0 for reward in batch["reward"].tolist()]
    if estimate == "k2":
        kept = [row for row, keep in enumerate(wrong) if keep]
        gaps = [torch.stack(now[row]) - torch.stack(theirs[row]).detach() for row in kept]
        distance = torch.cat(gaps).square() / 2
    else:
        kept = torch.tensor([wrong[row] for row, _, _ in predicted(batch)])
        distance = kl(dense(learner, batch), dense(teacher, batch).detach())[kept]
    agree(method, batch, torch.cat(policy).mean() + 0.4 * distance.mean())


@pytest.mark.parametrize("estimate", ["whole", "k2"])
def test_kdrl_leaves_the_teacher_out_of_what_was_right(estimate):
    method, _ = taught(only_wrong=True, estimate=estimate)
    right, wrong = choice(2, reward=1.0), choice(2, reward=0.5)
    assert method.loss(right)["teacher"].sum.item() == 0.0 == method.counts(right)["teacher"]
    terms = method.loss(wrong)["teacher"]
    assert terms.count == method.counts(wrong)["teacher"] == 1
    other, _ = taught(estimate=estimate)
    assert terms.sum.item() == other.loss(wrong)["teacher"].sum.item() > 0.0


def test_a_world_of_pairs_sets_right_sums_against_a_carry_that_went_wrong():
    plain, questions = worlds.load("addition"), worlds.load("addition:pairs")
    assert isinstance(questions, Questions)
    assert [q.completion for q in questions] == [q.completion for q in plain]
    for question in questions:
        a, b = question.data["a"], question.data["b"]
        ones, tens = (a % 10 + b % 10), a // 10 + b // 10
        wrong = 10 * (tens + (0 if ones > 9 else 1)) + ones % 10
        assert int(question.rejected[::-1]) == wrong != a + b


def test_token_sinkhorn_weighs_transport_divergence_and_answers():
    learner, teacher = model(0), model(1)
    batch = written(learner)
    config = token_sinkhorn.Config(nearest=300, group=64, alpha=0.7, beta=0.3, cloud_softening=2.0)
    method = token_sinkhorn.TokenSinkhorn(config, learner, LanguageTeacher(teacher))
    mine, theirs = log_probs(learner, batch), log_probs(teacher, batch)
    places = predicted(batch)
    q, p = (np.stack([np.exp(table[row, place]) for row, place, _ in places]) for table in (mine, theirs))
    soft = [np.sqrt(one) / np.sqrt(one).sum(-1, keepdims=True) for one in (q, p)]
    kernel = np.exp(-(cost := np.abs(soft[0][:, None] - soft[1]).sum(-1)) / config.regularisation)
    right = np.ones(len(q))
    for _ in range(config.iterations):
        left = 1 / (kernel @ right)
        right = 1 / (kernel.T @ left)
    distance = (left[:, None] * kernel * right * cost).sum() / len(q)
    answer = -np.mean([mine[row, place, token] for row, place, token in places])
    wanted = 0.3 * distance + 0.7 * np.mean((p * np.log(p / q)).sum(-1)) + 0.3 * answer
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx(wanted, rel=1e-3)
    assert {name: term.count for name, term in terms.items()} == method.counts(batch)


def test_token_sinkhorn_is_its_transcription():
    learner, teacher = model(0).double(), model(1).double()
    batch = written(learner)
    config = token_sinkhorn.Config(nearest=300, group=64, alpha=0.7, beta=0.3, cloud_softening=2.0)
    q, p = dense(learner, batch), dense(teacher, batch).detach()
    cost = ((q / 2).softmax(-1)[:, None] - (p / 2).softmax(-1)).abs().sum(-1)
    plan = (-cost / config.regularisation).exp()
    for _ in range(config.iterations):
        plan = plan / plan.sum(1, keepdim=True)
        plan = plan / plan.sum(0, keepdim=True)
    targets = torch.tensor([token for _, _, token in predicted(batch)])
    answer = -q.gather(1, targets[:, None]).mean()
    wanted = 0.3 * (plan * cost).sum() / len(q) + 0.7 * kl(p, q).mean() + 0.3 * answer
    terms = token_sinkhorn.TokenSinkhorn(config, learner, LanguageTeacher(teacher)).loss(batch)
    assert terms.total().item() == pytest.approx(wanted.item(), rel=1e-5)
    found = gradient(terms, learner).clone()
    learner.zero_grad()
    wanted.backward()
    expected = torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])
    # Costs and plans are of float32.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
