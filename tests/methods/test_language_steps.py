"""Rewards and labels of steps: where steps end, the advantages of grpo, and reward models that judge them."""

import itertools
import math

import pytest
import torch

import didact
from contract import LEARNER
from didact.errors import ConfigError, DataError, TeacherError
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.learners.tokenizers import ByteTokens, NumberTokens
from didact.losses.policy.groups import step_advantages
from didact.methods.language import grpo
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import Sampling, Writer, step_rewards
from didact.sources import from_records, step_ends, token_ends
from didact.teachers import FunctionVerifier
from didact.types import Batch, Question
from hand_made import LENGTHS, TRUST, agree, asked, before, clipped, decoder, hand_made, mates, told
from small_questions import questions

STEPS = {0: {3: 0.5, 4: -1.0}, 1: {3: 2.0, 5: 0.5}, 3: {4: 9.0}, 2: {4: 1.0}, 4: {2: 0.0, 3: 1.0}, 6: {5: -0.5}}
"""By hand-made attempt, the rewards of steps by the position of their last token."""


@pytest.mark.parametrize(
    ("text", "ends"),
    [("ab\ncd", [3, 5]), ("ab\ncd\n", [3, 6]), ("ab\n\n \ncd", [6, 8]), ("\nab", [3]), ("", []), (" \n", [])],
)
def test_steps_end_behind_their_line(text, ends):
    assert step_ends(text) == ends


@pytest.mark.parametrize("tokenizer", [ByteTokens(), NumberTokens()])
def test_the_last_token_of_a_step_is_the_first_that_completes_it(tokenizer):
    text = "1234ü\n567\n89"
    ids = tokenizer.completion(Question(id=0, prompt=""), text)
    ends = [2, *step_ends(text)]
    found = token_ends(tokenizer, ids, text, ends)
    assert found[-1] == len(ids) - 1 and ids[-1] == tokenizer.eos
    for end, place in zip(ends[:-1], found, strict=False):
        assert tokenizer.decode(ids[: place + 1]).startswith(text[:end])
        assert not tokenizer.decode(ids[:place]).startswith(text[:end])
    with pytest.raises(DataError, match="steps cannot be found among them"):
        token_ends(tokenizer, ids, "another\ntext", [8])


def with_steps(batch):
    step, reward = torch.zeros_like(batch["completion_mask"]), torch.zeros(batch["completion_mask"].shape)
    for row, found in STEPS.items():
        for place, value in found.items():
            step[row, place], reward[row, place] = True, value
    return Batch({**batch, "step": step, "step_reward": reward})


def transcribed(row, place, scale):
    """Section 4.1.3 of DeepSeekMath: rewards of a group's steps are normalised; later ones are summed."""
    pool = [value for other in mates(row) for value in STEPS.get(other, {}).values()]
    if not TRUST[row] or len(set(pool)) < 2:
        return 0.0
    mean = sum(pool) / len(pool)
    std = math.sqrt(sum((value - mean) ** 2 for value in pool) / (len(pool) - 1)) if scale else 1.0
    return sum((value - mean) / std for at, value in STEPS.get(row, {}).items() if at >= place)


@pytest.mark.parametrize("scale", [True, False])
def test_a_token_has_the_advantage_of_the_steps_that_end_with_it_or_later(scale):
    learner = decoder()
    method = grpo.GRPO(grpo.Config(supervision="process", scale=scale, clip_low=0.01, clip_high=0.01), learner)
    rollouts = with_steps(hand_made(learner, drift=0.3))
    batch = method.collect([], asked(rollouts))
    now, then, losses = told(learner, batch), before(batch), []
    for row, (start, count) in enumerate(LENGTHS):
        for t in range(count):
            advantage = transcribed(row, start + t, scale)
            assert batch["advantage"][row, start + t].item() == pytest.approx(advantage, abs=1e-6)
            losses.append(clipped(now[row][t], then[row][t], advantage, 0.01, 0.01))
    agree(method, batch, torch.stack(losses).mean())
    assert batch["dead"].tolist() == [0, 0, 0, 0, 0, 1, 0, 1]
    assert method.counts(batch)["policy"] == sum(count for _, count in LENGTHS)


