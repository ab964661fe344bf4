"""Classes that are found by how their shares differ between domains (Roberts, Mani, Garg & Lipton 2022)."""

import warnings

import torch
from torch import Tensor

from didact.errors import check_range, import_optional

_ROUNDS = 2000
"""Of the factorisation, at most."""
_LEAST = 1e-8
"""A sum of shares below it counts as this, as in the authors' code."""


def latent_mixes(counts: Tensor, classes: int, *, seed: int = 0) -> Tensor:
    """The share of each class in each domain, from how often the values of a discrete feature occur there.

    Within a class the feature has one distribution, in whatever domain. The shares of the values in the domains are
    then a product of two matrices without negative numbers, which are fitted to it in squared error: the shares of the
    values in the classes, and those of the classes in the domains. Up to the order of the classes there is one such
    product only if each class has values of its own, and is nearly absent from enough domains.

    Args:
        counts: [M, K], of each of M values in each of K domains.
        classes: C.
        seed: of the random beginning of the fit.

    Returns:
        float64 [C, K]; the columns add up to 1.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    check_range("classes", classes, at_least=1)
    factors = import_optional("sklearn.decomposition", "data", "A factorisation", package="scikit-learn")
    shares = counts.double() / counts.double().sum(0).clamp(min=1.0)
    fit = factors.NMF(n_components=classes, init="random", random_state=seed % 2**32, max_iter=_ROUNDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that is still moving a little is good enough
        mixes = torch.from_numpy(fit.fit_transform(shares.T.numpy())).double()
    # What the values of a class add up to belongs to the class.
    mixes = mixes.T * torch.from_numpy(fit.components_).double().sum(1, keepdim=True)
    return (mixes + _LEAST / classes) / (mixes.sum(0) + _LEAST)


def domain_chances(mixes: Tensor, sizes: Tensor) -> Tensor:
    """How likely an example of a class is of a domain, by Bayes' theorem.

    Args:
        mixes: float [C, K], the shares of the classes in each domain.
        sizes: [K], the numbers of examples of the domains; only their ratios count.

    Returns:
        float [K, C]; the columns add up to 1, but where a class has no share anywhere.
    """
    joint = mixes.T * (sizes / sizes.sum()).to(mixes)[:, None]
    return joint / joint.sum(0).clamp(min=_LEAST)


def matching(scores: Tensor) -> Tensor:
    """The assignment of rows to columns, one to one, with the highest sum of scores (the Hungarian algorithm).

    Args:
        scores: float [R, C], with at most as many rows as columns.

    Returns:
        int64 [R], for each row its column.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    optimize = import_optional("scipy.optimize", "data", "The best assignment", package="scipy")
    return torch.from_numpy(optimize.linear_sum_assignment(scores.double().cpu().numpy(), maximize=True)[1])
