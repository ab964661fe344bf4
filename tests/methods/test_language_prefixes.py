"""Rollouts behind the first steps of a learner's own chains: against a scripted learner and transcriptions."""

import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from didact import worlds
from didact.errors import ConfigError
from didact.losses.policy.outputs import add_advantages
from didact.methods.language import evocot
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import (
    Chains,
    Rollouts,
    Sampling,
    Writer,
    continue_prefixes,
    join_steps,
    pad_rows,
    reveal_answer,
    split_steps,
    write_chains,
)
from didact.types import Batch, Question

TOLD = "{prompt}{answer}:"
SAMPLES = 3


def question(word):
    return Question(id=ord(word[0]), prompt=f"{word}=", answer="".join(sorted(word)))


EASY, HARD, HOPELESS = question("zyx"), question("cba"), question("fed")
"""Solved from scratch by one attempt in three; solved behind a chain; and one to which only bad chains are written."""


class Scripted(Writer):
    """Asks a learner whose words are known in advance, and notes what it was asked."""

    def __init__(self, learner):
        super().__init__(learner, Sampling(samples=SAMPLES), verifier_of("exact:after:/\n/"))
        self.heard = []

    def write(self, questions, *, samples=None, turn=0, by=None, prompts=None, verify=True):
        tokenizer, samples = self.learner.tokenizer, samples or SAMPLES
        prompts = [tokenizer.prompt(q) for q in questions] if prompts is None else prompts
        asked = [tokenizer.decode(prompt) for prompt in prompts]
        self.heard.append((turn, samples, asked))
        texts = [said(prompt, sample) for prompt in asked for sample in range(samples)]
        answers = [[*tokenizer.encode(text), tokenizer.eos] for text in texts]
        lengths = torch.tensor([len(answer) for answer in answers])
        tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(answer) for answer in answers], batch_first=True)
        starts = [prompt for prompt in prompts for _ in range(samples)]
        batch = pad_rows(starts, tokens, lengths, pad=0, log_probs=torch.full(tokens.shape, -5.0))
        ids = torch.tensor([q.id for q in questions]).repeat_interleave(samples)
        batch |= {"id": ids, "group": ids, "temperature": torch.ones(len(ids))}
        found = Rollouts(Batch(batch), tuple(texts), tuple(q for q in questions for _ in range(samples)))
        return self.verify(found) if verify else found


def said(prompt, sample):
    """What the learner writes."""
    word, _, rest = prompt.partition("=")
    answer = "".join(sorted(word))
    if rest.endswith(":"):
        # First a chain with a slip that still ends in the answer, then one without steps, then a right one.
        right = "\n".join([*answer, answer])
        slip = "\n".join([*word, answer])
        return [slip, answer, slip if word == "fed" else right][sample % 3]
    taken = rest.split("\n")[:-1]
    if taken and len(taken) < len(word):
        return "\n".join([*answer[len(taken) :], answer]) if sample == 1 else "?\n?"
    if taken:
        return "".join(taken)
    return "\n".join([*answer, answer]) if word == "zyx" and sample == 0 else "?\n?"


def taught(**options):
    learner = build_causal("decoder:1x16", seed=0)
    return evocot.EvoCoT(evocot.Config(**options), learner), Scripted(learner)


def words(writer, batch):
    """Prompts of a batch with the number of their rows."""
    tokenizer = writer.learner.tokenizer
    rows = zip(batch["input_ids"], (batch["completion_mask"] | ~batch["attention_mask"].bool()), strict=True)
    return Counter(tokenizer.decode(ids[~mask].tolist()) for ids, mask in rows)


# ---- the parts


def test_chains_are_cut_into_steps_and_put_together():
    assert split_steps("a\n\n b\nc\n", "\n") == ["a", " b", "c"]
    assert [join_steps(["a", "b"], count, "; ") for count in range(3)] == ["", "a; ", "a; b; "]


