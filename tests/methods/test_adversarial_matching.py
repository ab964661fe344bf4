"""Pixels that are found again in the frame before: the net, the world, and the authors' terms written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import didact
from didact import worlds
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.learners.maps import flatten_map
from didact.learners.matching import Matcher
from didact.methods.adaptation.adversarial_matching import AdversarialMatching, Config
from didact.parts.part import ForExamples
from didact.types import IGNORE, MASK, Batch, pixels_of
from didact.worlds.textures import FAR, SIDE

B, H, W, R = 2, 4, 6, 1
CHANCE = torch.Generator().manual_seed(0)
FRAMES = torch.rand(B, 2, H, W, generator=CHANCE)
MASKS = torch.randint(0, 9, (B, H, W), generator=CHANCE)
IMAGES = Batch(
    {"x": FRAMES, MASK: MASKS, "label": torch.tensor([0, IGNORE]), "id": torch.arange(B), "domain": torch.arange(B)}
)


class Scores(nn.Module):
    """Scores of nine places, by a convolution."""

    def __init__(self, places=9):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(2, places, 3, padding=1)

    def forward(self, x):
        return flatten_map(4.0 * self.layer(x))


def test_the_terms_and_gradients_are_the_authors():
    """`Mixed_Tracker.forward_train`, pixel by pixel; the classifier stands behind a reversal of factor 0.7."""
    shown, learner = pixels_of(IMAGES), ModuleLearner(Scores(), head=None)
    method = AdversarialMatching(Config(reversal=0.7, rebuild=0.5), learner, shown, seed=3)
    scores = learner(shown).logits
    padded = F.pad(FRAMES[:, 0], [R] * 4)
    rebuilt = []
    for row in range(B * H * W):
        n, (i, j) = row // (H * W), divmod(row % (H * W), W)
        rebuilt.append((scores[row].softmax(0) * padded[n, i : i + 3, j : j + 3].flatten()).sum())
    errors = F.smooth_l1_loss(20 * torch.stack(rebuilt)[H * W :], 20 * FRAMES[1, 1].flatten())
    wanted = F.cross_entropy(scores[: H * W], MASKS[0].flatten()) + 0.5 * errors
    told = method.classifier.layers(scores)
    # The authors' single number, the log odds of the target domain, is the difference of both scores here.
    domain = F.binary_cross_entropy_with_logits(told[:, 1] - told[:, 0], shown["domain"].float())
    terms = method.loss(shown)
    assert terms.total().item() == pytest.approx((wanted + domain).item(), rel=1e-5)
    weights = list(learner.parameters())
    plain, reversed_ = (torch.autograd.grad(one, weights, retain_graph=True) for one in (wanted, domain))
    found = torch.autograd.grad(terms.total(), weights)
    for mine, one, other in zip(found, plain, reversed_, strict=True):
        torch.testing.assert_close(mine, one - 0.7 * other, rtol=1e-3, atol=1e-5)
    counts = method.counts(shown)
    assert {name: float(term.count) for name, term in terms.items()} == {name: float(counts[name]) for name in terms}


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_a_matcher_finds_places_from_coarse_to_fine(size):
    """Each score is that of a loop over places: cosines of pixels, and the log-probability of the cell."""
    frames = torch.rand(B, 2, *size, generator=CHANCE)
    net = Matcher(nn.Conv2d(1, 3, 1), 2, temperature=0.5)
    with torch.no_grad():
        found = net(frames).view(B, *size, 5, 5).numpy()
        before, now = (F.normalize(net.encoder(frames[:, k : k + 1]), dim=1).numpy() for k in range(2))

    def inside(one, y, x):
        return 0 <= y < one.shape[2] and 0 <= x < one.shape[3]

    def cell(one, n, y, x):
        mean = one[n, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((1, 2))
        return mean / np.linalg.norm(mean)

    for n, i, j in ((0, 0, 0), (1, size[0] - 1, size[1] - 1), (0, 2, 1), (1, 1, 2)):
        scores = {}
        for y in range(i // 2 - 1, i // 2 + 2):
            for x in range(j // 2 - 1, j // 2 + 2):
                near = inside(before, 2 * y, 2 * x)
                scores[y, x] = cell(now, n, i // 2, j // 2) @ cell(before, n, y, x) / 0.5 if near else 0.0
        total = np.log(np.exp(list(scores.values())).sum())
        for y in range(i - 2, i + 3):
            for x in range(j - 2, j + 3):
                fine = now[n, :, i, j] @ before[n, :, y, x] / 0.5 if inside(before, y, x) else 0.0
                wanted = fine + scores[y // 2, x // 2] - total
                assert found[n, i, j, y - i + 2, x - j + 2] == pytest.approx(wanted, abs=1e-5)


def test_pixels_were_where_the_masks_say():
    found = worlds.load("textures").tensors
    clean = (found["domain"] == 0).nonzero()[:20, 0]
    for frames, mask in zip(found["x"][clean].numpy(), found[MASK][clean].numpy(), strict=True):
        for i, j in zip(*np.nonzero(mask != IGNORE), strict=True):
            down, right = divmod(mask[i, j], 2 * FAR + 1)
            assert frames[1, i, j] == frames[0, i + down - FAR, j + right - FAR]
    assert 0.8 < float((found[MASK] != IGNORE).float().mean()) < 0.9
    assert found["x"].shape[2:] == (SIDE, SIDE)
    hidden = (found["domain"] == 1) & (found["split"] == 0)
    assert torch.equal(found["label"] == IGNORE, hidden)


def test_what_is_no_pair_of_frames_is_refused():
    with pytest.raises(ConfigError, match=r"segmentation with 4 outputs .*needs frames \[2, H, W\].*fcn:16,16"):
        ForExamples(examples=worlds.load("canvas:masks")).open("matcher:4", "student")
    for places in (8, 4):
        with pytest.raises(ConfigError, match=rf"{places} classes for inputs \[2, 4, 6\]; give two frames"):
            AdversarialMatching(Config(), ModuleLearner(Scores(places), head=None), pixels_of(IMAGES))
    bare = Batch({key: tensor for key, tensor in IMAGES.items() if key != "domain"})
    with pytest.raises(ConfigError, match="no tensor 'domain'"):
        AdversarialMatching(Config(), ModuleLearner(Scores(), head=None), pixels_of(bare))


def test_a_run_learns_from_both_domains_and_is_read_again(tmp_path):
    settings = {"student": "matcher:4", "steps": 3, "batch_size": 8, "progress": False}
    result = didact.run("adversarial_matching", data="textures", directory=tmp_path / "run", **settings)
    assert result.history[-1]["loss/rebuilt"] > 0
    again = didact.run(
        "supervised", data="textures", student=f"run:{tmp_path / 'run'}", steps=1, lr=1e-12, progress=False
    )
    assert again.metrics["accuracy"] == pytest.approx(result.metrics["accuracy"], abs=1e-6)
