"""Labels that are redrawn at random."""

import pytest
import torch

import didact
from blobs import DATA
from didact.errors import ConfigError
from didact.experiment import running
from didact.materials.examples.data import open_examples
from didact.sources import redraw_labels
from didact.types import IGNORE, Examples

SIZE, CLASSES = 20_000, 5
EVEN = Examples(
    tensors={"x": torch.zeros(SIZE, 1), "label": torch.arange(SIZE) % CLASSES, "id": torch.arange(SIZE)},
    task="classification",
    modality="table",
    classes=tuple("abcde"),
)


def test_the_share_is_redrawn_from_all_classes_alike():
    before, after = EVEN.tensors["label"], redraw_labels(EVEN, 0.4, seed=3).tensors["label"]
    counts = torch.stack([after[before == k].bincount(minlength=CLASSES) for k in range(CLASSES)]).double()
    expected = 0.4 / CLASSES + 0.6 * torch.eye(CLASSES, dtype=torch.float64)
    # Four standard deviations of the largest count.
    assert (counts * CLASSES / SIZE - expected).abs().max() < 4 * (0.6 * 0.4 * CLASSES / SIZE) ** 0.5


def test_a_larger_share_redraws_the_same_labels_and_more_and_no_missing_one():
    hidden = EVEN.with_tensors(label=torch.where(torch.arange(SIZE) < 100, IGNORE, EVEN.tensors["label"]))
    some, more = (redraw_labels(hidden, share, seed=3).tensors["label"] for share in (0.2, 0.5))
    changed = some != hidden.tensors["label"]
    assert torch.equal(some[changed], more[changed])
    assert (more[:100] == IGNORE).all()
    assert not torch.equal(some, redraw_labels(hidden, 0.2, seed=4).tensors["label"])


def test_only_training_labels_are_redrawn():
    config, _ = running.split_arguments("supervised", data="wine", redraw_labels=1.0)
    data = open_examples(config)
    assert not torch.equal(data.train.tensors["label"], data.splits.train.tensors["label"])
    plain = open_examples(running.split_arguments("supervised", data="wine")[0])
    for name, part in data.splits:
        assert torch.equal(part.tensors["label"], dict(plain.splits)[name].tensors["label"])


@pytest.mark.parametrize(("share", "words"), [(1.5, "redraw_labels is 1.5"), (-0.1, "redraw_labels is -0.1")])
def test_no_other_share_is_taken(share, words):
    with pytest.raises(ConfigError, match=words):
        didact.run("supervised", data=DATA, redraw_labels=share, steps=1, progress=False)


def test_a_regression_has_no_classes_to_draw_from():
    with pytest.raises(ConfigError, match=r"redraw_labels is 0\.4, but the data 'diabetes' are a regression"):
        didact.run("supervised", data="diabetes", redraw_labels=0.4, steps=1, progress=False)
