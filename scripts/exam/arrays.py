"""Set-ups on images, series and texts."""

import zipfile
from collections.abc import Sequence

import numpy as np

from exam.room import Room, fault, healthy
from exam.tables import onnx_net, run

SIDE = 8
COMMON = ("--target", "label", "--no-progress")
IMAGES = ("--student", "cnn:8", *COMMON)
SERIES = ("--student", "cnn1d:8", "--modality", "series", *COMMON)


def images(size: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gray pictures of three kinds of edges, bytes [N, 8, 8], and labels."""
    draw = np.random.default_rng(seed)
    label = draw.integers(3, size=size)
    kinds = np.zeros((3, SIDE, SIDE))
    kinds[0, :, :4], kinds[1, :4, :], kinds[2] = 1, 1, np.tri(SIDE)
    x = 90 + 60 * kinds[label] + 55 * draw.normal(size=(size, SIDE, SIDE))
    return x.clip(0, 255).astype(np.uint8), label


def net_of(room: Room, *, mean: float, std: float) -> str:
    """A linear net that was fitted to pictures (x - mean) / std, with x in [0, 1]."""
    from sklearn.linear_model import LogisticRegression

    x, label = images(600, seed=1)
    model = LogisticRegression(C=0.01, max_iter=500).fit((x.reshape(600, -1) / 255 - 0.5) / 0.25, label)
    # In the units of [0, 1], then in those that it is said to know.
    weight = model.coef_.T / 0.25
    bias = model.intercept_ - 0.5 * weight.sum(0)
    shape = [1, SIDE, SIDE]
    scaled, moved = weight * std, bias + mean * weight.sum(0)
    return onnx_net(room.file("net.onnx"), scaled.astype(np.float32), moved.astype(np.float32), shape)


def waves(size: int = 300, seed: int = 0, steps: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Noisy waves of two frequencies, [N, 1, steps], and labels."""
    draw = np.random.default_rng(seed)
    label = draw.integers(2, size=size)
    phase = draw.uniform(0, 6, size=size)[:, None]
    x = np.sin(np.arange(steps) * (0.3 + 0.25 * label[:, None]) + phase) + 0.6 * draw.normal(size=(size, steps))
    return x[:, None].astype(np.float32), label


def arrays(room: Room, **tensors: np.ndarray | Sequence[object]) -> str:
    """Write arrays to a file, and return its path."""
    with zipfile.ZipFile(room.file("data.npz"), "w") as file:
        for name, values in tensors.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(values), allow_pickle=False)
    return room.file("data.npz")


@healthy("image", "a net that knows images from 0 to 1 teaches a smaller one")
def _(room: Room) -> list[str]:
    x, label = images()
    return ["distill", "--data", arrays(room, x=x, label=label), "--teacher", net_of(room, mean=0.0, std=1.0), *IMAGES]


@healthy("image", "masks, and a net of pixels that was taught before")
def _(room: Room) -> list[str]:
    common = ["--data", "canvas:masks", "--student", "fcn:8,8", "--no-progress"]
    run("run", "supervised", *common, "--steps", "80", "--lr", "0.03", "--out", "taught")
    return ["distill", "--teacher", "taught", *common]


@healthy("series", "waves of two frequencies")
def _(room: Room) -> list[str]:
    x, label = waves()
    return ["supervised", "--data", arrays(room, x=x, label=label), *SERIES]


@healthy("text", "short texts of two kinds")
def _(room: Room) -> list[str]:
    draw = np.random.default_rng(0)
    words = np.array([["warm", "sunny", "bright", "calm"], ["cold", "rainy", "windy", "grey"]])
    label = draw.integers(2, size=300)
    texts = [" ".join(words[kind, draw.integers(4, size=6)]) + f" {number}" for number, kind in enumerate(label)]
    table = room.table("texts.csv", {"text": texts, "label": np.array(["good", "bad"])[label]})
    return ["supervised", "--data", table, "--text-column", "text", "--student", "transformer:1x16", *COMMON]


@fault("image", "images from 0 to 1, and a teacher that knows them from 0 to 255", r"if images were from 0 to 255")
def _(room: Room) -> list[str]:
    x, label = images()
    teacher = net_of(room, mean=-0.4, std=1 / 255)
    return ["distill", "--data", arrays(room, x=x, label=label), "--teacher", teacher, *IMAGES]


@fault("image", "a teacher that knows standardised images", r"if images were scaled to mean 0")
def _(room: Room) -> list[str]:
    x, label = images()
    teacher = net_of(room, mean=float(x.mean()) / 255, std=float(x.std()) / 255)
    return ["distill", "--data", arrays(room, x=x, label=label), "--teacher", teacher, *IMAGES]


@fault("image", "a teacher whose dropout is on while it is asked", r"Two calls of the teacher give different signals")
def _(room: Room) -> list[str]:
    code = (
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        x = torch.nn.functional.dropout(x, 0.3)\n        a, b, c = x[..., :4], x[..., :4, :], x.tril()\n"
        "        return torch.stack([v.flatten(1).sum(1) / 8 - v.flatten(1).sum(1).mean() / 8 for v in (a, b, c)], 1)\n"
        "\n\ndef make(**_):\n    return Net()\n"
    )
    room.write("exam_dropout.py", code)
    x, label = images()
    return ["distill", "--data", arrays(room, x=x, label=label), "--teacher", "exam_dropout:make", *IMAGES]


@fault("image", "blank images of every class", r"have the same inputs as another with another label")
def _(room: Room) -> list[str]:
    x, label = images()
    x[::10] = 0
    return ["supervised", "--data", arrays(room, x=x, label=label), *IMAGES]


@fault("image", "pixels that are not a number", r"not finite|NaN|nan")
def _(room: Room) -> list[str]:
    x, label = images()
    x = x.astype(np.float32) / 255
    x[3, 2, 2] = np.nan
    return ["supervised", "--data", arrays(room, x=x, label=label), *IMAGES]


@fault("series", "overlapping windows of one recording in training and test", r"as windows of one recording do")
def _(room: Room) -> list[str]:
    draw = np.random.default_rng(0)
    x, label = [], []
    for kind in range(2):
        track = np.sin(np.arange(1500) * (0.3 + 0.25 * kind)) + 0.6 * draw.normal(size=1500)
        x += [track[start : start + 32] for start in range(0, 1400, 10)]
        label += [kind] * 140
    return ["supervised", "--data", arrays(room, x=np.array(x, np.float32)[:, None], label=label), *SERIES]


@fault("series", "a channel with an infinite value", r"infinite|not finite")
def _(room: Room) -> list[str]:
    x, label = waves()
    x[5, 0, 7] = np.inf
    return ["supervised", "--data", arrays(room, x=x, label=label), *SERIES]


@fault("text", "texts that are cut before what matters", r"are cut")
def _(room: Room) -> list[str]:
    draw = np.random.default_rng(0)
    label = draw.integers(2, size=300)
    texts = [
        f"report {number} " + "so it went on " * 12 + ("good" if kind else "bad") for number, kind in enumerate(label)
    ]
    table = room.table("texts.csv", {"text": texts, "label": np.array(["no", "yes"])[label]})
    words = ["--text-column", "text", "--student", "transformer:1x16", "--max-length", "64"]
    return ["supervised", "--data", table, *words, *COMMON]
