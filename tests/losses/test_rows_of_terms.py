"""The loss of each example that a term gives: weighed by what the examples count for, it adds up to the term's sum."""

import pytest
import torch

from didact.losses.classes.decoupled import decoupled_kd
from didact.losses.classes.divergence import entropy_balanced_kl, forward_kl, jensen_shannon, reverse_kl
from didact.losses.classes.logits import binary_kl, logit_l1
from didact.losses.classes.ranking import plackett_luce
from didact.losses.combining import add_terms
from didact.losses.features.attention import attention_transfer
from didact.losses.features.distances import feature_cosine, feature_mse, relative_mse
from didact.losses.labels.supervised import cross_entropy, label_loss, mixed_cross_entropy, squared_error
from didact.losses.labels.targets import distillation_loss
from didact.losses.pairs.contrastive import nce_loss
from didact.losses.pairs.relational import rkd_distance
from didact.losses.pairs.transport import sinkhorn_distance
from didact.losses.tokens.divergence import token_divergence
from didact.losses.tokens.rows import NORMALISATIONS, CompletionTokens, select_tokens
from didact.losses.tokens.vocabulary import completion_cross_entropy, token_log_probs
from didact.types import IGNORE, Batch, Head, Logits, States, TokenOutput
from heads import chunks_of

LABELS = torch.tensor([2, 0, IGNORE, 1, 2])
NUMBERS = torch.tensor([0.5, float("nan"), -1.0, 2.0, 0.0])
ALL = torch.ones(5)
LABELLED, NUMBERED = (LABELS != IGNORE).float(), (~NUMBERS.isnan()).float()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), requires_grad=seed == 0)


LOGITS, TEACHER = draw(5, 3), draw(5, 3, seed=1)
MAPS, OTHERS = draw(5, 2, 4, 4), draw(5, 2, 4, 4, seed=2)
LOG_PROBS = TEACHER.log_softmax(-1)
TERMS = {
    "cross_entropy": (lambda t: cross_entropy(LOGITS, LABELS, trust=t), LABELLED),
    "smoothed": (lambda t: cross_entropy(LOGITS, LABELS, trust=t, label_smoothing=0.2), LABELLED),
    "soft labels": (lambda t: cross_entropy(LOGITS, LOG_PROBS.exp(), trust=t), ALL),
    "label_loss": (lambda t: label_loss(LOGITS, LABELS, trust=t), LABELLED),
    "squared_error": (lambda t: squared_error(LOGITS[:, 0], NUMBERS, trust=t), NUMBERED),
    "forward_kl": (lambda t: forward_kl(LOGITS, LOG_PROBS, temperature=2.0, trust=t), ALL),
    "reverse_kl": (lambda t: reverse_kl(LOGITS, LOG_PROBS, temperature=2.0, trust=t), ALL),
    "jensen_shannon": (lambda t: jensen_shannon(LOGITS, LOG_PROBS, trust=t), ALL),
    "entropy_balanced_kl": (lambda t: entropy_balanced_kl(LOGITS, LOG_PROBS, emphasis=1.0, trust=t), ALL),
    "target class": (lambda t: decoupled_kd(LOGITS, LOG_PROBS, LABELS, temperature=2.0, trust=t)[0], LABELLED),
    "other classes": (lambda t: decoupled_kd(LOGITS, LOG_PROBS, LABELS, temperature=2.0, trust=t)[1], LABELLED),
    "binary_kl": (lambda t: binary_kl(LOGITS, TEACHER, trust=t), ALL),
    "logit_l1": (lambda t: logit_l1(LOGITS, TEACHER, trust=t), ALL),
    "plackett_luce": (lambda t: plackett_luce(LOGITS, LOG_PROBS, LABELS, trust=t), ALL),
    "distillation_loss": (lambda t: distillation_loss(LOGITS, Logits(logits=TEACHER, trust=t)), ALL),
    "feature_mse": (lambda t: feature_mse(MAPS, OTHERS, trust=t), ALL),
    "feature_cosine": (lambda t: feature_cosine(MAPS, OTHERS, trust=t), ALL),
    "relative_mse": (lambda t: relative_mse(MAPS, OTHERS, trust=t), ALL),
    "attention_transfer": (lambda t: attention_transfer(MAPS, OTHERS, trust=t), ALL),
    "nce_loss": (lambda t: nce_loss(LOGITS, TEACHER, TEACHER, log_normaliser=1.0, trust=t), ALL),
    "sinkhorn_distance": (lambda t: sinkhorn_distance(LOGITS, LOG_PROBS.exp(), trust=t), ALL),
    "two stages": (
        lambda t: add_terms([attention_transfer(MAPS, OTHERS, trust=t), feature_mse(MAPS, OTHERS, trust=t)]),
        ALL,
    ),
}


@pytest.mark.parametrize("trust", [None, torch.tensor([1.0, 0.25, 1.0, 0.0, 0.5])], ids=["plain", "trust"])
@pytest.mark.parametrize("name", TERMS)
def test_weighed_by_trust_they_add_up_to_the_sum(name, trust):
    make, counted = TERMS[name]
    term, weight = make(trust), counted if trust is None else counted * trust
    assert term.rows is not None and term.rows.shape == (5,) and not term.rows.requires_grad
    assert torch.equal(term.rows.isnan(), weight == 0)
    assert (term.rows.nan_to_num() * weight).sum().item() == pytest.approx(term.sum.item(), rel=1e-5)
    assert float(term.count) == pytest.approx(weight.sum().item())


