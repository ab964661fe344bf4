"""Poolings of bags by a query, against the authors' terms written out for one bag at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from didact import parts
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.bag_query import QUERIES, query_bag_net
from didact.learners.bags import bag_net
from didact.methods.bags.attention_pool import AttentionPool, Config
from didact.parts.part import ForExamples
from didact.types import Batch, Examples
from didact.worlds.planted.evidence import MOST, best_accuracy, direction, evidence

X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
BATCH = Batch({"x": X, "label": LABELS, "id": torch.arange(6)})


def instance(width=3, outputs=2, seed=1):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, outputs)))


def of_query(pooling, seed=1, **sizes):
    learner = instance(seed=seed, **sizes)
    return query_bag_net(bag_net(learner, "mean"), pooling)


def weights_of(learner):
    state = {name: value.detach().double().numpy() for name, value in learner.module.state_dict().items()}

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)

    return state, linear


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_first_instance_asks_as_in_the_authors_code():
    """`AdaPool.forward` of nn/pool.py and `forward` of nn/attention.py in agbrothers/pooling, with one head."""
    learner = of_query("adaptive")
    AttentionPool(Config(), learner)
    found = learner(BATCH)
    _, linear = weights_of(learner)
    for i, bag in enumerate(X.double().numpy()):
        hidden = np.tanh(linear("instance.0", bag))
        query = hidden[:1]
        q, k, v = linear("query", query), linear("key", hidden), linear("value", hidden)
        attention = softmax((q @ k.T)[0] / np.sqrt(3))
        pooled = query[0] + linear("out", attention @ v)
        np.testing.assert_allclose(found.features["attention"][i].detach().numpy(), attention, atol=1e-6)
        np.testing.assert_allclose(found.logits[i].detach().numpy(), linear("head", pooled), atol=1e-6)


@pytest.mark.parametrize("pooling", ["relevance", "entailment"])
def test_evidence_is_weighed_as_in_the_authors_code(pooling):
    """`mlp_ptscorer` without a hidden layer, and `WeightedMean`, of brmson/dataset-sts: two classes are one sigmoid."""
    learner = of_query(pooling)
    x = X.clone()
    x[2, 3] = 0.0  # no evidence
    state, linear = weights_of(learner)
    terms = AttentionPool(Config(), learner).loss(Batch({**BATCH, "x": x}))
    loss = 0.0
    for i, bag in enumerate(x.double().numpy()):
        hidden = np.tanh(linear("instance.0", bag))
        said, relevant = [], []
        for piece, there in zip(hidden[1:], bag[1:].any(1), strict=True):
            pair = np.concatenate([hidden[0] + piece, hidden[0] * piece])
            one = pair @ (state["head.weight"][1] - state["head.weight"][0])
            said.append(sigmoid(one + state["head.bias"][1] - state["head.bias"][0]))
            relevant.append(there * (sigmoid(linear("relevance", pair)[0]) if pooling == "relevance" else 1.0))
        yes = np.dot(said, relevant) / np.sum(relevant)
        loss -= np.log(yes if LABELS[i] else 1 - yes) / 6
    assert terms.total().item() == pytest.approx(loss, rel=1e-5)
    terms.total().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


def test_evidence_of_numbers_is_a_weighted_mean_and_a_bare_question_has_an_answer():
    learner = of_query("relevance", outputs=1)
    hidden = learner.module.encode(X)
    weight, said = learner.module.attend(hidden), learner.module.head(learner.module.pairs(hidden))[..., 0]
    torch.testing.assert_close(learner(BATCH).logits[:, 0], (weight * said).sum(1))
    bare = X.clone()
    bare[:, 1:] = 0.0
    assert of_query("relevance")(Batch({**BATCH, "x": bare})).logits.isfinite().all()
    with pytest.raises(ConfigError, match="has no vector of a bag; take bag:attention"):
        of_query("relevance").module.pool(hidden)


def test_instances_that_are_left_out_do_not_count():
    kept = torch.tensor([[True, False, True, True]]).expand(6, -1)
    net = of_query("adaptive").module
    hidden = net.encode(X)
    torch.testing.assert_close(net.pool(hidden, kept), net.pool(hidden[:, [0, 2, 3]]), atol=1e-5, rtol=1e-4)
    assert net.attend(hidden, kept)[:, 1].tolist() == [0.0] * 6


def trained(learner, batch, steps, lr=0.01):
    method = AttentionPool(Config(), learner)
    optimizer = torch.optim.Adam(learner.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        method.loss(batch).total().backward()
        optimizer.step()
    return learner


def asked(shuffled=False, seed=5):
    """Bags of which the first vector says by a key which other one has the answer; or another bag's first vector."""
    draw = torch.Generator().manual_seed(seed)
    key = torch.randn(200, 2, generator=draw) * 2
    others = torch.randn(200, 3, 2, generator=draw) * 2
    place, label = torch.randint(3, (200,), generator=draw), torch.randint(2, (200,), generator=draw)
    right = torch.arange(3) == place[:, None]
    says = torch.where(right, label[:, None], torch.randint(2, (200, 3), generator=draw)) * 2.0 - 1.0
    pieces = torch.cat([torch.where(right[..., None], key[:, None], others), says[..., None]], 2)
    question = torch.cat([key.roll(1, 0) if shuffled else key, torch.zeros(200, 1)], 1)
    x = torch.cat([question[:, None], pieces], 1)
    x = torch.cat([x, x.square()], 2)[..., :5]
    return Batch({"x": x, "label": label, "id": torch.arange(200)}), right


