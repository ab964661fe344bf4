"""The supernet's distillation, its search and fine-tuning, against nets that are cut out and a slow transcription."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import net
from didact.errors import ConfigError
from didact.learners import ModuleLearner, SubnetSize
from didact.learners.nets import Encoder, MaskedMean, TextNet
from didact.losses.labels.supervised import cross_entropy
from didact.methods.distillation.autodistil import AutoDistil, Config
from didact.teachers import FrozenTeacher, RandomTeacher
from didact.types import IGNORE, Batch

IDS = torch.randint(0, 9, (6, 5), generator=torch.Generator().manual_seed(0))
BATCH = Batch(
    {
        "input_ids": IDS,
        "attention_mask": (torch.arange(5) < torch.tensor([5, 4, 3, 5, 2, 5])[:, None]).long(),
        "label": torch.tensor([0, 2, IGNORE, 1, IGNORE, 2]),
        "id": torch.arange(6),
    }
)


def transformer(depth, width, seed):
    torch.manual_seed(seed)
    module = TextNet(nn.Embedding(9, width), Encoder(depth, width, 5), nn.Linear(width, 3))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return ModuleLearner(module)


def made(**options):
    teacher = FrozenTeacher(transformer(2, 48, 5))
    return AutoDistil(Config(**options), transformer(4, 32, 1), teacher, BATCH)


def relations(vectors, heads, present):
    """Probabilities of one example's tokens that are there."""
    parts = np.split(vectors[present], heads, axis=1)
    scores = [np.exp(part @ part.T / np.sqrt(part.shape[1])) for part in parts]
    return np.stack([each / each.sum(1, keepdims=True) for each in scores])


def distance(method, size):
    """The mean over examples of the three divergences of a net that is cut out."""
    small = method.space.supernet.extract(size)
    small.tap(method.space.supernet.queries_tap(size))
    mine = small(BATCH).features[method.space.supernet.queries_tap(size)].detach().double().numpy()
    theirs = method.teacher.signal(BATCH).features[method.tap].double().numpy()
    total = 0.0
    for one, other, there in zip(mine, theirs, BATCH["attention_mask"].bool().numpy(), strict=True):
        for own, target in zip(np.split(one, 3, axis=1), np.split(other, 3, axis=1), strict=True):
            q, p = relations(own, 4, there), relations(target, 4, there)
            total += (p * np.log(p / q)).sum(-1).mean()
    return total / len(mine)


def test_every_net_that_is_drawn_follows_the_relations_of_the_last_layer():
    method = made(sampled=1)
    torch.manual_seed(3)
    sizes = method.space.sample(1)
    torch.manual_seed(3)
    terms = method.loss(BATCH)
    assert set(terms) == {"queries", "keys", "values"}
    assert len(sizes) == 3
    assert terms.total().item() == pytest.approx(np.mean([distance(method, size) for size in sizes]), rel=1e-4)
    assert all(float(terms[kind].count) == method.counts(BATCH)[kind] for kind in terms)
    terms.backward()
    assert method.learner.head.weight.grad is None
    assert all(p.grad is None for p in method.teacher.learner.parameters())


def test_all_nets_follow_the_relations_in_value_and_gradient():
    method = made(sampled=1)
    parameters = list(method.learner.double().parameters())
    method.teacher.learner.double()
    torch.manual_seed(3)
    sizes = method.space.sample(1)
    torch.manual_seed(3)
    terms = method.loss(BATCH)
    assert terms.total().item() == pytest.approx(np.mean([distance(method, size) for size in sizes]), rel=1e-5)
    terms.backward()
    torch.manual_seed(4)
    ways = [torch.randn_like(p) for p in parameters]
    found = sum((way * p.grad).sum() for way, p in zip(ways, parameters, strict=True) if p.grad is not None)
    means, step = [], 1e-5
    for move in (step, -2 * step):
        with torch.no_grad():
            torch._foreach_add_(parameters, ways, alpha=move)
        means.append(np.mean([distance(method, size) for size in sizes]))
    assert found.item() == pytest.approx((means[0] - means[1]) / (2 * step), rel=1e-4)


def test_the_best_net_within_the_limit_is_chosen_and_fine_tuned():
    method = made(max_cost=0.4, subspaces=1, levels=2, distil_share=0.5)
    assert set(method.space.affordable) < set(method.space.sizes)
    distances = {size: distance(method, size) for size in method.space.affordable}
    method.fraction = 0.5
    terms = method.loss(BATCH)
    assert method.space.chosen == min(distances, key=distances.get)
    small, there = method.space.supernet.extract(method.space.chosen), BATCH["label"] != IGNORE
    expected = cross_entropy(small(BATCH).logits[there], BATCH["label"][there]).mean()
    assert terms.total().item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_delivered_stays_the_net_that_was_chosen():
    method = made()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.01)
    for fraction in (0.1, 0.3, 0.6, 0.7, 0.8):
        method.fraction = fraction
        method.loss(BATCH).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    small = method.space.supernet.extract(method.space.chosen)
    torch.testing.assert_close(method.delivered(BATCH).logits, small(BATCH).logits)
    assert method.space.supernet.cost_share(method.space.chosen) <= 0.25
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in method.learner.parameters())


def test_a_choice_is_part_of_the_state():
    method, other = made(), made()
    method.fraction = 0.6
    method.loss(BATCH)
    other.load_state_dict(method.state_dict())
    assert other.space.chosen == method.space.chosen is not None
    assert set(method.state_dict()) == {"learner", "space"}


def test_each_sub_space_of_one_net_distils_it_alone():
    method = made(subspaces=4)
    assert method.space.sample(2) == [SubnetSize(2, 1, 64)]
    assert method.counts(BATCH)["keys"] == 6


def test_images_have_tokens_too():
    torch.manual_seed(0)
    patches = nn.Sequential(nn.Unflatten(1, (4, 16)), Encoder(2, 16, 4), MaskedMean(), nn.Linear(16, 3))
    images = Batch({"x": torch.randn(5, 64), "label": torch.tensor([0, 1, 2, 0, 1]), "id": torch.arange(5)})
    teacher = FrozenTeacher(ModuleLearner(nn.Sequential(patches[0], Encoder(1, 16, 4), MaskedMean(), nn.Linear(16, 3))))
    method = AutoDistil(Config(max_cost=0.5), ModuleLearner(patches), teacher, images)
    assert torch.isfinite(method.loss(images).total())


def test_what_cannot_work_is_refused():
    student, teacher = transformer(2, 32, 1), FrozenTeacher(transformer(1, 32, 2))
    with pytest.raises(ConfigError, match="holds 0 of didact's transformer encoders"):
        AutoDistil(Config(), ModuleLearner(net()), teacher, BATCH)
    with pytest.raises(ConfigError, match="no layer `qkv`"):
        AutoDistil(Config(), student, RandomTeacher(3), BATCH)
    with pytest.raises(ConfigError, match="relation_heads is 3, which does not divide"):
        AutoDistil(Config(relation_heads=3), student, teacher, BATCH)
    with pytest.raises(ConfigError, match=r"max_cost is 0\.01, but the smallest net takes"):
        AutoDistil(Config(max_cost=0.01), student, teacher, BATCH)


@pytest.mark.parametrize(
    "options",
    [{"max_cost": 1.5}, {"levels": 0}, {"subspaces": 5}, {"sampled": -1}, {"distil_share": 2}, {"relation_heads": 0}],
)
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*must be"):
        Config(**options)