def test_each_is_the_loss_of_its_example_alone():
    rows = cross_entropy(LOGITS, LABELS).rows
    alone = torch.stack([cross_entropy(LOGITS[i : i + 1], LABELS[i : i + 1]).mean() for i in range(5)])
    assert torch.allclose(rows.nan_to_num(), alone, rtol=1e-6, atol=0.0)
    each = forward_kl(LOGITS, LOG_PROBS, temperature=3.0).rows
    alone = [forward_kl(LOGITS[i : i + 1], LOG_PROBS[i : i + 1], temperature=3.0).sum.item() for i in range(5)]
    assert each.tolist() == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("share", [0.3, 1.0, torch.tensor(0.7)])
def test_a_mixture_has_the_mean_of_the_labels_that_it_has(share):
    first, second = torch.tensor([0, 1, IGNORE, IGNORE, 2]), torch.tensor([1, IGNORE, 2, IGNORE, 2])
    term = mixed_cross_entropy(LOGITS, first, second, share)
    weight = share * (first != IGNORE) + (1.0 - share) * (second != IGNORE)
    assert torch.equal(term.rows.isnan(), weight == 0)
    assert (term.rows.nan_to_num() * weight).sum().item() == pytest.approx(term.sum.item(), rel=1e-6)
    losses = -LOGITS.detach().log_softmax(-1)
    assert term.rows[0].item() == pytest.approx(float(share * losses[0, 0] + (1.0 - share) * losses[0, 1]), rel=1e-6)
    assert term.rows[1].item() == pytest.approx(losses[1, 1].item(), rel=1e-6)


def test_what_compares_examples_with_each_other_has_none():
    assert rkd_distance(LOGITS, TEACHER).rows is None


MASK = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
IDS = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1], [0, 1, 0, 1]])
STATES, HEAD = draw(3, 4, 6), Head(draw(5, 6, seed=3))
SURPRISE = -(STATES[:, :-1].detach() @ HEAD.weight.T).log_softmax(-1).gather(2, IDS[:, 1:, None])[..., 0]


def sequences(masked):
    """The tokens of three sequences, of which 3, 1 and 0 count: those alone, or all with a weight, as on a GPU."""
    if not masked:
        batch = Batch({"input_ids": IDS, "completion_mask": MASK, "id": torch.arange(3)})
        return select_tokens(TokenOutput(STATES, HEAD), batch)
    position = torch.arange(12).view(3, 4)[:, 1:].flatten()
    states, weight = STATES.flatten(0, 1)[position - 1], MASK[:, 1:].flatten().float()
    return CompletionTokens(
        hidden=states,
        head=HEAD,
        targets=IDS.flatten()[position],
        row=position // 4,
        position=position,
        weight=weight,
        size=3,
    )


@pytest.mark.parametrize("masked", [False, True], ids=["chosen", "weighed"])
@pytest.mark.parametrize("dense", [0, 10_000], ids=["in chunks", "whole"])
def test_a_sequence_has_the_mean_over_its_tokens(dense, masked):
    rows, expected = sequences(masked), [SURPRISE[0].mean().item(), SURPRISE[1, 1].item()]
    with chunks_of(10, dense=dense):
        term = completion_cross_entropy(rows)
    assert term.rows.tolist() == pytest.approx([*expected, float("nan")], rel=1e-5, nan_ok=True)
    assert term.sum.item() == pytest.approx(3 * expected[0] + expected[1], rel=1e-5)
    log_probs = -token_log_probs(rows.hidden, rows.head, rows.targets)[0]
    for by in NORMALISATIONS:
        term = rows.term(log_probs, by=by, longest=torch.full((3,), 4.0))
        assert term.rows.tolist() == pytest.approx([*expected, float("nan")], nan_ok=True)


@pytest.mark.parametrize("masked", [False, True], ids=["chosen", "weighed"])
def test_tokens_that_weigh_more_count_for_more_in_their_sequence(masked):
    rows = sequences(masked)
    weight = rows.pick(torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 9.0, 0.5, 9.0], [9.0, 9.0, 9.0, 9.0]]))
    weights = rows.weights(weight)
    term = completion_cross_entropy(rows, weights)
    expected = [(2 * SURPRISE[0, 0].item() + SURPRISE[0, 2].item()) / 3, SURPRISE[1, 1].item()]
    assert term.rows.tolist() == pytest.approx([*expected, float("nan")], rel=1e-5, nan_ok=True)
    assert term.sum.item() == pytest.approx(3 * expected[0] + 0.5 * expected[1], rel=1e-5)


def test_the_loss_of_each_token_of_a_divergence_is_at_the_temperature():
    rows, other = sequences(False), Head(draw(5, 6, seed=4).detach())
    with chunks_of(10):
        options = {"kind": "reverse", "temperature": 2.0}
        term = token_divergence(rows.hidden, rows.head, States(hidden=rows.hidden, head=other), **options)
        alone = [
            token_divergence(hidden, rows.head, States(hidden=hidden, head=other), **options).sum.item()
            for hidden in rows.hidden.split(1)
        ]
    assert term.rows.tolist() == pytest.approx(alone, rel=1e-5)
    term.sum.backward()
    assert STATES.grad is not None
    STATES.grad = None