def weight_on_the_answer(pooling, shuffled):
    learner = trained(of_query(pooling, width=16), asked(shuffled)[0], 60, lr=0.02)
    batch, right = asked(shuffled, seed=6)
    found = learner(batch).features["attention"].detach()[:, 1:]
    return float((found * right).sum(1).mean() / found.sum(1).mean())


def test_attention_finds_what_the_first_instance_asks_for():
    """And does not, where the question is that of another bag."""
    assert weight_on_the_answer("adaptive", shuffled=False) > 0.5
    assert weight_on_the_answer("adaptive", shuffled=True) < 0.42


def test_relevance_is_found_without_labels_of_it():
    """And is not, where the question is that of another bag."""
    assert weight_on_the_answer("relevance", shuffled=False) > 0.5
    assert weight_on_the_answer("relevance", shuffled=True) < 0.42


BAGS = Examples(tensors=dict(BATCH), task="classification", modality="table", classes=("no", "yes"))


@pytest.mark.parametrize("spec", [f"query_bag:{pooling}:mlp:8" for pooling in QUERIES])
def test_a_student_is_drawn_by_its_seed_and_the_order_of_evidence_means_nothing(spec):
    purpose = ForExamples(examples=BAGS, seed=3)
    model, again = (purpose.open(spec, "student").model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    turned = Batch({**BATCH, "x": X[:, [0, 3, 1, 2]]})
    torch.testing.assert_close(model(BATCH).logits, model(turned).logits, atol=1e-5, rtol=1e-5)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match="the pooling is one of adaptive, relevance, entailment, as in query_bag:"):
        ForExamples(examples=BAGS, seed=0).build(parts.parse("query_bag:mean:mlp:8", "student"))


def test_evidence_is_about_the_question_and_the_best_accuracy_is_that_of_its_mean():
    examples = evidence()
    x, label, relevant = (examples.tensors[name] for name in ("x", "label", "relevant"))
    there = x[:, 1:].ne(0).any(2)
    assert torch.equal(there.sum(1), examples.tensors["candidates"]) and int(there.sum(1).max()) == MOST
    apart = (x[..., :4] - x[:, :1, :4]).norm(dim=2)
    assert float(apart[relevant].mean()) == pytest.approx(0.2 * 1.88, abs=0.02)
    assert float(apart[:, 1:][there & ~relevant[:, 1:]].mean()) > 2.5
    mean = (x[..., 4:] @ direction() * relevant).sum(1) / relevant.sum(1)
    right = ((mean > 0).long() == label).double().mean()
    assert float(right) == pytest.approx(best_accuracy(), abs=3 * (0.93 * 0.07 / 2000) ** 0.5)
