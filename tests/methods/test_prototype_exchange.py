"""Two students that exchange prototypes, against the authors' step in loops."""

import pytest
import torch
from torch.nn import functional as F

from didact import worlds
from didact.learners.maps import layer_before_last
from didact.methods.semi_supervised import prototype_exchange
from didact.types import IGNORE, MASK, Batch, pixels_of
from small_maps import CHANCE, IMAGES, PIXELS, VIEWS, B, C, H, W, net


def authors_terms(students, translations, labels, exchange):
    """`task_train_step` of dsec_trainer.py for one layer, in loops, with memories that were empty before."""
    feats, logits, probs, told = [], [], [], []
    for student, view in zip(students, ("first.x", "second.x"), strict=True):
        inner = student.module.module
        hidden = inner[1](inner[0](VIEWS[view]))
        logits.append(inner[2](hidden))
        feats.append(F.normalize(hidden, dim=1))
        p = logits[-1].softmax(1).detach().clone()
        for i in range(B):
            there = set(labels[i].unique().tolist()) - {IGNORE}
            for c in range(C):
                if there and c not in there:
                    p[i, c] *= 0
        lbl = p.argmax(1)
        lbl[p.max(1)[0] < 0.5] = IGNORE
        probs.append(p)
        told.append(lbl)
    means = []
    for k in range(2):
        protos = [[] for _ in range(C)]
        for i in range(B):
            for c in range(C):
                region = (probs[k][i, c] * (probs[k][i, c] > 0.7)).detach()
                if region.sum() > 1.0:
                    one = (feats[k][i].detach() * region).sum((1, 2)) / (region.sum() + 1e-5)
                    protos[c].append(F.normalize(one, dim=-1))
        means.append({c: F.normalize(torch.stack(found).mean(0), dim=-1) for c, found in enumerate(protos) if found})
    loss = 0.0
    for k in range(2):
        loss = loss + F.cross_entropy(logits[k], labels, ignore_index=IGNORE)
        loss = loss + 0.5 * F.cross_entropy(logits[k], told[1 - k], ignore_index=IGNORE)
        moved = {c: F.normalize(translations[1 - k](one), dim=-1) for c, one in means[1 - k].items()}
        for share, protos in ((0.25, means[k]), (0.25, moved)) if exchange else ((0.5, means[k]),):
            names, rows = sorted(protos), []
            for i in range(B):
                for place in range(H * W):
                    c = told[1 - k][i].flatten()[place].item()
                    if c in protos:
                        feature = feats[k][i].flatten(1)[:, place]
                        sims = torch.stack([feature @ protos[n] / 0.1 for n in names])
                        rows.append(F.cross_entropy(sims[None], torch.tensor([names.index(c)])))
            loss = loss + share * torch.stack(rows).mean()
        across = F.normalize(translations[k](feats[k].movedim(1, -1)), dim=-1)
        loss = loss + 0.5 * F.l1_loss(across, feats[1 - k].movedim(1, -1).detach())
    return loss


@pytest.mark.parametrize("exchange", [True, False])
def test_prototype_exchange_is_the_authors(exchange):
    """The same are labels of classes that an image does not show, which are left out, thresholds of 0.5 and 0.7, the
    temperature of 0.1, absolute differences of translated features, all weights, and what carries a gradient.

    Theirs are confidences of logits above zero, and features of one layer in their last version.
    """
    students = [net(1, scale=20.0), net(2, scale=20.0)]
    assert layer_before_last(students[0]) == "module.1"
    config = prototype_exchange.Config(exchange=exchange)
    method = prototype_exchange.PrototypeExchange(config, students[0], lambda _spec: students[1], PIXELS, seed=0)
    method.fraction = 0.5
    labels = torch.full((B, H, W), IGNORE)
    for i, j, c in ((0, 3, 0), (0, 8, 2), (2, 1, 1), (2, 20, 2), (3, 7, 0), (3, 5, 1)):
        labels[i].view(-1)[j] = c
    shown = pixels_of(Batch({**IMAGES, MASK: labels, "label": torch.zeros(B, dtype=torch.int64)}))
    wanted = authors_terms(students, method.translations, labels, exchange)
    slopes = torch.autograd.grad(wanted, method.parameters())
    found = method.loss(shown).total()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for mine, theirs in zip(torch.autograd.grad(found, method.parameters()), slopes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    method.fraction = 0.0
    assert set(method.loss(shown)) == {"label_0", "label_1", "dual_0", "dual_1"}


def test_prototypes_are_those_of_images_of_late():
    method = prototype_exchange.PrototypeExchange(
        prototype_exchange.Config(), net(1), lambda _spec: net(2), PIXELS, seed=0
    )
    probs = torch.zeros(2, 3, C)
    probs[0, 0, 1], probs[0, 1:, 1], probs[1, :, 1] = 0.8, 0.7, 0.9
    features = F.normalize(torch.randn(2, 3, 4, generator=CHANCE), dim=-1)
    method.remember(0, features.flatten(0, 1), probs.flatten(0, 1), 2)
    assert method.memories[0].seen.tolist() == [False, True, False]
    torch.testing.assert_close(
        method.memories[0].mean[1], F.normalize(features[1].mean(0), dim=-1), rtol=1e-4, atol=1e-5
    )


def test_points_are_single_pixels_of_each_class_in_training_alone():
    points, whole = worlds.load("canvas:points").tensors, worlds.load("canvas:masks").tensors[MASK]
    learned = points["split"] == 0
    assert 200 < learned.sum() < 340
    assert torch.equal(points[MASK][~learned], whole[~learned])
    for some, every in zip(points[MASK][learned], whole[learned], strict=True):
        kept = some[some != IGNORE]
        assert torch.equal(kept.sort().values, every.unique())
        assert torch.equal(every[some != IGNORE], kept)
