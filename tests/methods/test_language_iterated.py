"""Seeded iterated learning: against a slow transcription with two models and two optimizers, and across stops."""

import copy

import pytest
import torch

from conftest import quiet_fit
from didact.errors import ConfigError
from didact.experiment import running
from didact.experiment.preparing import prepare
from didact.methods.language import grpo, seeded_iterated
from didact.types import Batch, Question, Questions
from small_questions import questions

RATE, DECAY = 1e-2, 0.01


def ready(**changes):
    """A run before its first step, of generations of 3 and 2 steps."""
    values = {"steps": 11, "batch_size": 16, "sampling": {"max_new_tokens": 4, "samples": 4}, "lr": RATE, "seed": 0}
    values |= {"schedule": "constant", "validation": 0.1, "test": 0.1, "weight_decay": DECAY}
    values |= {"interaction": 3, "imitation": 2, **changes}
    config, objects = running.split_arguments(
        None, method="seeded_iterated", data=questions(), student="decoder:1x16:64", **values
    )
    return prepare(config, objects, teach=False)


def taught(prepared, **settings):
    """The batches of a run, which is taken to its end."""
    seen, loss = [], prepared.method.loss

    def noted(batch):
        seen.append(batch)
        return loss(batch)

    prepared.method.loss = noted
    result = quiet_fit(
        prepared.method,
        prepared.source,
        budget=prepared.config.budget,
        optimizer=prepared.config.optimizer,
        monitors=[],
        seed=0,
        device="cpu",
        precision="float32",
        log_every=1,
        **settings,
    )
    assert result.status == "done", result.reason
    return seen, result


def of_tokens(model, batch):
    """The log-probabilities of the tokens of answers, row by row."""
    log_probs = model(batch).logits.log_softmax(-1)
    places = batch["completion_mask"].nonzero().tolist()
    return torch.stack([log_probs[row, t - 1, batch["input_ids"][row, t]] for row, t in places])


def by_rewards(model, batch):
    """What a teacher minimises: the mean, over tokens, of -r A with r = 1 at the rollout policy."""
    values = []
    for row, group in enumerate(batch["group"].tolist()):
        rewards = batch["reward"][batch["group"] == group]
        deviation = rewards.std()
        advantage = (batch["reward"][row] - rewards.mean()) / deviation if deviation > 1e-6 else torch.tensor(0.0)
        values += [advantage] * int(batch["completion_mask"][row].sum())
    now = of_tokens(model, batch)
    return -((now - now.detach()).exp() * torch.stack(values)).mean()


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)


def same(first, second, **close):
    first, second = first.state_dict(), second.state_dict()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **close)


