"""Several teachers: worked answers where all attempts fail, and rationales beside answers; against transcriptions."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import didact
from didact import worlds
from didact.errors import ConfigError, DataError
from didact.losses.policy.outputs import mean_token_probs
from didact.losses.policy.selection import best_of_group
from didact.losses.policy.surrogate import policy_shaping_loss
from didact.methods.language import ampo, tinyllm
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import (
    Rollouts,
    Sampling,
    Writer,
    accepted_completions,
    comprehension_scores,
    mask_answers,
    rationales_of,
    replace_rollouts,
    teacher_completions,
)
from didact.types import Batch, Question, Questions
from small_questions import questions as small_questions

WAYS = {"short": "12:12", "long": "5+7=12\n12", "wrong": "5+7=13", "tall": "1" * 60 + "12"}
ASKED = tuple(
    Question(id=i, prompt=f"5+7={i}=", answer="12", data={"rationales": WAYS} if i != 4 else {}) for i in range(5)
)


def decoder(spec="decoder:1x16:48", seed=0):
    return build_causal(spec, seed=seed).double()


def make_writer(learner, samples=4, **sampling):
    verifier = verifier_of("small_questions:ends_right")
    return Writer(learner, Sampling(samples=samples, max_new_tokens=6, **sampling), verifier)


def rollouts(learner, questions, texts, writer):
    """Rollouts that say what they are told to, with log-probabilities of another policy."""
    said = writer.encode([q for q in questions for _ in range(writer.sampling.samples)], texts)
    then = torch.full(said.batch["input_ids"].shape, -2.0) * said.batch["completion_mask"]
    ones = torch.ones(said.batch.size)
    more = {"log_probs": then, "temperature": ones, "version": ones.long(), "finished": ones.bool()}
    return writer.verify(Rollouts(Batch({**said.batch, **more}), said.texts, said.questions))


def log_probs(learner, batch):
    """By row, the log-probability of each of its completion tokens."""
    found, scores = [], learner(batch).logits.log_softmax(-1)
    for row, mask in enumerate(batch["completion_mask"].tolist()):
        found.append([scores[row, t - 1, batch["input_ids"][row, t]] for t, there in enumerate(mask) if there])
    return found


def agree(method, batch, wanted):
    """The whole loss, and its gradient, are what the transcription says."""
    loss, parameters = method.loss(batch).total(), list(method.learner.parameters())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


# ---- the arithmetic


@pytest.mark.parametrize("shape", [0.1, 0.5])
def test_what_others_chose_teaches_most_where_it_is_neither_sure_nor_unthinkable(shape):
    p = np.array([0.9, 0.1, 0.01, 0.5, 1.0])
    advantage = np.array([1.0, 0.75, 2.0, -0.5, 0.0])
    now = torch.tensor(np.log(p), requires_grad=True)
    found = policy_shaping_loss(now, torch.tensor(advantage), shape)
    assert found.detach().numpy() == pytest.approx(-p / (p + shape) * advantage)
    found.sum().backward()
    assert now.grad.numpy() == pytest.approx(-advantage * shape * p / (p + shape) ** 2)
    with pytest.raises(ConfigError, match="shape"):
        policy_shaping_loss(now, now, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_the_best_of_each_group_are_chosen(count):
    generator = torch.Generator().manual_seed(count)
    group = torch.randint(0, 5, (30,), generator=generator) * 11 - 20
    score = torch.randint(0, 6, (30,), generator=generator).float()
    wanted = [False] * 30
    for one in set(group.tolist()):
        mates = [i for i in range(30) if group[i] == one]
        for i in sorted(mates, key=lambda i: (-score[i].item(), i))[:count]:
            wanted[i] = True
    assert best_of_group(score, group, count).tolist() == wanted


def test_comprehension_is_the_mean_probability_of_the_tokens():
    learner = decoder()
    batch = make_writer(learner).encode(ASKED[:3], ["12:12", "1", "5+7=12\n12"]).batch
    batch["completion_mask"][1] = False
    found = mean_token_probs(learner(batch), batch)
    said = log_probs(learner, batch)
    wanted = [np.mean([one.exp().item() for one in said[0]]), 0.0, np.mean([one.exp().item() for one in said[2]])]
    assert found.tolist() == pytest.approx(wanted)


# ---- worked answers


@pytest.mark.parametrize("spec", ["decoder:1x16:48", "decoder:1x16:48:numbers"])
def test_the_answer_is_found_where_it_is_written_last(spec):
    learner = decoder(spec)
    asked = [dataclasses.replace(ASKED[0], answer=answer) for answer in ("12", "12", "9", "ß", None, "7")]
    texts = ["12:12", "12.0 it is", "12", "aßb", "12", "5+7=12"]
    worked = make_writer(learner).encode(asked, texts)
    found = mask_answers(worked, learner.tokenizer)
    said = [
        learner.tokenizer.decode(ids[mask].tolist())
        for ids, mask in zip(found["input_ids"], found["completion_mask"], strict=True)
    ]
    assert said == ["12", "12", "12", "ß", "12", "7"]
    # Of a text whose answer comes twice, the first is not meant.
    assert int(found["completion_mask"][0].nonzero()[0, 0]) > int(worked.batch["completion_mask"][0].nonzero()[0, 0])
    assert torch.equal(found["input_ids"], worked.batch["input_ids"])


def test_only_right_answers_that_fit_are_taken_and_each_once():
    writer = make_writer(decoder())
    told = [(ASKED[i], WAYS[name]) for i in (0, 2) for name in ("short", "wrong", "tall", "long", "short")]
    found = accepted_completions(writer, told)
    assert found.texts == (WAYS["short"], WAYS["long"]) * 2
    assert [q.id for q in found.questions] == found.batch["group"].tolist() == [0, 0, 2, 2]
    assert found.batch["reward"].tolist() == [1.0] * 4
    assert accepted_completions(writer, [(ASKED[0], WAYS["wrong"])]) is None
    assert accepted_completions(writer, [(ASKED[0], WAYS["tall"])]) is None


def test_answers_of_others_stand_where_attempts_stood():
    learner = decoder()
    writer = make_writer(learner, samples=3)
    mine = rollouts(learner, ASKED[:2], [f"{i}" for i in range(6)], writer).batch
    answers = [(ASKED[1], WAYS["long"]), (ASKED[0], WAYS["short"]), (ASKED[1], WAYS["short"])]
    given = accepted_completions(writer, answers).batch
    found = replace_rollouts(mine, given)
    assert found["own"].tolist() == [1, 1, 0, 1, 0, 0]
    assert found["group"].tolist() == [0, 0, 0, 1, 1, 1]
    masks = found["completion_mask"]
    decoded = [learner.tokenizer.decode(i[m].tolist()) for i, m in zip(found["input_ids"], masks, strict=True)]
    assert decoded == ["0", "1", WAYS["short"], "3", WAYS["short"], WAYS["long"]]
    assert found["reward"].tolist() == [0, 0, 1, 0, 1, 1]
    assert found["trust"].tolist() == found["temperature"].tolist() == [1.0] * 6
    assert found["log_probs"][found["own"] == 0].abs().sum() == 0
    assert found["log_probs"][0].sum() == -2.0 * 2


def test_models_are_asked_once_each_and_what_they_do_not_finish_is_left_out():
    class Scripted:
        def write(self, questions, *, samples, by, verify):
            assert (samples, verify) == (1, False)
            ended = torch.tensor([q.id != 1 for q in questions])
            texts = tuple(f"{by}{q.id}" if q.id != 2 else "" for q in questions)
            return SimpleNamespace(questions=tuple(questions), texts=texts, batch={"finished": ended})

    told = teacher_completions(Scripted(), ["a", "b"], ASKED[:4])
    assert [text for _, text in told] == ["a0", "a3", "b0", "b3"]
    assert teacher_completions(Scripted(), [], ()) == []


# ---- ampo


@pytest.mark.parametrize(("replaced", "scale"), [(1, False), (2, False), (2, True)])
def test_ampo_learns_from_teachers_where_all_attempts_fail(replaced, scale):
    learner = decoder()
    writer = make_writer(learner)
    said = ["3", "12", "4", "7", *"1234", *"5678"]
    hand_made = rollouts(learner, (ASKED[0], ASKED[1], ASKED[4]), said, writer)
    writer.write = lambda _questions: hand_made
    config = ampo.Config(replaced=replaced, scale=scale, solvers=("short", "long", "wrong"))
    method = ampo.AMPO(config, learner, Questions(items=ASKED))
    batch = method.collect((ASKED[0], ASKED[1], ASKED[4]), writer)
    # The first question was answered; to the third there is no worked answer.
    own = [1] * 8 + [1] * 4
    own[8 - replaced : 8] = [0] * replaced
    assert batch["own"].tolist() == own
    score = {}
    for name in ("short", "long"):
        one = writer.encode([ASKED[1]], [WAYS[name]]).batch
        score[name] = np.mean([p.exp().item() for p in log_probs(learner, one)[0][-3:-1]])  # the last 12, without eos
    best = max(score, key=score.__getitem__)
    taken = [learner.tokenizer.decode(batch["input_ids"][7][batch["completion_mask"][7]].tolist())]
    assert taken == [WAYS[best]]
    rewards = np.array([0, 1, 0, 0, *[0] * (4 - replaced), *[1] * replaced, 0, 0, 0, 0]).reshape(3, 4)
    advantage = rewards - rewards.mean(1, keepdims=True)
    if scale:
        advantage = advantage / np.maximum(rewards.std(1, ddof=1, keepdims=True), 1e-6)
    assert batch["advantage"].tolist() == pytest.approx(advantage.ravel().tolist())
    now, total, count = log_probs(learner, batch), 0.0, 0
    for row, (mine, value) in enumerate(zip(own, advantage.ravel().tolist(), strict=True)):
        for one in now[row]:
            ratio = (one + 2.0).exp()
            kept = -torch.minimum(ratio * value, ratio.clamp(0.8, 1.2) * value)
            total = total + (kept if mine else -one.exp() / (one.exp() + 0.1) * value)
            count += 1
    agree(method, batch, total / count)
    terms, counts = method.loss(batch), method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == pytest.approx(
        {name: float(counts[name]) for name in terms}
    )
    assert float(terms["guided"].mean()) == pytest.approx(replaced / 12)
    assert float(terms["reward"].mean()) == pytest.approx(1 / (12 - replaced))


def test_ampo_is_grpo_where_nothing_fails():
    learner = decoder()
    writer = make_writer(learner)
    hand_made = rollouts(learner, ASKED[:1], ["3", "12", "4", "12"], writer)
    writer.write = lambda _questions: hand_made
    batch = ampo.AMPO(ampo.Config(), learner, Questions(items=ASKED)).collect(ASKED[:1], writer)
    assert batch["own"].tolist() == [1.0] * 4
    assert batch["advantage"].tolist() == [-0.5, 0.5, -0.5, 0.5]


def test_the_text_that_the_learner_follows_best_is_preferred():
    """Of two right answers, the one whose answer a model that was taught one of them expects."""
    learner = build_causal("decoder:1x32:48", seed=0)
    writer = make_writer(learner)
    taught = writer.encode(ASKED[:1], [WAYS["long"]]).batch
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.stack(log_probs(learner, taught)[0]).mean().neg().backward()
        optimizer.step()
    right = accepted_completions(writer, [(ASKED[1], WAYS["short"]), (ASKED[1], WAYS["long"])])
    short, long = comprehension_scores(learner, right).tolist()
    assert long > 0.9 > short
    assert best_of_group(torch.tensor([short, long]), right.batch["group"], 1).tolist() == [False, True]
    assert learner.training


def test_ampo_learns_from_language_models_whatever_their_tokenizers():
    plain = [dataclasses.replace(q, data={}) for q in small_questions(24)]
    data = Questions(items=tuple(plain), name="sums", verifier="small_questions:ends_right")
    given = {"method": "ampo", "data": data, "student": "decoder:1x16:64", "steps": 2, "batch_size": 16, "seed": 0}
    given |= {"sampling": {"max_new_tokens": 4, "samples": 4}, "lr": 1e-2, "progress": False}
    result = didact.run(**given, teacher="warm:150:decoder:1x32:64:numbers+warm:150:decoder:1x32:64")
    guided = [record["watched/guided"] for record in result.history if "watched/guided" in record]
    assert max(guided) > 0.0
    with pytest.raises(ConfigError, match="ampo has no teacher, and no question has rationales of anyone"):
        didact.run(**given)


def test_ampo_says_what_it_cannot_work_with():
    learner, questions = decoder(), Questions(items=ASKED)
    with pytest.raises(ConfigError, match="rationales of nobody"):
        ampo.AMPO(ampo.Config(solvers=("nobody",)), learner, questions)
    with pytest.raises(ConfigError, match="replaced is 4, but there are 4 rollouts"):
        ampo.AMPO(ampo.Config(replaced=4), learner, questions).collect(ASKED, make_writer(learner))
    with pytest.raises(DataError, match="must be a table of texts"):
        rationales_of(dataclasses.replace(ASKED[0], data={"rationales": ["12"]}))
    assert rationales_of(ASKED[4]) == rationales_of(dataclasses.replace(ASKED[0], data={"rationales": None})) == {}
    assert rationales_of(dataclasses.replace(ASKED[0], data={"rationales": {"a": None, "b": "12"}})) == {"b": "12"}


# ---- tinyllm


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (tinyllm.Config(solvers=("long", "short")), {"long": 1.0, "short": 1.0}),
        (tinyllm.Config(solvers=("short", "long"), rationale=(0.5, 2.0)), {"short": 0.5, "long": 2.0}),
        (tinyllm.Config(solvers=("short", "wrong"), rationale=(0.0, 2.0)), {"wrong": 2.0}),
        (tinyllm.Config(solvers=("short",), rationale=(0.0,)), {}),
    ],
)
def test_tinyllm_learns_answers_and_the_rationales_of_each_teacher(config, weights):
    learner = decoder()
    method = tinyllm.TinyLLM(config, learner, Questions(items=ASKED))
    batch = method.collect(ASKED[3:], make_writer(learner))
    # The second question has no rationales.
    assert batch["task"].tolist() == [*range(1 + len(weights)), 0]
    assert batch["id"].tolist() == [3] * (1 + len(weights)) + [4]
    words = [
        learner.tokenizer.decode(ids[kept.bool()].tolist())
        for ids, kept in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert words == ["5+7=3=12", *(f"{name}: 5+7=3={WAYS[name]}" for name in weights), "5+7=4=12"]
    now = log_probs(learner, batch)
    answers = [*now[0], *now[-1]]
    total = -sum(answers) / len(answers)
    for row, weight in enumerate(weights.values(), 1):
        total = total - weight * sum(now[row]) / len(now[row])
    agree(method, batch, total)
    terms, counts = method.loss(batch), method.counts(batch)
    assert terms.keys() == counts.keys() == {"answer", *(f"rationale_{name}" for name in weights)}
    assert {name: float(term.count) for name, term in terms.items()} == {n: float(c) for n, c in counts.items()}


def test_tinyllm_asks_in_conversations_too():
    learner = decoder()
    turns = ({"role": "system", "content": "Add."}, {"role": "user", "content": "5+7="})
    question = Question(id=1, prompt="", messages=turns, completion="12", data={"rationales": {"short": "12"}})
    method = tinyllm.TinyLLM(tinyllm.Config(), learner, Questions(items=(question,)))
    ids = method.collect([question], make_writer(learner))["input_ids"]
    said = [learner.tokenizer.decode(row.tolist()) for row in ids]
    assert said == ["system: Add.\nuser: 5+7=\nassistant:12", "system: Add.\nuser: short: 5+7=\nassistant:12"]


def test_tinyllm_says_what_it_cannot_work_with():
    learner, questions = decoder(), Questions(items=tuple(q for q in ASKED))
    with pytest.raises(ConfigError, match="No question has rationales"):
        tinyllm.TinyLLM(tinyllm.Config(), learner, Questions(items=ASKED[4:]))
    with pytest.raises(ConfigError, match=r"solvers has 'shrt', who has no rationales\."):
        tinyllm.TinyLLM(tinyllm.Config(solvers=("shrt",)), learner, questions)
    with pytest.raises(ConfigError, match="rationale has 2 weights and solvers 1 names"):
        tinyllm.Config(solvers=("short",), rationale=(1.0, 2.0))
    with pytest.raises(ConfigError, match="rationale"):
        tinyllm.Config(rationale=(-1.0,))
    with pytest.raises(DataError, match=r"'tall: 5\+7=0=' has 76 tokens with its answer '1{30}', but the learner"):
        tinyllm.TinyLLM(tinyllm.Config(), learner, questions)


# ---- the world


def value(sum_of):
    """What numbers with + and - between them make."""
    return sum(map(int, re.findall(r"[+-]?\d+", sum_of)))


def test_three_solvers_come_to_the_same_sum_by_true_equations():
    asked = worlds.load("addition:ways")
    chosen = dict.fromkeys(("columns", "steps", "rounding"), 0)
    for question, plain in zip(asked, worlds.load("addition:scratchpad"), strict=True):
        told = rationales_of(question)
        assert (question.prompt, question.answer, told["columns"]) == (plain.prompt, plain.answer, plain.completion)
        assert question.completion in told.values()
        for name, text in told.items():
            *lines, last = text.split("\n")
            sides = [line.split("=") for line in lines]
            assert all(value(left) == int(right) for left, right in sides)
            assert last == question.answer
            assert name == "columns" or sides[-1][1] == last
            chosen[name] += text == question.completion
    assert min(chosen.values()) > 1200
    assert rationales_of({q.prompt: q for q in asked}["37+85="]) == {
        "columns": "7+5=12\n3+8+1=12\n122",
        "steps": "37+80=117\n117+5=122\n122",
        "rounding": "40+85=125\n125-3=122\n122",
    }