def test_the_answer_is_told_in_the_prompt_or_in_the_last_message():
    assert reveal_answer(HARD, TOLD).prompt == "cba=abc:"
    talk = ({"role": "system", "content": "Sort."}, {"role": "user", "content": "cba"})
    asked = reveal_answer(Question(id=1, prompt="", messages=talk, answer="abc"), "{prompt} is {answer}, as")
    assert asked.messages == (talk[0], {"role": "user", "content": "cba is abc, as"})
    with pytest.raises(ConfigError, match="template is 'because'"):
        evocot.Config(template="because")


def test_openings_are_judged_but_not_learned():
    _, writer = taught()
    found = continue_prefixes(writer, [HARD, EASY], ["a\n", ""])
    assert found.texts[:SAMPLES] == ("a\n?\n?", "a\nb\nc\nabc", "a\n?\n?")
    assert found.batch["reward"].tolist() == [0, 1, 0, 1, 0, 0]
    assert found.batch["prefixed"].tolist() == [1, 1, 1, 0, 0, 0]
    # What was written, and the end of the sequence.
    assert found.batch["completion_mask"].sum(1).tolist() == [4, 8, 4, 10, 4, 4]


def test_chains_are_kept_where_they_lead_to_the_answer_without_being_told():
    _, writer = taught()
    unknown = Question(id=3, prompt="ihg=")
    found = write_chains(writer, [HARD, HOPELESS, unknown], template=TOLD, separator="\n", samples=3, turns=(1, 2))
    assert found == {HARD.id: "a\nb\nc\nabc"}
    assert writer.heard[0] == (1, 3, ["cba=abc:", "fed=def:"])
    slips = ["fed=f\ne\nd\n"] * 2
    assert writer.heard[1] == (2, 1, ["cba=c\nb\na\n", "cba=a\nb\nc\n", *slips])


# ---- the method


def test_only_failed_questions_are_helped_and_less_each_time():
    method, writer = taught(chains=3)
    questions = [EASY, HARD, HOPELESS]
    batch = method.collect(questions, writer)
    assert words(writer, batch) == {"zyx=": 3, "fed=": 3, "cba=a\nb\nc\n": 3}
    reward = dict(zip(zip(batch["id"].tolist(), range(9), strict=True), batch["reward"].tolist(), strict=True))
    by_question = {q.id: [value for (number, _), value in reward.items() if number == q.id] for q in questions}
    assert by_question == {EASY.id: [1, 0, 0], HARD.id: [1, 1, 1], HOPELESS.id: [0, 0, 0]}
    three = np.array([1.0, 0, 0])
    scaled = (three - three.mean()) / three.std(ddof=1)
    assert batch["advantage"][batch["id"] == EASY.id].tolist() == pytest.approx(scaled.tolist(), rel=1e-5)
    assert not batch["advantage"][batch["id"] != EASY.id].any()
    # Behind all steps but the last, every attempt is right; behind less, a third, which is not enough.
    for shown in ("a\nb\n", "a\nb\n"):
        writer.heard.clear()
        batch = method.collect([HARD], writer)
        assert writer.heard == [(3, SAMPLES, ["cba=" + shown])]
        assert batch["prefixed"].tolist() == [1.0] * 3
        assert sorted(batch["reward"].tolist()) == [0, 0, 1]


def test_chains_are_shortened_by_success_and_written_anew_when_nothing_is_left():
    chains = Chains("\n")
    chains.texts = {1: "a\nb\nc\nabc", 2: "d\nd"}
    shown = []
    for success in (0.4, 0.5, 0.2, 0.9, 0.6):
        shown.append((chains.prefix(1), chains.prefix(2)))
        chains.shorten(success, 0.5)
    assert shown == [("a\nb\nc\n", "d\n")] * 2 + [("a\nb\n", "")] * 2 + [("a\n", "")]
    other = Chains("\n")
    other.load_state_dict(chains.state_dict())
    assert (other.texts, other.removed) == (chains.texts, 4)
    assert other.prefix(1) == ""
    other.shorten(1.0, 0.5)
    assert (other.texts, other.removed) == ({}, 1)


