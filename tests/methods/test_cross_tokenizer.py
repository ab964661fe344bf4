"""Models with different tokenizers, compared by the likelihoods of what both have read."""

import json
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import didact
from didact import worlds
from didact.errors import ConfigError, DataError, TeacherError
from didact.learners import ByteTokens, HubTokens, NumberTokens
from didact.learners.causal import CausalLearner, save_causal
from didact.learners.decoder import Decoder, DecoderConfig
from didact.losses.tokens.chunks import binarised_kl
from didact.methods.language.cross_tokenizer import Config, CrossTokenizer
from didact.parts.models import build_causal
from didact.sources import CompletionSource
from didact.sources.aligning import align_pieces, find_cuts
from didact.teachers import LanguageTeacher
from didact.types import Batch, Head, Question, Questions, TokenOutput

TEXTS = ("1", "22", "4567", "12a34 5", "naïve 猫 12", "\U0001f600\U0001f601!", " lead", "a\n\nb  c")


def save_merged(path, *merges, special=("<pad>", "</s>")):
    """A byte-level tokenizer with some merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*special, *alphabet, *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(special))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")
    made.save_pretrained(path)
    return HubTokens(str(path))


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    pairs = [("1", "2"), ("12", "3"), ("4", "5"), ("6", "7"), ("a", "\u0120"), ("\u00f0", "\u0141"), ("\u0120", "l")]
    return save_merged(tmp_path_factory.mktemp("merged"), *pairs)


def pieces_by_decoding(tokenizer, text):
    """The cuts, by decoding every beginning of the tokens: independent of where a tokenizer says that they lie."""
    ids, found = tokenizer.encode(text), {}
    for place in range(1, len(ids) + 1):
        read = tokenizer.decode(ids[:place])
        if text.startswith(read) and tokenizer.encode(read) == ids[:place]:
            found[len(read.encode())] = place
    return found


def as_bytes(tokenizer, ids):
    """What each of some tokens of ours stands for; of another tokenizer, all of them together."""
    if not isinstance(tokenizer, ByteTokens):
        return [tokenizer.decode(ids).encode()]
    return [b"%02d" % (i - 260) if i >= 260 else bytes([i - 4]) if i >= 4 else b"" for i in ids]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_cut_where_a_beginning_of_its_tokens_is_a_beginning_of_it(text, merged):
    assert find_cuts(merged.spans(text)) == pieces_by_decoding(merged, text)
    assert find_cuts(ByteTokens().spans(text)) == {n: n for n in range(1, len(text.encode()) + 1)}
    ids = NumberTokens().encode(text)
    ends = [len(b"".join(as_bytes(NumberTokens(), ids[:place]))) for place in range(1, len(ids) + 1)]
    assert find_cuts(NumberTokens().spans(text)) == {end: place for place, end in enumerate(ends, 1)}


@pytest.mark.parametrize("text", TEXTS)
def test_both_have_the_same_pieces_of_the_same_bytes(text, merged):
    for mine, theirs in ((ByteTokens(), NumberTokens()), (merged, NumberTokens()), (merged, ByteTokens())):
        read = []
        for tokenizer, numbers in zip((mine, theirs), align_pieces(text, mine, theirs), strict=True):
            ids = tokenizer.completion(Question(id=0, prompt="", completion=text))
            assert len(numbers) == len(ids)
            assert numbers == sorted(numbers)
            assert set(numbers) == set(range(1, numbers[-1] + 1))
            assert numbers.count(numbers[-1]) == 1
            parts = [[i for i, n in zip(ids, numbers, strict=True) if n == number] for number in sorted(set(numbers))]
            read.append([b"".join(as_bytes(tokenizer, part)) for part in parts])
        assert read[0] == read[1]
        assert b"".join(read[0]) == text.encode()


def test_pieces_are_as_small_as_they_can_be():
    assert align_pieces("4567", ByteTokens(), NumberTokens()) == ([1, 1, 2, 2, 3], [1, 2, 3])
    assert align_pieces("a123", NumberTokens(), ByteTokens()) == ([1, 2, 3, 4], [1, 2, 2, 3, 4])
    assert align_pieces("ab", ByteTokens(), ByteTokens()) == ([1, 2, 3], [1, 2, 3])


def test_bytes_whose_owner_is_not_told_are_no_cut():
    assert find_cuts([(0, 3), (4, 7)]) == {7: 2}
    assert find_cuts([(0, 3), (0, 3), (3, 4)]) == {3: 2, 4: 3}
    assert find_cuts([(0, 2), (1, 3), (3, 5)]) == {3: 2, 5: 3}
    assert find_cuts([(0, 1), (3, 4), (1, 3)]) == {1: 1, 4: 3}


def test_number_tokens_join_two_digits_from_the_left():
    tokens = NumberTokens()
    assert tokens.encode("a123") == [4 + ord("a"), 260 + 12, 4 + ord("3")]
    assert tokens.decode([1, *tokens.encode("x07é9\n"), 2, 400]) == "x07é9\n"
    assert tokens.prompt(Question(id=1, prompt="37")) == [1, 297]
    assert tokens.completion(Question(id=1, prompt="37", completion="05")) == [265, 2]


def test_a_decoder_over_numbers_comes_back(tmp_path):
    made = build_causal("decoder:1x16:64:numbers", seed=2)
    assert made.head.vocabulary == 360
    assert made.context == 64
    save_causal(made, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "didact.json").read_text())["tokenizer"] == "numbers"
    again = build_causal(f"hf:{tmp_path / 'saved'}")
    assert isinstance(again.tokenizer, NumberTokens)


@pytest.mark.parametrize("temperature", [1.0, 100.0])
def test_the_divergence_of_two_outcomes(temperature):
    surprises = np.array([[0.3, 2.0], [5.0, 0.01], [40.0, 41.0], [0.7, 0.7]])
    p, q = np.exp(-surprises.T / temperature)
    wanted = temperature * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    theirs, mine = torch.tensor(-surprises.T)
    mine.requires_grad_(True)
    found = binarised_kl(mine, theirs, temperature=temperature)
    assert found.detach().numpy() == pytest.approx(wanted, rel=1e-9, abs=1e-15)
    found.sum().backward()
    assert mine.grad.numpy() == pytest.approx(-(p - q) / (1 - q), rel=1e-9, abs=1e-15)


def test_a_high_temperature_compares_surprises():
    a, b = 3.0, 0.5
    found = binarised_kl(torch.tensor(-b).double(), torch.tensor(-a).double(), temperature=1e5)
    assert found.item() == pytest.approx(b - a + a * math.log(a / b), rel=1e-4)


def test_what_is_certain_has_a_finite_divergence_and_gradient():
    mine = torch.tensor([0.0, -0.0, -1e-9, -200.0], requires_grad=True)
    found = binarised_kl(mine, torch.tensor([0.0, -3.0, -1e-8, 0.0]), temperature=1.0)
    found.sum().backward()
    assert found.isfinite().all() and (found >= 0).all()
    assert mine.grad.isfinite().all()


def model(tokenizer, seed, size=None):
    with torch.random.fork_rng(devices=[]):
        config = DecoderConfig.small(1, 16, vocabulary=size or tokenizer.vocabulary, context=64)
        made = CausalLearner(Decoder(config, seed=seed), tokenizer)
    with torch.no_grad():
        made.head.weight.mul_(3.0)
    return made.eval()


def questions(texts=TEXTS):
    return Questions(items=tuple(Question(id=n, prompt=f"say {n}:", completion=t) for n, t in enumerate(texts)))


def batch_for(learner, teacher, asked=None, size=None):
    asked = questions() if asked is None else asked
    source = CompletionSource(
        asked, learner.tokenizer, batch_size=size or len(asked), max_length=64, teacher=teacher.tokenizer
    )
    return next(iter(source)).check()


def log_prob(learner, ids, start, end):
    """The log-probability of ids[start:end] after those before, one token after another; differentiable."""
    total = torch.zeros(())
    for place in range(start, end):
        row = torch.tensor([ids[:place]])
        one = Batch({"id": torch.tensor([0]), "input_ids": row, "attention_mask": torch.ones_like(row)})
        scores = learner(one).logits[0, -1].double()
        total = total + scores[ids[place]] - scores.exp().sum().log()
    return total


def test_whole_pieces_are_compared_by_the_chain_rule(merged):
    learner, teacher = model(ByteTokens(), 0), model(merged, 1, 270)
    asked = questions()
    batch = batch_for(learner, teacher, asked)
    losses = []
    for question in asked:
        both = []
        for one, numbers in zip(
            (learner, teacher), align_pieces(question.completion, learner.tokenizer, teacher.tokenizer), strict=True
        ):
            prompt = one.tokenizer.prompt(question)
            ids = [*prompt, *one.tokenizer.completion(question)]
            places = {n: [len(prompt) + i for i, m in enumerate(numbers) if m == n] for n in set(numbers)}
            both.append({n: log_prob(one, ids, at[0], at[-1] + 1) for n, at in places.items()})
        for number, mine in both[0].items():
            q, p = (mine / 10.0).exp(), (both[1][number].detach() / 10.0).exp()
            losses.append(10.0 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()))
    method = CrossTokenizer(Config(binarisation=10.0, answer_weight=0.5), learner, LanguageTeacher(teacher))
    terms = method.loss(batch)
    wanted = torch.stack(losses).mean()
    assert terms["teacher"].mean().item() == pytest.approx(wanted.item(), rel=1e-4)
    assert terms["teacher"].count == len(losses)
    weights = list(learner.parameters())
    found = torch.autograd.grad(terms["teacher"].mean(), weights, retain_graph=True)
    for mine, theirs in zip(found, torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    counts = method.counts(batch)
    assert {name: float(term.count) for name, term in terms.items()} == {n: float(c) for n, c in counts.items()}
    assert terms["answer"].weight == 0.5


def test_the_same_model_in_the_same_tokens_has_nothing_to_learn():
    learner, teacher = model(ByteTokens(), 0), model(ByteTokens(), 0)
    terms = CrossTokenizer(Config(), learner, LanguageTeacher(teacher)).loss(batch_for(learner, teacher))
    assert abs(terms.total().item()) < 1e-6
    terms.backward()
    assert max(p.grad.abs().max() for p in learner.parameters() if p.grad is not None) < 1e-4


def test_models_that_say_the_same_of_the_text_agree_in_other_tokens():
    """A teacher over numbers whose probabilities of pairs are the products of the student's: the loss is 0."""

    class Free(torch.nn.Module):
        """Tokens that don't depend on those before."""

        def __init__(self, tokenizer, scores):
            super().__init__()
            self.tokenizer, self.scores = tokenizer, torch.nn.Parameter(scores)

        def forward(self, batch):
            return TokenOutput(torch.ones(*batch["input_ids"].shape, 1).double(), Head(self.scores[:, None]))

    probs = torch.full((260,), 1e-6, dtype=torch.float64)
    probs[2], probs[4 + ord("a")], probs[4 + ord("b")] = 0.1, 0.05, 0.04
    digits = torch.linspace(0.01, 0.05, 10, dtype=torch.float64)
    probs[4 + ord("0") : 4 + ord("9") + 1] = digits
    pairs = (digits[:, None] * digits).flatten()
    probs[0] += 1.0 - probs.sum()
    # The mass that the pairs take is taken from a token that is never there.
    other = torch.cat([probs, pairs])
    other[0] -= pairs.sum()
    assert other[0] > 0
    learner, teacher = Free(ByteTokens(), probs.log()), Free(NumberTokens(), other.log())
    batch = batch_for(learner, teacher, questions(("1234", "77", "a12b")))
    method = CrossTokenizer(Config(binarisation=1.0), learner, LanguageTeacher(teacher))
    terms = method.loss(batch)
    assert terms["teacher"].count == 3 + 2 + 4
    assert abs(terms.total().item()) < 1e-12
    terms.backward()
    assert learner.scores.grad.abs().max() < 1e-9
    with torch.no_grad():
        teacher.scores[260 + 77] += 1.0
    assert method.loss(batch).total().item() > 1e-4


