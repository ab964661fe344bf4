"""Real images of handwritten digits."""

import functools

import torch

from didact import hashing
from didact.types import Examples
from didact.worlds._shipped import loader


@functools.cache
def digits() -> Examples:
    """1,797 handwritten digits in 8 by 8 pixels, as scikit-learn ships them.

    Real: the images and their labels. They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin
    and Kaynak 1998, UCI), written by 13 people; each pixel counts the dark ones of 4 by 4 in the scan, 0 to 16.

    Simulated: nothing.

    Known: 10 classes of 174 to 183 images; no two images are the same. With 500 test images, logistic regression on 40
    labels reaches about 85% accuracy, label spreading on 40 labels about 93%, and a small net on all labels about 97%.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797], `id` int64 [1797] from the contents.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    images, labels = loader("load_digits", "digits")(return_X_y=True)
    x = torch.from_numpy(images).float().div(16).view(-1, 1, 8, 8)
    return Examples(
        tensors={"x": x, "label": torch.from_numpy(labels).long(), "id": hashing.of_rows(x)},
        task="classification",
        modality="image",
        classes=tuple(str(digit) for digit in range(10)),
        name="digits",
    )
