"""Completions that are sampled in segments: the same tokens, complete prompts, and a state that goes on."""

import pytest
import torch

import didact
from contract import LEARNER
from didact import worlds
from didact.errors import ConfigError
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Segments, Writer
from didact.rollouts.scoring import score_tokens
from didact.teachers import FunctionVerifier
from didact.types import Batch
from small_questions import questions

QUESTIONS = worlds.load("addition")[:6]


LETTERS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""One token in five of a model that knows nothing; where they end a completion, some come early."""


def writer_of(learner, *, samples=2, temperature=1.0, stop=()):
    sampling = Sampling(max_new_tokens=8, samples=samples, temperature=temperature, stop=stop)
    return Writer(learner, sampling, FunctionVerifier(lambda text, question: float(len(text))), seed=0)


def completions(batch):
    found = [
        (int(key), ids[mask].tolist())
        for key, ids, mask in zip(batch["id"], batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    return sorted(found)


def rounds(writer, segments, count, start=0):
    """The completions of rounds of two questions each."""
    for number in range(start, start + count):
        writer.round = number
        yield segments.write(writer, QUESTIONS[number % 3 * 2 : number % 3 * 2 + 2]).batch


@pytest.mark.parametrize("segments", [2, 3, 8])
def test_greedy_completions_are_those_that_are_sampled_whole(segments):
    learner = build_causal("decoder:1x16", seed=0)
    pool, found = Segments(segments, QUESTIONS), []
    for batch in rounds(writer_of(learner, temperature=0.0, samples=1), pool, 9):
        found += completions(batch)
    whole = completions(writer_of(learner, temperature=0.0, samples=1).write(QUESTIONS).batch)
    assert set(map(str, found)) == set(map(str, whole))


def test_prompts_come_once_they_are_complete_with_the_probabilities_of_now():
    learner = build_causal("decoder:1x16", seed=0)
    writer, pool = writer_of(learner, samples=4, stop=LETTERS), Segments(3, QUESTIONS)
    for number, batch in enumerate(rounds(writer, pool, 6)):
        assert batch["group"].unique(return_counts=True)[1].remainder(4).sum() == 0
        assert (batch["completion_mask"].sum(1) <= 8).all()
        last = batch["input_ids"].gather(1, batch["attention_mask"].sum(1, keepdim=True) - 1)[:, 0].tolist()
        ended = torch.tensor([token == 2 or chr(token - 4) in LETTERS for token in last])
        assert torch.equal(ended, batch["finished"])
        assert ((batch["completion_mask"].sum(1) == 8) | ended).all()
        torch.testing.assert_close(batch["log_probs"], score_tokens(learner, batch))
        assert batch["reward"].shape == (batch.size,)
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    assert len({str(one) for one in completions(batch)}) > batch.size // 2


def test_completions_of_a_prompt_go_on_differently():
    writer, pool = writer_of(build_causal("decoder:1x16", seed=0), samples=8), Segments(4, QUESTIONS)
    batch = next(rounds(writer, pool, 1))
    last = [tuple(ids[-3:]) for _, ids in completions(batch)]
    assert len(set(last)) > len(last) // 2


def test_its_state_goes_on_where_it_stopped():
    learner = build_causal("decoder:1x16", seed=0)
    first, second = Segments(3, QUESTIONS), Segments(3, QUESTIONS)
    calm = [completions(batch) for batch in rounds(writer_of(learner, samples=4, stop=LETTERS), first, 6)]
    again = Segments(3, QUESTIONS)
    hunted = [completions(batch) for batch in rounds(writer_of(learner, samples=4, stop=LETTERS), second, 3)]
    again.load_state_dict(second.state_dict())
    hunted += [completions(batch) for batch in rounds(writer_of(learner, samples=4, stop=LETTERS), again, 3, start=3)]
    assert hunted == calm
    assert second.begun


def test_a_run_learns_from_segments_and_can_be_resumed(tmp_path):
    given = {"method": "mastered_tokens", "segments": 2, "data": questions(), "student": LEARNER, "batch_size": 8}
    given |= {"sampling": "max_new_tokens=6,samples=4", "progress": False, "lr": 1e-2, "checkpoint_every": 1}
    calm = didact.run(**given, steps=5, directory=tmp_path / "calm")
    assert calm.status == "done"
    state = Batch({"x": torch.cat([p.detach().flatten() for p in calm.student.parameters()])})
    assert torch.isfinite(state["x"]).all()


def test_how_many_there_may_be():
    with pytest.raises(ConfigError, match="segments is 16, but must be"):
        Segments(16, QUESTIONS)
