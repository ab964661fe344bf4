import textwrap
from pathlib import Path

import pytest
import torch

from didact.errors import ConfigError, DataError
from didact.parts.models import build_causal
from didact.parts.verifier import verifier_of
from didact.rollouts import Sampling, Writer, concat, pad_rows, repetition, rollout_rounds
from didact.teachers import FunctionVerifier, LanguageTeacher
from didact.teachers.verifiers import Abstention
from didact.types import Batch, Question, Questions, RolloutFeed
from together import run_together

QUESTIONS = Questions(
    items=tuple(
        Question(id=100 + i, prompt="ab"[: 1 + i % 2] + "?", answer=str(i), completion=f"{i}!") for i in range(5)
    )
)


@pytest.fixture(scope="module")
def learner():
    return build_causal("decoder:1x32:64", seed=3)


def make_writer(learner, verifier=None, **options):
    sampling = Sampling(max_new_tokens=5, samples=2, **options)
    return Writer(learner, sampling, verifier, seed=1)


def test_prompts_and_completions_are_put_side_by_side():
    tokens = torch.tensor([[5, 6, 0], [7, 0, 0], [8, 9, 10]])
    lengths = torch.tensor([2, 1, 3])
    log_probs = -torch.tensor([[0.5, 0.6, 9.0], [0.7, 9.0, 9.0], [0.8, 0.9, 1.0]])
    found = pad_rows([[1], [1, 2, 3], [4]], tokens, lengths, pad=0, log_probs=log_probs)
    assert found["input_ids"].tolist() == [[1, 5, 6, 0], [1, 2, 3, 7], [4, 8, 9, 10]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert found["completion_mask"].int().tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1]]
    expected = [[0, -0.5, -0.6, 0], [0, 0, 0, -0.7], [0, -0.8, -0.9, -1.0]]
    assert torch.allclose(found["log_probs"], torch.tensor(expected))