def test_cutting_a_batch_changes_nothing(merged):
    learner, teacher = model(ByteTokens(), 0), model(merged, 1, 270)
    method = CrossTokenizer(Config(), learner, LanguageTeacher(teacher))
    batch = batch_for(learner, teacher)
    method.loss(batch).backward()
    whole = [p.grad.clone() for p in learner.parameters()]
    learner.zero_grad()
    for part in batch.split(3):
        method.loss(part).backward(method.counts(batch))
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(learner.parameters(), whole, strict=True))


def test_a_batch_without_the_teachers_tokens_is_refused():
    learner, teacher = model(ByteTokens(), 0), model(NumberTokens(), 1)
    batch = batch_for(learner, teacher)
    plain = Batch({name: tensor for name, tensor in batch.items() if not name.startswith("teacher.")})
    with pytest.raises(DataError, match="no view 'teacher'"):
        CrossTokenizer(Config(), learner, LanguageTeacher(teacher)).loss(plain)


class Lower(ByteTokens):
    def encode(self, text):
        return super().encode(text.lower())


class Spaced(ByteTokens):
    def completion(self, question, text=None):
        return [*self.encode(" " + (text or question.completion)), self.eos]

    def decode(self, ids, special=False):
        read = super().decode(ids)
        return read if 1 in ids else read.removeprefix(" ")


