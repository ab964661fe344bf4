"""Runs on masks: pixels are learned as examples are, and what cannot work is refused before it begins."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import didact
from didact import catalogue, evaluation, worlds
from didact.cli import main
from didact.errors import ConfigError, DataError, TeacherError
from didact.evaluation.pixelwise import mean_iou
from didact.experiment import running
from didact.experiment.preparing import prepare
from didact.learners import ModuleLearner
from didact.learners.maps import PixelNet, fcn, flatten_map
from didact.materials.examples.segmentation import METHODS
from didact.sources.augment import augmenter
from didact.teachers import FrozenTeacher, FunctionTeacher
from didact.types import IGNORE, MASK, Batch, PixelBatch, per_pixel, pixel_labels, pixels_of

SIDE = (3, 2)
CHANCE = torch.Generator().manual_seed(0)
X = torch.rand(6, 2, *SIDE, generator=CHANCE)
VIEWS = {name: torch.rand(6, 2, *SIDE, generator=CHANCE) for name in ("first.x", "second.x", "weak.x", "strong.x")}
LABEL = torch.tensor([0, IGNORE, 0, IGNORE, IGNORE, 0])
MASKS = torch.randint(0, 3, (6, *SIDE), generator=CHANCE)
BATCH = Batch({"x": X, "label": LABEL, MASK: MASKS, "id": torch.arange(6), "row": torch.arange(6), **VIEWS})


def flat(images):
    return images.movedim(1, -1).reshape(-1, images.shape[1])


def table():
    """The same pixels as the rows of a table: what a net of 1 x 1 convolutions sees is the same."""
    label = torch.where(LABEL[:, None, None] == 0, MASKS, IGNORE).flatten()
    views = {name: flat(view) for name, view in VIEWS.items()}
    return Batch({"x": flat(X), "label": label, "id": torch.arange(36), "row": torch.arange(36), **views})


def nets(seed):
    """The same function of a pixel, for images and for rows."""
    torch.manual_seed(seed)
    dense = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3))
    convolved = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Tanh(), nn.Conv2d(5, 3, 1))
    with torch.no_grad():
        for one, other in ((0, 0), (2, 2)):
            convolved[one].weight.copy_(dense[other].weight[:, :, None, None])
            convolved[one].bias.copy_(dense[other].bias)
    return ModuleLearner(PixelNet(convolved), head=None), ModuleLearner(dense)


def built(kind, options, learners, place):
    """A method over images (place 0) or over rows (1), halfway through its budget."""
    parts = {
        "learner": learners[0][place],
        "spawn": lambda _spec: learners[1][place],
        "teacher": FrozenTeacher(learners[1][place]),
        "sample": (pixels_of(BATCH), table())[place],
        "size": 36,
        "seed": 0,
    }
    wanted = kind.__init__.__annotations__
    method = kind(options, **{name: part for name, part in parts.items() if name in wanted})
    method.fraction = 0.5
    return method


@pytest.mark.parametrize("name", METHODS)
def test_a_method_does_with_pixels_what_it_does_with_rows(name):
    """Loss, counts and gradients of images with masks equal those of a table with a row for each pixel."""
    info = catalogue.find(name)
    options = info.config_type(**({"threshold": 0.3} if "threshold" in info.config_type.__annotations__ else {}))
    learners = [nets(1), nets(2)]
    over_images = built(per_pixel(info.method_type), options, learners, 0)
    over_rows = built(info.method_type, options, learners, 1)
    rows = table()
    if not info.method_type.feed.unlabelled:
        rows = rows.select(rows["label"] != IGNORE)
    found, wanted = over_images.loss(BATCH), over_rows.loss(rows)
    assert found.keys() == wanted.keys()
    for term in wanted:
        if term == "label" or "pseudo" in term:
            assert float(found[term].count) == float(wanted[term].count), term
        torch.testing.assert_close(found[term].mean(), wanted[term].mean(), rtol=1e-5, atol=1e-6)
    found.total().backward()
    wanted.total().backward()
    slopes = [learners[0][place].module for place in (0, 1)]
    one, other = slopes[0].module[0].weight.grad[:, :, 0, 0], slopes[1][0].weight.grad
    assert other.abs().sum() > 0
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    counts = over_images.counts(BATCH)
    assert {term: float(found[term].count) for term in counts} == pytest.approx({t: float(counts[t]) for t in counts})


def test_pixels_keep_the_order_of_rows_and_columns():
    pixels = pixels_of(BATCH)
    assert pixels.size == 36
    assert pixels["x"] is X
    assert MASK not in pixels
    assert pixels["row"].tolist() == list(range(36))
    assert pixels["id"].unique().numel() == 36
    place = (2 * SIDE[0] + 1) * SIDE[1] + 1
    assert pixels["label"][place] == MASKS[2, 1, 1]
    assert (pixels["label"][6:12] == IGNORE).all()
    shown = pixels.either(pixels["label"] != IGNORE, "weak", "strong")["x"]
    assert torch.equal(shown[0], VIEWS["weak.x"][0])
    assert torch.equal(shown[1], VIEWS["strong.x"][1])


def test_an_image_is_shown_whole_where_one_of_its_pixels_is_asked_for():
    mask = torch.zeros(36, dtype=torch.bool)
    mask[[7, 30]] = True
    shown, positions = pixels_of(BATCH).only(mask, "weak")
    assert torch.equal(shown["x"], VIEWS["weak.x"][[1, 5]])
    assert positions.tolist() == [*range(6, 12), *range(30, 36)]
    assert torch.equal(shown["label"], pixels_of(BATCH)["label"][positions])


def test_the_net_answers_each_pixel_from_its_surroundings():
    examples = worlds.load("canvas:masks")
    net = fcn((4, 4), examples, 4)
    x = torch.rand(2, 1, 16, 16)
    scores = net(x)
    assert scores.shape == (512, 4)
    moved = x.clone()
    moved[1, 0, 5, 6] += 1.0
    changed = (net(moved) - scores).abs().sum(1).view(2, 16, 16) > 1e-9
    assert not changed[0].any()
    assert changed[1, 5, 6]
    torch.testing.assert_close(scores.view(2, 16, 16, 4).movedim(-1, 1), net.module(x))


def test_other_nets_are_resized_to_the_pixels():
    class Half(nn.Module):
        def forward(self, x):
            return {"out": x[:, :, ::2, ::2].repeat(1, 3, 1, 1)}

    assert PixelNet(Half())(torch.rand(2, 1, 8, 6)).shape == (96, 3)


def test_mean_iou_is_that_of_torchmetrics():
    """`_jaccard_index_reduce` of torchmetrics 1.x: macro over the classes that occur, written out pixel by pixel."""
    rng = np.random.default_rng(0)
    said, truth = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    said[said == 2] = 1
    confusion = np.zeros((5, 5), dtype=np.int64)  # classes 3 and 4 never occur
    for one, other in zip(truth, said, strict=True):
        confusion[one, other] += 1
    areas = []
    for number in range(3):
        union = sum(a == number or b == number for a, b in zip(truth, said, strict=True))
        areas.append(sum(a == b == number for a, b in zip(truth, said, strict=True)) / union)
    assert areas[2] == 0.0
    assert mean_iou(torch.from_numpy(confusion)) == pytest.approx(np.mean(areas), rel=1e-12)
    assert mean_iou(torch.zeros(3, 3, dtype=torch.int64)) == 0.0


def test_predictions_are_scored_over_pixels_with_a_label():
    examples = dataclasses.replace(
        worlds.load("canvas:masks"),
        tensors={"x": X, "label": LABEL, MASK: MASKS, "id": torch.arange(6)},
        classes=("a", "b", "c"),
    )
    learner = nets(1)[0]
    found = evaluation.metrics(evaluation.predict(learner, examples))
    with torch.no_grad():
        scores = learner(BATCH).logits.double()
    known = pixel_labels(examples.tensors) != IGNORE
    label = pixel_labels(examples.tensors)[known]
    assert int(known.sum()) == 18
    assert found["accuracy"] == pytest.approx(float((scores[known].argmax(1) == label).double().mean()))
    assert found["nll"] == pytest.approx(float(nn.functional.cross_entropy(scores[known], label)), rel=1e-5)
    constant = evaluation.constant_predictions(examples, examples)
    assert constant.logits.shape == (36, 3)
    torch.testing.assert_close(constant.logits[0].exp(), label.bincount(minlength=3).double() / 18)


@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_views_move_no_pixel(strength):
    """An edge stays where it is, whatever happens to the light; with `strong`, outside of what is hidden."""
    examples = worlds.load("canvas:masks")
    x = torch.zeros(64, 1, 16, 16)
    x[..., 8:] = 1.0
    seen = augmenter(examples, strength)({"x": x}, torch.Generator().manual_seed(0))["x"]
    step = (seen[..., 1:] - seen[..., :-1]).median(2).values.median(0).values[0]
    assert step.argmax() == 7
    assert step[[0, 3, 6, 8, 12]].abs().max() < 0.05 < 0.2 < step[7]
    with pytest.raises(ConfigError, match="pixels stay where they are"):
        augmenter(examples, "crop_flip")


def prepared(method, **changes):
    values = {"data": "canvas:masks", "student": "fcn:4,4", "steps": 2, "batch_size": 4, "labels": 8, **changes}
    config, given = running.split_arguments(None, method=method, **values)
    return prepare(config, given, teach=False)


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("elr", {}, "compares, mixes or describes whole examples"),
        ("supervised", {"student": "cnn:4"}, "answers once for a whole image"),
        ("supervised", {"student": "mlp:4"}, "answers once for a whole image"),
        ("distill", {"teacher": "cnn:4"}, "teacher is 'cnn:4', which answers once for a whole image"),
        ("supervised", {"class_weights": "balanced"}, "without classes"),
        ("supervised", {"augment": "randaugment"}, "pixels stay where they are"),
        ("supervised", {"data": "digits", "labels": 20}, "a net that answers for each pixel needs images"),
    ],
)
def test_what_does_not_work_with_masks_is_refused_before_it_begins(method, changes, said):
    with pytest.raises(ConfigError, match=said):
        run = prepared(method, **changes)
        _ = run.source, run.method


def test_a_teacher_with_its_classes_in_another_order_is_refused():
    """A teacher that sees the masks themselves, and numbers nothing and a plain shape the other way round."""
    examples = worlds.load("canvas:masks")
    swapped = torch.tensor([1, 0, 2, 3])[examples.tensors[MASK]]
    rows = {int(key): place for place, key in enumerate((examples.tensors["x"] * 1e4).sum((1, 2, 3)).long())}

    class Told(nn.Module):
        def forward(self, x):
            places = torch.tensor([rows[int(key)] for key in (x * 1e4).sum((1, 2, 3)).long()])
            return 9.0 * nn.functional.one_hot(swapped[places], 4).movedim(-1, 1).float()

    with pytest.raises(TeacherError, match="order"):
        prepared("distill", teacher=Told())


def test_a_function_that_answers_images_teaches_their_pixels():
    """It says scores, or numbers of classes; other shapes and numbers are refused."""
    examples = worlds.load("canvas:masks")
    weight = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    score = lambda x: nn.functional.conv2d(x, 9.0 * weight, padding=1)  # noqa: E731
    batch = pixels_of(examples.batch(slice(0, 3)))
    wanted = flatten_map(score(batch["x"]))
    given = {"classes": examples.classes, "task": "segmentation"}
    assert torch.equal(FunctionTeacher(score, **given).signal(batch).logits, wanted)
    numbered = FunctionTeacher(lambda x: score(x).argmax(1), **given).signal(batch)
    assert torch.equal(numbered.labels, nn.functional.one_hot(wanted.argmax(1), 4).float())
    with pytest.raises(TeacherError, match="classes 0 to 4 of pixels, but the data have 4; number them from 0"):
        FunctionTeacher(lambda x: torch.arange(5).expand(3, 16, 5), **given).signal(batch)
    with pytest.raises(TeacherError, match=r"768 pixels with the shape \[3, 4, 8, 8\]; return scores \[B, C, H, W\]"):
        FunctionTeacher(lambda x: score(x)[:, :, ::2, ::2], **given).signal(batch)


def test_an_exported_student_of_masks_teaches_as_the_run_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "run supervised --data canvas:masks --student fcn:4,4 --steps 5 --no-progress --out out"
    assert main(words.split()) == 0
    assert main(["export", "out", "--to", "onnx"]) == 0
    few = pixels_of(worlds.load("canvas:masks").batch(slice(0, 5)))
    # The graph reads images of bytes.
    few = PixelBatch({**few, "x": few["x"].mul(255).round() / 255})
    signals = [prepared("distill", teacher=name).teacher.signal(few) for name in ("onnx:out/student.onnx", "out")]
    assert signals[0].labels.shape == (5 * 16 * 16, 4)
    torch.testing.assert_close(signals[0].labels, signals[1].logits.softmax(1), rtol=1e-3, atol=1e-4)


def save(root, count=12):
    examples = worlds.load("canvas:masks")
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        image = (examples.tensors["x"][number, 0] * 255).byte().numpy()
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        if number:
            Image.fromarray(examples.tensors[MASK][number].byte().numpy()).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("\n".join(examples.classes))
    return root


def test_a_folder_is_learned_predicted_and_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "scenes")
    words = "run supervised --data scenes --student fcn:8,8 --steps 20 --lr 0.02 --no-progress --out out"
    assert main(words.split()) == 0
    assert "mean IoU" in capsys.readouterr().out
    assert main(["predict", "out", "--data", "scenes", "--out", "answers"]) == 0
    written = np.stack([np.asarray(Image.open(tmp_path / "answers" / f"{number}.png")) for number in range(12)])
    assert written.shape == (12, 16, 16)
    assert main(["evaluate", "out", "--data", "scenes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.split("\n", 1)[1])["metrics"]
    truth = worlds.load("canvas:masks").tensors[MASK][1:12].numpy()
    assert found["accuracy"] == pytest.approx((written[1:] == truth).mean(), abs=1e-9)
    views = json.loads((tmp_path / "out" / "views.json").read_text())
    assert views["columns"] == ["image", "mask", "student"]
    assert "Masks of some test images" in (tmp_path / "out" / "report.html").read_text()


def test_a_student_of_masks_says_what_it_has():
    train = dataclasses.replace(worlds.load("canvas:masks"), name="one's own")
    ran = didact.run("supervised", data=train, student=lambda: nn.Conv2d(1, 4, 1), steps=2, progress=False)
    answers = ran.student.predict(train.tensors["x"][:5])
    assert answers.masks.shape == (5, 16, 16)
    shares = answers.to_frame()[[f"share of {name}" for name in train.classes]].to_numpy()
    np.testing.assert_allclose(shares, [[(mask == k).mean() for k in range(4)] for mask in answers.masks])
    with pytest.raises(DataError, match="answers with masks, which have no probabilities"):
        _ = answers.labels
    with pytest.raises(ConfigError, match="no Hugging Face model; 'safetensors' and 'onnx' would work"):
        ran.student.export("student", to="hf")
