"""A real table of patients, for a regression."""

import functools

from didact.types import Examples
from didact.worlds._shipped import shipped_table


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
    return shipped_table("diabetes")