def test_one_step_at_the_end_is_the_advantage_of_outcomes():
    learner = decoder()
    rollouts = hand_made(learner)
    ends = torch.tensor([start + count - 1 for start, count in LENGTHS])
    reward = torch.zeros(rollouts["completion_mask"].shape)
    step = torch.zeros_like(rollouts["completion_mask"])
    reward[torch.arange(len(ends)), ends], step[torch.arange(len(ends)), ends] = rollouts["reward"], True
    whole = grpo.GRPO(grpo.Config(), learner).collect([], asked(rollouts))
    found = step_advantages(reward, step, rollouts["group"], rollouts["trust"])
    torch.testing.assert_close(found[rollouts["completion_mask"]], torch.cat(
        [value.expand(count) for value, (_, count) in zip(whole["advantage"], LENGTHS, strict=True)]))  # fmt: skip


def by_line(text, question):
    """1 for each line that begins with a seven."""
    return [(end, float(text[start] == "7")) for start, end in itertools.pairwise([0, *step_ends(text)])]


def test_a_verifier_rewards_steps_and_a_round_marks_their_last_tokens():
    verifier = FunctionVerifier(by_line)
    texts = ["7a\nb\n7", "7", "", "x"]
    found = verifier.verify(texts, list(questions(4)))
    assert found.steps == (((3, 1.0), (5, 0.0), (6, 1.0)), ((1, 1.0),), (), ((1, 0.0),))
    assert found.value.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert found.trust.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert "found no steps" in verifier.abstentions
    writer = Writer(build_causal("decoder:1x16:64", seed=0), Sampling(), verifier)
    batch = writer.verify(writer.encode(list(questions(4)), texts)).batch
    start = int(batch["completion_mask"][0].nonzero()[0])
    assert batch["step"].nonzero().tolist()[:3] == [[0, start + 2], [0, start + 4], [0, start + 6]]
    assert batch["step_reward"].sum(1).tolist() == [2.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ([(1, 0.5), (1, 0.5)], "whose ends do not ascend"),
        ([(9, 0.5)], "whose ends do not ascend"),
        ([(1, math.nan)], "NaN"),
        ([0.5], "no list of pairs"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_steps_that_make_no_sense_are_an_abstention(returned, reason):
    verifier = FunctionVerifier(lambda _text, _question: returned)
    found = verifier.verify(["ab"], list(questions(1)))
    assert found.trust.tolist() == [0.0] and found.steps in (None, ((),))
    assert any(reason in why for why in verifier.abstentions)


def labelled(shuffled=False, count=48):
    """Answers of two lines, of which those that begin with a seven are right."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for place in range(count):
        labels = [place % 2 == 0, place % 3 == 0]
        steps = [f"{7 if label else 3}{place % 5}" for label in labels]
        if shuffled:
            labels = [bool(torch.rand((), generator=generator) < 0.5) for _ in labels]
        rows.append({"prompt": f"{place % 10}+{place // 10}=", "completions": steps, "labels": labels})
    return rows


def test_stepwise_supervision_is_recognised():
    found = from_records(labelled(), name="q")
    assert found.layouts[0].startswith("q was read as stepwise supervision, 48 rows (steps from completions")
    assert (found[0].completion, found[0].steps) == ("70\n70", ((3, 1.0), (5, 1.0)))
    assert (found[1].completion, found[1].steps) == ("31\n31", ((3, 0.0), (5, 0.0)))
    (lines,) = from_records([{"prompt": "a", "completions": ["b\nc", "d"], "labels": [0.25, 1]}])
    assert (lines.completion, lines.steps) == ("b c\nd", ((4, 0.25), (5, 1.0)))
    (other,) = from_records([{"prompt": "a", "completion": "b", "labels": [1], "completions": ["c"]}])
    assert (other.completion, other.data) == ("b", {"labels": [1], "completions": ["c"]})
    for labels in ([True], [True, 2]):
        with pytest.raises(DataError, match="give each step one: true, false"):
            from_records([{"prompt": "a", "completions": ["b", "c"], "labels": labels}])


def test_a_model_of_steps_has_the_cross_entropy_of_their_labels():
    prepared = prepare(
        *split_arguments("reward_model", data=labelled(), student=LEARNER, batch_size=8, supervision="process")
    )
    method, batch = prepared.method, next(iter(prepared.source))
    output, tokenizer, losses = method.learner(batch), method.learner.tokenizer, []
    by_prompt = {question.id: question for question in prepared.data.train}
    for row, name in enumerate(batch["id"].tolist()):
        question = by_prompt[name]
        text = question.completion
        start = int(batch["completion_mask"][row].nonzero()[0])
        for end, label in question.steps:
            place = start + (end - 1 if end < len(text) else len(text))  # bytes; the last one with the end of all
            assert batch["input_ids"][row, place] == (tokenizer.eos if end == len(text) else 4 + ord("\n"))
            right = output.logits[row, place, tokenizer.eos].sigmoid()
            losses.append(-(label * right.log() + (1 - label) * (1 - right).log()))
    loss, wanted, weights = method.loss(batch).total(), torch.stack(losses).mean(), list(method.learner.parameters())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    for mine, theirs in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert method.counts(batch)["step"] == len(losses)
    assert step_rewards(method.learner, batch).shape == batch["step_label"].shape


def test_a_model_of_steps_that_was_trained_judges_lines_and_teaches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shuffled in (("told", False), ("shuffled", True)):
        result = didact.run("reward_model", data=labelled(shuffled), student=LEARNER, steps=60, batch_size=16, lr=3e-3,
                            directory=f"runs/{name}", progress=False, supervision="process", seed=1,
                            sampling="max_new_tokens=4")  # fmt: skip
        assert (result.metrics["step_accuracy"] == 1.0) == (name == "told")
    verifier = verifier_of("process:runs/told")
    assert str(verifier) == "process:runs/told"
    found = verifier.verify(["74\n34\n70", "7" * 200], [Question(id=1000 + i, prompt=f"{i}+{i}=") for i in (20, 30)])
    (steps, none) = found.steps
    assert [end for end, _ in steps] == [3, 6, 8] and none == ()
    assert [reward > 0.5 for _, reward in steps] == [True, False, True]
    assert found.value[0] == pytest.approx(steps[1][1])
    prompts = [{"prompt": row["prompt"]} for row in labelled()]
    run = {"data": prompts, "student": LEARNER, "steps": 40, "lr": 1e-2, "batch_size": 32, "progress": False}
    result = didact.run("grpo", **run, verifier="process:runs/told", supervision="process",
                        sampling="max_new_tokens=2,samples=8")  # fmt: skip
    rewards = [record["watched/reward"] for record in result.history if "watched/reward" in record]
    assert rewards[-1] > rewards[0] + 0.3


def test_what_cannot_work_with_steps_is_refused():
    run = {"data": questions(), "student": LEARNER, "sampling": "max_new_tokens=4,samples=4", "batch_size": 8}
    with pytest.raises(ConfigError, match="the verifier exact rewards completions as a whole"):
        prepare(*split_arguments("grpo", **run, verifier="exact", supervision="process"))
    with pytest.raises(ConfigError, match="no reward to redraw or punish by"):
        grpo.Config(supervision="process", redraw=2)
    with pytest.raises(TeacherError, match="the verifier rewarded completions as a whole"):
        didact.run("grpo", **run, verifier=lambda _text, _question: 1.0, supervision="process", steps=1, progress=False)
    with pytest.raises(DataError, match="a completion with wrong steps"):
        prepare(*split_arguments("sft", data=labelled(), student=LEARNER, batch_size=8))
    with pytest.raises(DataError, match="has no labels of steps"):
        prepare(
            *split_arguments("reward_model", data=questions(), student=LEARNER, batch_size=8, supervision="process")
        )
    with pytest.raises(ConfigError, match="supervision 'process' has no pairs"):
        prepare(*split_arguments("reward_model", data=labelled(), student=LEARNER, supervision="process", center=0.1))
