"""Batches of inference are bounded by their tokens, whatever the lengths: the same figures, in less memory."""

import pytest
import torch

from didact.materials.questions.models import likelihood, mean_divergence, mean_nll, pair_accuracy
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer, bounded, layout
from didact.rollouts.scoring import score_completions, score_tokens
from didact.teachers import LanguageTeacher
from didact.types import Batch, Question, Questions
from peak import peak_of

LENGTHS = (3, 60, 1, 7, 200, 2, 2, 90, 1, 33)


def questions(lengths=LENGTHS):
    words = [chr(97 + place % 26) * length for place, length in enumerate(lengths)]
    items = [Question(id=i, prompt=f"{i}?", completion=text, rejected=text[::2] or "x") for i, text in enumerate(words)]
    return Questions(items=tuple(items))


class Seen(torch.nn.Module):
    """What a model reads, by the shapes of its batches."""

    def __init__(self, learner):
        super().__init__()
        self.shapes = []
        learner.register_forward_pre_hook(lambda _learner, given: self.shapes.append(given[0]["input_ids"].shape))


def test_batches_are_consecutive_and_as_wide_as_their_longest_row(monkeypatch):
    monkeypatch.setattr(layout, "_TOKENS", 150)
    writer = Writer(build_causal("decoder:1x16", seed=0), Sampling())
    batch = writer.encode(questions(), [q.completion for q in questions()]).batch
    parts = list(bounded(batch))
    assert torch.cat([part["id"] for part in parts]).tolist() == list(range(len(LENGTHS)))
    assert [part.size for part in parts] == [2, 2, 1, 2, 1, 2]
    for part in parts:
        longest = int(part["attention_mask"].sum(1).max())
        rows = batch.select(part["id"])
        assert part["input_ids"].shape == (part.size, longest)
        assert part.size == 1 or part["input_ids"].numel() <= 150
        for name in ("input_ids", "attention_mask", "completion_mask"):
            assert torch.equal(part[name], rows[name][:, :longest])
    many = Batch({name: tensor[:1].repeat_interleave(130, 0) for name, tensor in batch.items()})
    monkeypatch.setattr(layout, "_TOKENS", 10**6)
    assert [part.size for part in bounded(many)] == [64, 64, 2]


def test_figures_do_not_depend_on_the_bound(monkeypatch):
    learner = build_causal("decoder:1x16", seed=0).eval()
    teacher = LanguageTeacher(build_causal("decoder:1x16", seed=1).eval())
    seen, found = Seen(learner), []
    batch = Writer(learner, Sampling()).encode(questions(), [q.completion for q in questions()]).batch
    batch = Batch({**batch, "temperature": torch.ones(batch.size), "log_probs": torch.zeros(batch["input_ids"].shape)})
    for most in (150, 10**6):
        monkeypatch.setattr(layout, "_TOKENS", most)
        seen.shapes.clear()
        figures = [mean_nll(learner, questions()), pair_accuracy(learner, questions(), likelihood)]
        figures += [mean_divergence(learner, teacher, batch)]
        tokens = score_tokens(learner, batch)
        assert max(rows * width for rows, width in seen.shapes if rows > 1) <= max(most, 150)
        found.append((torch.tensor(figures), tokens, score_completions(learner, batch)))
        assert len(seen.shapes) > 20 or most > 150
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert found[0][1].shape == batch["input_ids"].shape


@pytest.mark.slow
def test_long_answers_are_evaluated_in_less_memory(monkeypatch):
    learner = build_causal("decoder:1x64:2048", seed=0).eval()
    long = questions([900] * 64)
    mean_nll(learner, long.select(range(2)))
    mine = peak_of(lambda: mean_nll(learner, long))
    monkeypatch.setattr(layout, "_TOKENS", 10**6)
    whole = peak_of(lambda: mean_nll(learner, long))
    assert mine < 0.4 * whole


@pytest.mark.parametrize("count", [1, 65])
def test_every_answer_is_read_once(count):
    learner = build_causal("decoder:1x16", seed=0).eval()
    seen = Seen(learner)
    mean_nll(learner, questions([3] * count))
    assert sum(rows for rows, _ in seen.shapes) == count
