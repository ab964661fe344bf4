"""Real tables."""

import functools

import torch

from didact import hashing
from didact.types import Column, Examples
from didact.worlds._shipped import loader


@functools.cache
def breast_cancer() -> Examples:
    """Tell malignant from benign tumours by 30 measurements of cell nuclei.

    Real: the table, as scikit-learn ships it: 569 tumours from "Breast Cancer Wisconsin (Diagnostic)" (Wolberg, Street
    and Mangasarian 1993, UCI); for each of 10 features of the nuclei in an image its mean, standard error and worst.

    Simulated: nothing.

    Known: 212 are malignant, 357 benign. It is nearly separable: standardised logistic regression gets about 97% right.

    Returns:
        `x` float32 [569, 30], `label` int64 [569] (0 is malignant), `id` int64 [569] from the contents.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _table("breast_cancer")


@functools.cache
def wine() -> Examples:
    """Tell the wines of three growers apart by 13 chemical measurements.

    Real: the table, as scikit-learn ships it: 178 wines of one region in Italy (Forina et al. 1986, UCI).

    Simulated: nothing.

    Known: 59, 71 and 48 wines of the three. It is nearly separable: standardised logistic regression gets about 98%
    right; with a fifth for testing, one wine is worth three percentage points.

    Returns:
        `x` float32 [178, 13], `label` int64 [178], `id` int64 [178] from the contents.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _table("wine")


@functools.cache
def diabetes() -> Examples:
    """Predict how far diabetes has progressed after a year, from 10 measurements.

    Real: the table, as scikit-learn ships it, unscaled: 442 patients (Efron, Hastie, Johnstone and Tibshirani 2004,
    "Least angle regression"); age, sex (1 or 2), body mass index, blood pressure and six of blood serum.

    Simulated: nothing.

    Known: a regression; the target lies between 25 and 346 with a standard deviation of 77. Linear regression leaves
    about half of the variance unexplained, and little is known to do better.

    Returns:
        `x` float32 [442, 10], `label` float32 [442], `id` int64 [442] from the contents.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _table("diabetes")


def _table(name: str) -> Examples:
    given = loader(f"load_{name}", name)(**({"scaled": False} if name == "diabetes" else {}))
    x = torch.from_numpy(given.data).float()
    classes = tuple(str(word) for word in getattr(given, "target_names", ()))
    label = torch.from_numpy(given.target)
    return Examples(
        tensors={"x": x, "label": label.long() if classes else label.float(), "id": hashing.of_rows(x)},
        task="classification" if classes else "regression",
        modality="table",
        classes=classes,
        columns=tuple(Column(str(column)) for column in given.feature_names),
        name=name,
    )
