"""Demonstrations for the questions at which all attempts fail: what is put by and when, and the loss, row by row."""

import pytest
import torch

from didact.errors import ConfigError
from didact.loop.checkpoint import read_checkpoint, save_checkpoint
from didact.methods.language import relift
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer
from didact.teachers.verifiers import Verifier
from didact.types import Question, Questions, Reward
from small_questions import questions

SAMPLES = 4
LUCKY = {3, 5}
"""Questions of which half of the attempts are right."""


class Marks(Verifier):
    """A verifier in whose eyes only the lucky questions can be answered, by every other attempt."""

    def verify(self, texts, asked, lengths=None):
        value = [float(q.id in LUCKY and place % 2 == 0) for place, q in enumerate(asked)]
        return Reward(value=torch.tensor(value))


def made(learner, known=None, **options):
    return relift.ReLIFT(relift.Config(**options), learner, known or questions(12))


def make_writer(learner, temperature=0.7):
    return Writer(learner, Sampling(max_new_tokens=3, samples=SAMPLES, temperature=temperature), Marks())


def collected(method, ids):
    return method.collect([questions(12).items[i] for i in ids], make_writer(method.learner))


def test_failed_questions_wait_until_enough_are_there():
    method = made(build_causal("decoder:1x16"), demonstrations=4)
    first = collected(method, [1, 3, 2])
    assert first["own"].tolist() == [1.0] * 3 * SAMPLES
    assert method.failed.ids == [1, 2]
    second = collected(method, [2, 5, 4])
    assert method.failed.ids == [1, 2, 4], "each waits once"
    assert second["own"].sum() == second.size
    third = collected(method, [7, 3])
    assert method.failed.ids == []
    shown = third["own"] == 0
    assert third["id"][shown].tolist() == [1, 2, 4, 7]
    tokens = method.learner.tokenizer
    for row in shown.nonzero()[:, 0].tolist():
        question = questions(12).items[int(third["id"][row])]
        written = third["input_ids"][row][third["completion_mask"][row]].tolist()
        assert written == tokens.completion(question)
        read = third["input_ids"][row][third["attention_mask"][row] > 0].tolist()
        assert read == tokens.prompt(question) + written
    assert third["advantage"][shown].abs().sum() == 0
    assert third["temperature"][shown].tolist() == [1.0] * 4
    assert third["advantage"][~shown].abs().sum() > 0


def test_the_waiting_questions_are_part_of_the_state(tmp_path):
    learner = build_causal("decoder:1x16")
    first, second = made(learner, demonstrations=9), made(learner, demonstrations=9)
    collected(first, [6, 1, 3])
    save_checkpoint(tmp_path / "kept", first.state_dict())
    second.load_state_dict(read_checkpoint(tmp_path / "kept"))
    assert second.failed.ids == [6, 1]


def test_the_loss_is_that_of_grpo_and_the_cross_entropy_of_demonstrations():
    """In the authors' scripts the policy's loss is neither clipped nor scaled, and entropy has a bonus of 0.001."""
    learner = build_causal("decoder:1x16")
    method = made(learner, demonstrations=2, demonstration=0.5)
    batch = collected(method, [1, 3, 2, 5])
    learner.double()
    drift = 0.4 * torch.rand(batch["log_probs"].shape, generator=torch.Generator().manual_seed(0)) - 0.2
    batch = type(batch)({**batch, "log_probs": batch["log_probs"] + drift})
    logits = learner(batch).logits
    policy, entropy, demonstration = [], [], []
    for row in range(batch.size):
        own = batch["own"][row] == 1
        for place in batch["completion_mask"][row].nonzero()[:, 0].tolist():
            scores = logits[row, place - 1] / (0.7 if own else 1.0)
            log_probs = scores - scores.exp().sum().log()
            now = log_probs[int(batch["input_ids"][row, place])]
            if not own:
                demonstration.append(-now)
                continue
            ratio, gain = (now - batch["log_probs"][row, place]).exp(), float(batch["advantage"][row])
            policy.append(-torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain))
            entropy.append(-(log_probs.exp() * log_probs).sum().item())
    terms = method.loss(batch)
    policies, demonstrations = torch.stack(policy).mean(), torch.stack(demonstration).mean()
    assert terms["policy"].mean().item() == pytest.approx(policies.item(), rel=1e-4)
    assert terms["demonstration"].mean().item() == pytest.approx(demonstrations.item(), rel=1e-4)
    whole, parameters = policies + 0.5 * demonstrations, list(learner.parameters())
    assert terms.total().item() == pytest.approx(whole.item(), rel=1e-4)
    pairs = zip(torch.autograd.grad(terms.total(), parameters), torch.autograd.grad(whole, parameters), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert terms["entropy"].mean().item() == pytest.approx(sum(entropy) / len(entropy), rel=1e-4)
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {n: float(counts[n]) for n in terms}


def test_figures_tell_of_the_learners_own_attempts_alone():
    method = made(build_causal("decoder:1x16"), demonstrations=2)
    batch = collected(method, [1, 3, 2, 5])
    terms = method.loss(batch)
    assert terms["reward"].mean().item() == pytest.approx(0.25)
    assert terms["dead"].mean().item() == pytest.approx(0.5)
    own = batch["own"] == 1
    assert terms["length"].mean().item() == pytest.approx(batch["completion_mask"][own].sum().item() / (4 * SAMPLES))


def test_a_question_without_an_answer_to_learn_from_is_left_out():
    plain = Question(id=1, prompt="1+0=", answer="1")
    learner = build_causal("decoder:1x16")
    with pytest.raises(ConfigError, match="completion"):
        made(learner, Questions(items=(plain,)))
    items = tuple(plain if question.id == 1 else question for question in questions(12))
    method = made(learner, Questions(items=items), demonstrations=9)
    collected(method, [1, 2])
    assert method.failed.ids == [2]


def test_an_answer_that_the_learner_cannot_read_as_a_whole_is_left_out():
    learner = build_causal("decoder:1x16:12")
    items = tuple(
        Question(id=q.id, prompt=q.prompt, answer=q.answer, completion="1" * (6 + (q.id == 2)))
        for q in questions(12).items
    )
    method = made(learner, Questions(items=items), demonstrations=9)
    assert len(learner.tokenizer.prompt(items[1]) + learner.tokenizer.completion(items[1])) == 12
    collected(method, [1, 2])
    assert method.failed.ids == [1]
