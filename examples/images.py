"""From a folder of mixed images to a student in production: split, teach, distill, evaluate, export, and answer.

The images have other sizes and kinds: gray, coloured, with transparency, with a palette, of 16 bits, and photos whose
camera was turned, as their EXIF data say. Triangles that point up or down are told apart, so that a photo that is not
turned upright is answered wrongly. At the end onnxruntime and pillow alone answer the test images, and the script fails
unless they say what `didact predict` says, to 1e-5 on every image.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image, ImageDraw, ImageOps

from didact.cli import main

CLASSES = ("circle", "down", "up")
KINDS = ("gray.png", "colour.png", "colour.jpg", "alpha.png", "palette.gif", "deep.png", "turned.jpg")
SIDE = 24
TOLERANCE = 1e-5
TURNED = 6
"""The EXIF orientation of a camera that was turned by a quarter."""


def draw(name: str, rng: np.random.Generator) -> Image.Image:
    """A circle, or a triangle that points up or down, in RGB and of a size of its own.

    Args:
        name: the class.
        rng: the only source of randomness.
    """
    width, height = (int(side) for side in rng.integers(30, 90, 2))
    dark, light = rng.integers(0, 90, 3), rng.integers(160, 256, 3)
    image = Image.new("RGB", (width, height), tuple(map(int, light)))
    left, top = rng.uniform(0.05, 0.3, 2) * (width, height)
    right, bottom = rng.uniform(0.7, 0.95, 2) * (width, height)
    middle, colour = (left + right) / 2, tuple(map(int, dark))
    pen = ImageDraw.Draw(image)
    if name == "circle":
        pen.ellipse((left, top, right, bottom), fill=colour)
    elif name == "up":
        pen.polygon([(left, bottom), (right, bottom), (middle, top)], fill=colour)
    else:
        pen.polygon([(left, top), (right, top), (middle, bottom)], fill=colour)
    return image


def save(image: Image.Image, kind: str, path: Path) -> None:
    """Write an image as one of `KINDS`.

    Args:
        image: in RGB.
        kind: how; its suffix is that of the file.
        path: the file without its suffix.
    """
    path = path.with_suffix(f".{kind.partition('.')[2]}")
    name = kind.partition(".")[0]
    if name == "deep":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
    elif name == "turned":
        exif = Image.Exif()
        exif[0x0112] = TURNED
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    else:
        image.convert({"gray": "L", "alpha": "RGBA", "palette": "P"}.get(name, "RGB")).save(path)


def make_images(folder: Path, count: int, seed: int = 0) -> None:
    """Write a folder for each class.

    Args:
        folder: a new one.
        count: images of each class.
        seed: the only source of randomness.
    """
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            save(draw(name, rng), KINDS[number % len(KINDS)], folder / name / f"{number:04d}")


def didact(*words: str | Path) -> None:
    """Run a command of didact, and end if it fails.

    Args:
        words: its arguments.
    """
    print("\n$ didact", *words)
    if status := main([str(word) for word in words]):
        sys.exit(status)


def answer_alone(graph: Path, files: list[Path]) -> np.ndarray:
    """The probabilities of an exported graph: onnxruntime, pillow and the files, and nothing of didact.

    Args:
        graph: the file.
        files: images of any kind.

    Returns:
        float32 [N, C].
    """
    session, found = onnxruntime.InferenceSession(str(graph)), []
    for file in files:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        image = image.convert("RGB").resize((SIDE, SIDE))
        found.append(session.run(["probabilities"], {"images": np.asarray(image)[None]})[0])
    return np.concatenate(found)


def run(folder: Path, count: int, steps: int) -> int:
    """The whole way; returns 1 if the exported student answers differently.

    Args:
        folder: a new one, for everything that is written.
        count: images of each class.
        steps: of the teacher, and of the student.
    """
    make_images(folder / "images", count)
    didact("split", folder / "images", "--out", folder / "data")
    parts = [word for name, part in PARTS.items() for word in (f"--{name}", folder / "data" / part)]
    common = [*parts, "--image-size", str(SIDE), "--steps", str(steps), "--lr", "0.01", "--no-progress"]
    didact("run", "supervised", "--student", "cnn:16,32", *common, "--out", folder / "teacher")
    didact("distill", "--teacher", folder / "teacher", "--student", "cnn:4,8", *common, "--out", folder / "student")
    didact("evaluate", folder / "student", "--data", folder / "data" / "test")
    didact("predict", folder / "student", "--data", folder / "data" / "test", "--out", folder / "answers.csv")
    didact("export", folder / "student", "--to", "onnx")

    answers = pd.read_csv(folder / "answers.csv")
    alone = answer_alone(
        folder / "student" / "student.onnx", [folder / "data" / "test" / name for name in answers.iloc[:, 0]]
    )
    told = answers[[f"probability of {name}" for name in CLASSES]].to_numpy()
    apart = np.abs(alone - told).max(axis=1)
    print(f"\n{len(told):,} images answered by onnxruntime alone; at most {apart.max():.1g} from `didact predict`.")
    if not (len(alone) == len(told) and apart.max() <= TOLERANCE):
        print(f"{int((apart > TOLERANCE).sum())} images are more than {TOLERANCE} apart.", file=sys.stderr)
        return 1
    return 0


PARTS = {"data": "train", "validation": "validation", "test": "test"}
"""The folder of each part, by the option that takes it."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/images"), help="a new folder")
    parser.add_argument("--count", type=int, default=140, help="images of each class")
    parser.add_argument("--steps", type=int, default=300, help="of the teacher, and of the student")
    options = parser.parse_args()
    sys.exit(run(options.out, options.count, options.steps))
