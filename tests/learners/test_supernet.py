"""Transformers inside a transformer, against each other and against counts."""

import copy

import pytest
import torch
from torch import nn

from didact.errors import ConfigError
from didact.learners import ModuleLearner, SubnetSize, SubSpace, Supernet, partition
from didact.learners.nets import Encoder, TextNet
from didact.types import Batch

IDS = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(0))
BATCH = Batch({"input_ids": IDS, "attention_mask": (IDS > 1).long(), "id": torch.arange(3)})
SIZES = [SubnetSize(4, 3, 192), SubnetSize(2, 1, 48), SubnetSize(3, 2, 100), SubnetSize(1, 3, 1)]


def made():
    torch.manual_seed(1)
    net = TextNet(nn.Embedding(9, 48), Encoder(4, 48, 5), nn.Linear(48, 3))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Supernet(ModuleLearner(net))


def test_the_largest_part_is_the_whole():
    supernet = made()
    assert supernet.largest == SubnetSize(4, 3, 192)
    torch.testing.assert_close(supernet.forward_subnet(supernet.largest, BATCH).logits, supernet.learner(BATCH).logits)
    assert supernet.cost_share(supernet.largest) == 1.0


@pytest.mark.parametrize("size", SIZES)
def test_a_part_says_the_same_inside_cut_out_and_kept(size):
    supernet = made()
    before = copy.deepcopy(supernet.learner.state_dict())
    inside = supernet.forward_subnet(size, BATCH)
    small = supernet.extract(size)
    torch.testing.assert_close(small(BATCH).logits, inside.logits)
    encoder = small.module.body
    assert len(encoder.blocks) == size.depth
    assert inside.features[supernet.queries_tap(size)].shape == (3, 5, 3 * size.heads * 16)
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.learner.state_dict().items())
    supernet.prune_to(size)
    torch.testing.assert_close(supernet.learner(BATCH).logits, inside.logits)
    matrices = [p.numel() for b in encoder.blocks for name, p in b.named_parameters() if p.ndim == 2]
    whole = [p.numel() for b in supernet.encoder.blocks for name, p in b.named_parameters() if p.ndim == 2]
    assert supernet.cost_share(size) == pytest.approx(sum(matrices) / sum(whole))


def test_gradients_flow_into_the_leading_heads_of_evenly_spaced_blocks():
    supernet = made()
    supernet.forward_subnet(SubnetSize(2, 1, 48), BATCH).logits.sum().backward()
    slopes = [block.attention.qkv.weight.grad for block in supernet.encoder.blocks]
    assert slopes[1] is None and slopes[3] is None
    for slope in (slopes[0], slopes[2]):
        by_head = slope.view(3, 3, 16, 48).abs().sum((2, 3))
        assert bool((by_head[:, 0] > 0).all())
        assert by_head[:, 1:].sum() == 0
    assert supernet.encoder.blocks[0].mlp[0].weight.grad[48:].abs().sum() == 0
    assert supernet.learner.head.weight.grad.abs().sum() > 0


def test_a_part_trained_inside_is_what_training_it_alone_gives():
    supernet, size = made(), SubnetSize(2, 2, 96)
    alone = supernet.extract(size)
    for _ in range(3):
        losses = [supernet.forward_subnet(size, BATCH).logits.square().sum(), alone(BATCH).logits.square().sum()]
        torch.testing.assert_close(*losses)
        for loss, net in zip(losses, (supernet.learner, alone), strict=True):
            loss.backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    if parameter.grad is not None:
                        parameter -= 1e-4 * parameter.grad
                        parameter.grad = None


def test_sub_spaces_share_no_level():
    whole = SubnetSize(4, 4, 256)
    (everything,) = partition(whole, 4, 1)
    assert len(everything) == 64
    assert (everything[0], everything[-1]) == (SubnetSize(1, 1, 64), whole)
    tiny, base = partition(whole, 4, 2)
    assert len(tiny) == len(base) == 8
    assert tiny[-1] == SubnetSize(2, 2, 128)
    assert base[0] == SubnetSize(3, 3, 192)
    assert partition(whole, 4, 4)[1] == (SubnetSize(2, 2, 128),)
    assert [len(space) for space in partition(SubnetSize(2, 2, 128), 6, 3)] == [2, 2, 2]


def test_the_last_sub_space_within_the_limit_is_taken():
    supernet = made()
    levels = {"levels": 4, "parts": 2}
    tiny, base = partition(supernet.largest, 4, 2)
    space = SubSpace(supernet, limit=0.7, **levels)
    assert set(space.sizes) == set(base)
    assert [supernet.cost_share(size) for size in space.sizes] == sorted(map(supernet.cost_share, space.sizes))
    assert space.affordable == tuple(size for size in space.sizes if supernet.cost_share(size) <= 0.7) != space.sizes
    assert set(SubSpace(supernet, limit=0.3, **levels).sizes) == set(tiny)
    with pytest.raises(ConfigError, match=r"max_cost is 0.01, but the smallest net takes 0.0"):
        SubSpace(supernet, limit=0.01, **levels)


def test_the_cheapest_and_the_dearest_are_always_drawn():
    space = SubSpace(made(), levels=4, parts=2, limit=0.3)
    torch.manual_seed(0)
    for _ in range(20):
        drawn = space.sample(2)
        assert drawn[:2] == [space.sizes[0], space.sizes[-1]]
        assert len(set(drawn)) == 4
    assert len({size for _ in range(40) for size in space.sample(2)}) == 8
    assert SubSpace(made(), levels=4, parts=4, limit=0.3).sample(2) == [SubnetSize(2, 2, 96)]


def test_what_was_chosen_survives_saving():
    space, other = (SubSpace(made(), levels=4, parts=2, limit=0.3) for _ in range(2))
    other.load_state_dict(space.state_dict())
    assert other.chosen is None
    space.chosen = space.sizes[3]
    other.load_state_dict(space.state_dict())
    assert other.chosen == space.sizes[3]


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="subspaces is 5"):
        partition(SubnetSize(2, 2, 8), 4, 5)
    with pytest.raises(ConfigError, match="holds 0 of didact's transformer encoders"):
        Supernet(ModuleLearner(nn.Linear(2, 2)))
