"""A real table of tumours."""

import functools

from didact.types import Examples
from didact.worlds._shipped import shipped_table


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
    return shipped_table("breast_cancer")
