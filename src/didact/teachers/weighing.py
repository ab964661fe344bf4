"""The weights of a committee's members, from what they answer to rows whose labels are known.

M is the number of members, N or B that of rows, C that of classes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import TeacherError
from didact.types import is_labelled
from didact.types.scores import confidence


def skill_weights(accuracies: Sequence[float], classes: int) -> list[float]:
    """Weights `max(0, log(a / (1 - a)) + log(C - 1))` of teachers with accuracies `a` (Zhu et al. 2009).

    Args:
        accuracies: in [0, 1]; taken as at most 0.999, so that a perfect score on few examples does not dominate.
        classes: C, at least 2.

    Raises:
        TeacherError: none is better than chance.
    """
    bounded = [min(max(a, 0.001), 0.999) for a in accuracies]
    weights = [max(0.0, math.log(a / (1 - a)) + math.log(max(classes - 1, 1))) for a in bounded]
    if not any(weights):
        raise TeacherError(
            f"accuracies are {list(accuracies)} over {classes} classes: no member is better than guessing. Leave out "
            "weights='skill', or give a better teacher."
        )
    return weights


def accuracies_of(log_probs: Tensor, labels: Tensor, answered: Tensor) -> tuple[float, ...]:
    """The accuracy of each of M members where it did not abstain; 0 for one that always did.

    Args:
        log_probs: float [M, N, C].
        labels: int64 [N], all known.
        answered: bool [N, M].
    """
    right = (labels[:, None] == log_probs.argmax(-1).T) & answered
    return tuple((right.sum(0) / answered.sum(0).clamp(min=1)).tolist())


def inverse_errors(errors: Sequence[float]) -> list[float]:
    """Weights of M regressions, one over their mean squared errors: the best ones where errors are independent.

    With unbiased members the weighted mean then has the least variance (Bates & Granger 1969).

    Args:
        errors: mean squared errors, 0 or more; taken as at least a millionth of the largest.

    Returns:
        M numbers that add up to 1.
    """
    least = max(errors) * 1e-6 or 1.0
    weights = [1.0 / max(error, least) for error in errors]
    return [weight / sum(weights) for weight in weights]


def agreement_weights(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Weights of members by how likely each finds the row's label (Zhang, Chen & Wang 2022, CA-MKD).

    With the cross-entropies `l` of the M members, the weights are `(1 - softmax(l)) / (M - 1)`. Compared with the
    authors' code (Rorozhl/CA-MKD, `helper/loops.py`): the same.

    Args:
        log_probs: float [M, B, C].
        labels: int64 [B] with `IGNORE`, where all weigh alike.

    Returns:
        float [B, M]; each row adds up to 1.
    """
    members = log_probs.shape[0]
    known = is_labelled(labels)
    place = labels.where(known, 0)[None, :, None].expand(members, -1, 1)
    errors = -log_probs.gather(-1, place)[..., 0]
    weights = (1.0 - errors.softmax(0)) / max(members - 1, 1) if members > 1 else torch.ones_like(errors)
    return torch.where(known, weights, 1.0 / members).T


def mixture_shares(right: Tensor, answered: Tensor) -> tuple[float, ...]:
    """The shares of M members under which their mixture finds the right outcomes likeliest, as in language models that
    are interpolated (Jelinek & Mercer 1980).

    They are the softmax of a score for each member, with a standard normal prior on each score as in `Gate`, so that
    few rows hardly move them from equal shares. Where a member abstained, the others have its share.

    Args:
        right: float [N, M], each member's log-probability of the right outcome.
        answered: bool [N, M].

    Returns:
        M numbers that add up to 1.
    """
    right, answered = right.double().cpu(), answered.cpu()
    scores = torch.zeros(right.shape[1], dtype=torch.float64, requires_grad=True)
    _make_likely([scores], lambda: _among(answered, scores.expand_as(right)) + right)
    return tuple(scores.detach().softmax(0).tolist())


class Gate:
    """Each member's share in each row, learnt from labelled rows: a mixture of experts that are given.

    Member m has in a row the score `b[m] + a * confidence + u[m] . p`, of its own probabilities p and their
    `confidence`; the shares are the softmax of the scores over the members. So a member can be heard on some classes
    and not on others, and the more the surer it is. The parameters maximise the log-likelihood of the labels under the
    mixture of the members' probabilities (Jacobs et al. 1991), with a standard normal prior on each parameter, so that
    few rows hardly move them from equal shares. `Stateful`.

    Args:
        members: M.
        classes: C.
    """

    def __init__(self, members: int, classes: int) -> None:
        self.bias = torch.zeros(members, dtype=torch.float64)
        self.slope = torch.zeros((), dtype=torch.float64)
        self.each = torch.zeros(members, classes, dtype=torch.float64)

    def fit(self, log_probs: Tensor, labels: Tensor, answered: Tensor) -> None:
        """Learn the parameters, the same ones whenever the rows are the same.

        Args:
            log_probs: float [M, N, C].
            labels: int64 [N], all known.
            answered: bool [N, M], False where a member abstained.
        """
        log_probs, labels, answered = log_probs.double().cpu(), labels.cpu(), answered.cpu()
        right = log_probs.gather(-1, labels[None, :, None].expand(len(self.bias), -1, 1))[..., 0].T
        parameters = [one.requires_grad_() for one in (self.bias, self.slope, self.each)]
        _make_likely(parameters, lambda: self._log_shares(log_probs, answered) + right)
        self.bias, self.slope, self.each = (one.detach() for one in parameters)

    def shares(self, log_probs: Tensor, answered: Tensor) -> Tensor:
        """The shares in each row, float32 [B, M], which add up to 1; 0 for members that abstained.

        Args:
            log_probs: float [M, B, C].
            answered: bool [B, M]; a row that nobody answered has equal shares.
        """
        return self._log_shares(log_probs.double().cpu(), answered.cpu()).exp().float().to(log_probs.device)

    def _log_shares(self, log_probs: Tensor, answered: Tensor) -> Tensor:
        scores = self.bias + self.slope * confidence(log_probs).T
        scores = scores + torch.einsum("mbc,mc->bm", log_probs.exp(), self.each)
        return _among(answered, scores)

    def state_dict(self) -> State:
        """The parameters, float64."""
        return {"bias": self.bias, "slope": self.slope, "each": self.each}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.bias, self.slope, self.each = (state[name] for name in ("bias", "slope", "each"))


def _among(answered: Tensor, scores: Tensor) -> Tensor:
    """The logarithms of the shares [N, M] among those that answered, from scores; all of them where nobody did."""
    heard = answered | ~answered.any(-1, keepdim=True)
    return scores.masked_fill(~heard, -1e9).log_softmax(-1)


def _make_likely(parameters: Sequence[Tensor], joint: Callable[[], Tensor]) -> None:
    """Maximise the likelihood of a mixture, with a standard normal prior on each parameter.

    Args:
        parameters: float64, changed in place.
        joint: returns float [N, M], each member's share times its probability of what is right, as logarithms.
    """
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = -joint().logsumexp(-1).sum() + sum(one.square().sum() for one in parameters) / 2
        found.backward()
        return found

    with torch.enable_grad():
        optimizer.step(loss)