def test_a_question_without_a_chain_begins_from_scratch_again():
    method, writer = taught(chains=3, enough=0.3)
    for shown in ("a\nb\nc\n", "a\nb\n", "a\n"):
        writer.heard.clear()
        method.collect([HARD], writer)
        assert writer.heard[-1] == (3, SAMPLES, ["cba=" + shown])
    writer.heard.clear()
    # Nothing is right from scratch, so that the chain stays.
    batch = method.collect([HARD], writer)
    assert writer.heard == [(3, SAMPLES, ["cba="])]
    assert batch["prefixed"].tolist() == [0.0] * 3
    method.chains.shorten(1.0, 0.3)
    writer.heard.clear()
    method.collect([HARD], writer)
    assert [turn for turn, _, _ in writer.heard] == [0, 1, 2, 3]


def test_random_prefixes_show_any_number_of_steps_alike():
    method, writer = taught(prefixes="random")
    method.chains.texts = dict.fromkeys(range(600), "a\nb\nc\nabc")
    asked = [SimpleNamespace(id=number) for number in range(600)]
    shown = Counter(method._prefixes(asked, writer))
    assert set(shown) == {"", "a\n", "a\nb\n", "a\nb\nc\n"}
    assert all(110 < count < 190 for count in shown.values())
    writer.round = 1
    assert method._prefixes(asked, writer) != list(shown.elements())


def test_the_loss_is_the_clipped_one_of_what_was_written_behind_the_steps():
    method, writer = taught(chains=3)
    method.learner.double()
    method.chains.texts = {HARD.id: "a\nb\nc\nabc"}
    method.chains.removed = 2
    batch = method.collect([EASY, HARD], writer)
    learner, noise = (
        method.learner,
        0.3 * torch.randn(batch["input_ids"].shape, generator=torch.Generator().manual_seed(0)),
    )
    now = learner(batch).logits.log_softmax(-1)[:, :-1].gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    then = torch.cat([torch.zeros(batch.size, 1), now.detach()], 1) + noise
    batch = Batch({**batch, "log_probs": then.masked_fill(~batch["completion_mask"], 0.0)})
    total, count = 0.0, 0
    for row in range(batch.size):
        group = batch["reward"][batch["id"] == batch["id"][row]].numpy()
        advantage = (batch["reward"][row].item() - group.mean()) / group.std(ddof=1)
        text = writer.learner.tokenizer.decode(batch["input_ids"][row].tolist())
        start = 1 + len("cba=a\nb\n" if "cba" in text else "zyx=")
        for t in range(start, int(batch["attention_mask"][row].sum())):
            ratio = (now[row, t - 1] - batch["log_probs"][row, t]).exp()
            total = total - min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            count += 1
    terms = method.loss(batch)
    assert terms.total().item() == pytest.approx((total / count).item(), rel=1e-5)
    parameters = list(learner.parameters())
    pairs = zip(
        torch.autograd.grad(terms.total(), parameters), torch.autograd.grad(total / count, parameters), strict=True
    )
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)
    assert float(terms["prefixed"].mean()) == 0.5
    again = add_advantages(batch)["advantage"]
    torch.testing.assert_close(batch["advantage"], again)


# ---- the world


def test_demonstrations_slip_unless_the_answer_is_shown():
    questions = worlds.load("sorting:careless")
    verifier = verifier_of(questions.verifier)
    right = verifier.verify([q.completion for q in questions], questions).value
    shown = torch.tensor([q.data["shown"] for q in questions])
    assert right[shown].all()
    assert 0.17 < shown.float().mean() < 0.23
    # Four times, there is a slip in two of three cases.
    assert 0.6 / 81 < right[~shown].mean() < 1.5 / 81
    for asked in questions:
        word, answer = re.fullmatch(r"([a-t]{5})=([a-t]{5}:)?", asked.prompt).groups()
        assert asked.answer == "".join(sorted(word))
        assert len(set(word)) == 5
        assert answer == (f"{asked.answer}:" if asked.data["shown"] else None)
        *letters, last = asked.completion.split("\n")
        assert last == "".join(letters)
        assert sorted(letters) == list(asked.answer)