def test_log_probabilities_are_those_of_a_fresh_look(learner):
    batch = make_writer(learner, temperature=0.7).write(QUESTIONS[:3]).batch
    assert batch.check().size == 6
    assert batch["group"].tolist() == batch["id"].tolist() == [100, 100, 101, 101, 102, 102]
    with torch.no_grad():
        scores = learner(batch).logits / 0.7
    fresh = scores.log_softmax(-1)[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    mask = batch["completion_mask"]
    assert torch.allclose(fresh[mask[:, 1:]], batch["log_probs"][mask], atol=1e-4)
    assert (batch["log_probs"][~mask] == 0).all() and (batch["temperature"] == 0.7).all()
    assert not batch["input_ids"].is_inference()


def test_attempts_depend_on_the_question_the_round_and_the_turn_alone(learner):
    writer = make_writer(learner)
    whole = writer.write(QUESTIONS[:4])
    alone = writer.write(QUESTIONS[2:3])
    assert whole.texts[4:6] == alone.texts
    assert writer.write(QUESTIONS[:4], turn=1).texts != whole.texts
    writer.round = 1
    assert writer.write(QUESTIONS[:4]).texts != whole.texts
    writer.round = 0
    assert writer.write(QUESTIONS[:4]).texts == whole.texts


def test_rewards_are_judged_and_what_cannot_be_judged_counts_for_nothing(learner):
    def reward(text, question):
        if question.id == 101:
            raise ValueError("no idea")
        return float(question.id == 100)

    writer = make_writer(learner, FunctionVerifier(reward))
    with pytest.warns(RuntimeWarning, match="no idea"):
        batch = writer.write(QUESTIONS[:3]).batch
    assert batch["reward"].tolist() == [1, 1, 0, 0, 0, 0]
    assert batch["trust"].tolist() == [1, 1, 0, 0, 1, 1]
    assert batch["correct"].tolist() == [1, 1, 0, 0, 0, 0]


def test_the_right_answers_are_counted_once_for_each_wording(learner):
    writer = make_writer(learner, verifier_of("exact"))
    attempts = writer.encode([QUESTIONS[3], QUESTIONS[3], QUESTIONS[3], QUESTIONS[4]], ["3", "3", "x", "4"])
    batch = writer.verify(attempts).batch
    assert batch["correct"].tolist() == [1, 1, 0, 1]
    assert batch["unique"].tolist() == [1, 0, 0, 1]


def test_repetition_is_the_share_of_runs_that_occurred_before():
    ids = torch.tensor([[9, 1, 2, 3, 4, 1, 2, 3, 4, 1], [1, 2, 3, 4, 1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]])
    mask = torch.ones(3, 10, dtype=torch.bool)
    mask[0, 0] = False
    mask[1, :4] = False
    mask[2, 8:] = False
    # Runs of four: 6 with 2 repeats; 3 all different; 5 with 4 repeats.
    assert torch.allclose(repetition(ids, mask), torch.tensor([2 / 6, 0.0, 4 / 5]))
    assert repetition(ids[:, :3], mask[:, :3]).tolist() == [0, 0, 0]


def test_a_share_of_the_questions_keeps_the_answers_of_the_data(learner):
    writer = make_writer(learner)
    shares = []
    for round_ in range(20):
        writer.round = round_
        mixed = writer.mix(QUESTIONS[:5], 0.4)
        assert mixed.batch.check().size == 10
        given = sum(text == question.completion for text, question in zip(mixed.texts, mixed.questions, strict=True))
        shares.append(given / 10)
    assert 0.4 < sum(shares) / 20 < 0.8
    given = writer.mix(QUESTIONS[:5], 0.0)
    assert list(given.texts) == [question.completion for question in given.questions]
    bare = [Question(id=1, prompt="a")]
    with pytest.raises(DataError, match="has no completion to learn from"):
        writer.mix(bare, 0.0)


def test_parts_of_other_widths_are_joined():
    parts = [
        ask_like([[1, 2, 3]], [[False, True, True]]),
        ask_like([[4, 5]], [[False, True]]),
    ]
    batch = concat(parts).batch
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert batch["completion_mask"].tolist() == [[False, True, True], [False, True, False]]


def ask_like(ids, mask):
    from didact.rollouts import Rollouts

    tensors = {"input_ids": torch.tensor(ids), "completion_mask": torch.tensor(mask), "id": torch.tensor([1])}
    return Rollouts(Batch(tensors), ("t",), (QUESTIONS[0],))


def test_another_model_is_asked_at_its_own_cost(learner):
    writer = make_writer(learner)
    other = build_causal("decoder:1x32:64", seed=4)
    writer.write(QUESTIONS[:2], by=other)
    cost = writer.ledger.cost
    assert cost.teacher_calls == 2 and cost.teacher_tokens > cost.sampled_tokens > 0
    assert LanguageTeacher(other).signal(make_writer(learner).write(QUESTIONS[:1]).batch).hidden.shape[-1] == 32


def source(learner, seed=0, updates=2):
    writer = make_writer(learner, verifier_of("exact"))

    def collect(questions, writer):
        return writer.write(questions).batch

    return rollout_rounds(QUESTIONS, writer, collect, batch_size=4, feed=RolloutFeed(minibatches=updates), seed=seed)


def test_a_stream_that_takes_its_state_back_goes_on_with_the_same_attempts(learner):
    whole = source(learner)
    expected = [dict(batch) for _, batch in zip(range(7), whole, strict=False)]
    for stop in range(7):
        first = source(learner)
        for _ in range(stop):
            next(iter(first))
        again = source(learner, seed=9)
        again.load_state_dict(first.state_dict())
        batches = iter(again)
        for wanted in expected[stop:]:
            found = next(batches)
            assert set(found) == set(wanted)
            assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_versions_tell_how_old_attempts_are(learner):
    versions = [batch["version"].unique().tolist() for _, batch in zip(range(5), source(learner), strict=False)]
    # Rounds of 2, 2 and 1 questions' worth of steps; the last round of a pass has one question left.
    assert versions[:4] == [[0], [0], [2], [2]]


def test_sizes_that_do_not_go_together_are_refused(learner):
    with pytest.raises(ConfigError, match="batch_size is 5, which is no multiple of samples = 2"):
        rollout_rounds(QUESTIONS, make_writer(learner), lambda q, a: None, batch_size=5)
    with pytest.raises(DataError, match="no questions"):
        rollout_rounds(Questions(items=()), make_writer(learner), lambda q, a: None, batch_size=4)


@pytest.mark.slow
def test_two_processes_share_the_writing(learner, tmp_path):
    """Each writes and verifies its share; both have the whole, which is what one writes."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        import torch
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        from test_writer import QUESTIONS, make_writer
        from didact.loop.place import find_place
        from didact.parts.models import build_causal
        from didact.teachers import FunctionVerifier
        from didact.teachers.verifiers import Abstention

        asked = []
        def reward(text, question):
            asked.append(text)
            if len(text) % 2:
                raise Abstention("odd")
            return float(len(text))

        verifier = FunctionVerifier(reward)
        writer = make_writer(build_causal("decoder:1x32:64", seed=3), verifier)
        writer.place = find_place(torch.device("cpu"))
        found = writer.write(QUESTIONS)
        kept = dict(found.batch), found.texts, len(asked), verifier.abstentions["odd"]
        kept += (writer.ledger.cost.sampled_tokens, verifier.ledger.cost.teacher_calls)
        torch.save(kept, {str(tmp_path)!r} + f"/{{writer.place.rank}}.pt")
        """)
    )
    run_together([str(script)], 2)

    def reward(text, question):
        if len(text) % 2:
            raise Abstention("odd")
        return float(len(text))

    verifier = FunctionVerifier(reward)
    alone = make_writer(learner, verifier)
    whole = alone.write(QUESTIONS)
    asked = []
    for rank in (0, 1):
        batch, texts, count, odd, tokens, calls = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        asked.append(count)
        assert (texts, odd, tokens) == (whole.texts, verifier.abstentions["odd"], alone.ledger.cost.sampled_tokens)
        assert calls == verifier.ledger.cost.teacher_calls == len(texts)
        assert batch.keys() == whole.batch.keys()
        for name, tensor in whole.batch.items():
            torch.testing.assert_close(batch[name], tensor, msg=name)
    assert sum(asked) == len(whole.texts) and min(asked) > 0