def test_tokenizers_that_change_the_text_are_refused(tmp_path):
    mine = ByteTokens()
    asked = questions(("Ab",))
    for tokenizer, why in ((Lower(), "does not give back|reads"), (Spaced(), "comes between the two")):
        with pytest.raises(TeacherError, match=why):
            CompletionSource(asked, mine, batch_size=1, max_length=64, teacher=tokenizer)
    special = save_merged(tmp_path, ("a", "b"))
    with pytest.raises(TeacherError, match="reads"):
        CompletionSource(questions(("a</s>b",)), mine, batch_size=1, max_length=64, teacher=special)


def test_aligned_answers_are_neither_packed_nor_paired_nor_cut():
    for option in ("packed", "pairs", "truncate"):
        with pytest.raises(ConfigError, match="another tokenizer"):
            CompletionSource(
                questions(), ByteTokens(), batch_size=1, max_length=64, teacher=NumberTokens(), **{option: True}
            )
    with pytest.raises(DataError, match="max_length is 9"):
        CompletionSource(
            questions(), ByteTokens(), batch_size=1, max_length=64, teacher=NumberTokens(), teacher_length=9
        )


def test_a_run_with_a_teacher_of_other_tokens():
    settings = {
        "data": worlds.load("addition").select(range(60)),
        "student": "decoder:1x16",
        "teacher": "warm:2:decoder:1x16:64:numbers",
        "steps": 2,
        "batch_size": 8,
        "sampling": "max_new_tokens=5",
        "progress": False,
    }
    result = didact.run(method="cross_tokenizer", **settings)
    assert result.status == "done"
    assert "nll" in result.teacher or "teacher_nll" in result.teacher
    with pytest.raises(TeacherError, match="cross_tokenizer"):
        didact.run(method="gkd", **settings)
