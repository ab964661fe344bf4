"""A real table of wines."""

import functools

from didact.types import Examples
from didact.worlds._shipped import shipped_table


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
    return shipped_table("wine")