def differs(first, second):
    second = second.state_dict()
    return any(not torch.equal(value, second[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("supervised", [0.0, 0.7])
def test_it_is_two_models_that_take_turns(supervised):
    prepared = ready(supervised=supervised)
    teacher = copy.deepcopy(prepared.method.learner)
    student = copy.deepcopy(teacher)
    batches, result = taught(prepared)
    optimizers = {id(model): optimizer_of(model) for model in (teacher, student)}
    for step, batch in enumerate(batches):
        imitates = step % 5 >= 3
        assert ("advantage" in batch) is not imitates
        # Whoever was sampled from, it was the teacher as it was then.
        chosen = batch["log_probs"][batch["completion_mask"]]
        torch.testing.assert_close(chosen, of_tokens(teacher, batch).detach(), rtol=1e-3, atol=1e-3)
        model = student if imitates else teacher
        loss = -of_tokens(student, batch).mean() if imitates else by_rewards(teacher, batch)
        if supervised and not imitates:
            loss = loss - supervised * of_tokens(teacher, batch.view("given")).mean()
        record = next(r for r in result.history if r["step"] == step + 1)
        assert record["loss/total"] == pytest.approx(loss.item(), abs=2e-4)
        loss.backward()
        optimizers[id(model)].step()
        optimizers[id(model)].zero_grad()
        if step % 5 == 4:
            teacher.load_state_dict(student.state_dict())
    # Eleven steps: the teacher has gone on from the student by one, and who is delivered is the student.
    assert prepared.method.delivered is prepared.method.student
    same(prepared.method.learner, teacher, rtol=0, atol=2e-3)
    same(prepared.method.student, student, rtol=0, atol=2e-3)
    assert differs(prepared.method.learner, prepared.method.student)


@pytest.mark.parametrize("supervised", [0.0, 0.7])
def test_both_phases_have_the_gradients_of_their_transcriptions(supervised):
    prepared = ready(supervised=supervised)
    method, batch = prepared.method, next(iter(prepared.source))
    with torch.no_grad():
        method.student.module.model.norm.weight.mul_(1.3)
    wanted = by_rewards(method.learner, batch)
    if supervised:
        wanted = wanted - supervised * of_tokens(method.learner, batch.view("given")).mean()
    imitated = Batch({name: value for name, value in batch.items() if name != "advantage"})
    pairs = (method.learner, batch, wanted), (method.student, imitated, -of_tokens(method.student, batch).mean())
    for model, rows, theirs in pairs:
        loss, parameters = method.loss(rows).total(), list(model.parameters())
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-5)
        mine, expected = torch.autograd.grad(loss, parameters), torch.autograd.grad(theirs, parameters)
        for found, other in zip(mine, expected, strict=True):
            torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-5)
        assert max(part.abs().max() for part in expected) > 1e-3


def test_the_student_has_the_learners_place_after_each_imitation():
    prepared = ready(steps=10)
    beginning = copy.deepcopy(prepared.method.learner)
    taught(prepared)
    same(prepared.method.learner, prepared.method.student, rtol=0, atol=0)
    assert differs(prepared.method.learner, beginning)
    alone = ready(steps=3)
    taught(alone)
    same(alone.method.student, beginning, rtol=0, atol=0)


def test_without_imitation_it_learns_as_grpo_does():
    prepared = ready(imitation=0, steps=6)
    assert prepared.method.student is None
    assert prepared.method.delivered is prepared.method.learner
    beginning = copy.deepcopy(prepared.method.learner)
    batches, _ = taught(prepared)
    other = grpo.GRPO(grpo.Config(), beginning)
    optimizer = optimizer_of(beginning)
    for batch in batches:
        other.loss(batch).total().backward()
        optimizer.step()
        optimizer.zero_grad()
    same(prepared.method.learner, beginning, rtol=1e-4, atol=1e-5)


def test_the_answers_of_the_data_stand_beside_the_attempts():
    prepared = ready(supervised=0.5)
    batch = next(iter(prepared.source))
    known = {question.id: question.completion for question in prepared.data.train}
    decode = prepared.student.model.tokenizer.decode
    given = batch.view("given")
    for row in range(batch.size):
        answer = given["input_ids"][row][given["completion_mask"][row]].tolist()
        assert decode(answer[:-1]) == known[int(batch["id"][row])]
    counts, terms = prepared.method.counts(batch), prepared.method.loss(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {name: float(counts[name]) for name in terms}
    without = Questions(items=(Question(id=0, prompt="1+1=", answer="2"),))
    with pytest.raises(ConfigError, match=r"supervised is 0\.5, but some questions have no completion"):
        seeded_iterated.SeededIterated(seeded_iterated.Config(supervised=0.5), prepared.student.model, without)


class StoppedError(Exception):
    """What ends a run before its time."""


@pytest.fixture(scope="module")
def calm():
    """A run that nothing stops, and its batches."""
    prepared = ready(steps=9)
    return prepared, taught(prepared)[0]


# Within an interaction and at its end, within an imitation and at its end, and within the next interaction.
@pytest.mark.parametrize("stopped", [1, 3, 4, 5, 7])
def test_a_stop_in_any_phase_changes_no_bit(stopped, calm, tmp_path, monkeypatch):
    calm, whole = calm
    after = seeded_iterated.SeededIterated.after_step

    def tired(method):
        if method.step == stopped:
            raise StoppedError
        after(method)

    with monkeypatch.context() as patch:
        patch.setattr(seeded_iterated.SeededIterated, "after_step", tired)
        with pytest.raises(StoppedError):
            taught(ready(steps=9), run=tmp_path / "run", checkpoint_every=1)
    hunted = ready(steps=9)
    rest, _ = taught(hunted, run=tmp_path / "run", checkpoint_every=1, resume=True)
    assert len(rest) == 9 - stopped
    for mine, theirs in zip(rest, whole[stopped:], strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    same(hunted.method.learner, calm.method.learner, rtol=0, atol=0)
    same(hunted.method.student, calm.method.student, rtol=0, atol=0)
