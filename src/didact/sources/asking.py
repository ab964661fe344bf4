"""Rounds of queries: a pool whose labels are hidden, an oracle that reveals them for a price, and batches of both."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from didact.curricula import LabelledMix, Uniform
from didact.curricula.acquisition import Ask, Seen
from didact.documents import State
from didact.errors import check_range
from didact.sources.rounds import Rounds
from didact.types import IGNORE, Batch, Examples, Ledger, Method, Place, Restart, is_labelled

DRAWS = 10
"""Draws of the dropout of a student that is no committee."""


def see(
    outputs: Callable[..., tuple[Tensor, Tensor | None]],
    ask: Ask,
    learners: Sequence[Any],
    examples: Examples,
    known: Tensor,
    *,
    average: Any = None,
    seed: int = 0,
) -> Seen:
    """What students make of a pool, as far as an acquisition function looks at it.

    Args:
        outputs: `didact.evaluation.outputs_of`.
        ask: the acquisition function.
        learners: the student, and the other members of its committee where there are any.
        examples: the pool, N.
        known: bool [N], those that cannot be asked for.
        average: the average of the student's past, for `average_disagreement`.
        seed: of the draws of the student's dropout, for `bald` without other members.
    """
    logits, hidden = outputs(learners[0], examples)
    members = None
    if ask == "bald" and len(learners) > 1:
        members = torch.stack([logits, *(outputs(one, examples)[0] for one in learners[1:])])
    elif ask == "bald":
        members = torch.stack([outputs(learners[0], examples, dropout=seed + draw)[0] for draw in range(DRAWS)])
    past = outputs(average, examples)[0] if ask == "average_disagreement" else None
    return Seen(logits=logits, hidden=hidden, known=known, members=members, average=past)


class LabelPool:
    """A `Pool` that knows the labels of its examples, and charges each that it tells once. `Stateful`.

    Args:
        examples: N examples, with the labels that are known at the start.
        answers: the labels that can be told, like `examples.tensors["label"]`: int64 [N] with `IGNORE`, or float [N]
            with NaN.
        batch_size: rows of a batch, at most.
        price: how many labels of the budget one answer costs. Those that are known at the start cost one each.
        asks_all: whether examples without an answer can be asked for too, as a teacher answers all.

    Raises:
        ConfigError: a number out of range.
    """

    charges = frozenset({"labels"})

    def __init__(
        self, examples: Examples, answers: Tensor, *, batch_size: int, price: int = 1, asks_all: bool = False
    ) -> None:
        check_range("price", price, at_least=1)
        check_range("batch_size", batch_size, at_least=1)
        self.examples, self.answers, self.batch_size, self.price = examples, answers, batch_size, price
        self.round = self.version = 0
        self.place = Place()
        self.ledger, self.by = Ledger(), "pool"
        self.known = is_labelled(examples.tensors["label"])
        """bool [N], the examples whose label is known."""
        self.weight = torch.ones(examples.size)
        """float [N], what each label weighs in the loss."""
        self._given = self.known.clone()
        self.askable = torch.ones_like(self.known) if asks_all else is_labelled(answers)
        """bool [N], the examples that the oracle has an answer for."""

    def count(self, wanted: int) -> int:
        """How many of the wanted examples can be asked for: as many as are left, and as the budget allows.

        One at least while any is left, so that a budget that is used up ends the run.
        """
        left, ledger = int((self.askable & ~self.known).sum()), self.ledger
        allowed = wanted if ledger.labels is None else (ledger.labels - ledger.cost.labels) // self.price
        return min(wanted, left, max(allowed, 1))

    def reveal(self, rows: Tensor, weights: Tensor | None = None) -> Batch:
        """The examples at some positions with their labels; see `didact.types.Pool`.

        Args:
            rows: int64 [K], in [0, N).
            weights: float [K], what these labels weigh in the loss; 1 by default.

        Raises:
            LabelsSpentError: the budget would be exceeded; nothing is revealed then.
        """
        paid = rows[is_labelled(self.answers[rows])]
        each = torch.where(self._given[paid], 1, self.price)
        self.ledger.read(self.examples.tensors["id"][paid].tolist(), self.by, each=each.tolist())
        self.known[rows] = True
        if weights is not None:
            self.weight[rows] = weights
        return Batch({**self.examples.batch(rows), "row": rows, "label": self.answers[rows]})

    def draw(self, steps: int, seed: int, others: Tensor | None = None, **more: Tensor) -> Batch:
        """Rows for some steps, in passes over the known examples; half of each batch are others where there are any.

        Args:
            steps: how many batches; the rows of each lie together.
            seed: of the order.
            others: bool [N], examples without a label that are learned from too; none by default.
            more: tensors [N] that batches have besides.

        Returns:
            `row`, `id`, `label` (missing where it is not known) and `trust` (float, the weight of the label over the
            largest one) of the rows of all steps, and `more`; `PoolRounds` adds the inputs.
        """
        among = (self.known if others is None else self.known | others).nonzero()[:, 0]
        mixed = len(among) > int(self.known.sum())
        size = min(self.batch_size, len(among))
        if mixed and size > 1:
            mix = LabelledMix(self.known[among], 0.5, seed)
            drawn = torch.cat([mix.sample(size) for _ in range(steps)])
        else:
            passes = Uniform(len(among), seed)
            drawn = torch.cat([passes.sample(len(among)) for _ in range(-(-steps * size // len(among)))])
        rows = among[drawn[: steps * size]]
        missing = torch.nan if self.answers.is_floating_point() else IGNORE
        label = torch.where(self.known[rows], self.answers[rows], missing)
        trust = self.weight[rows] / self.weight[self.known].amax()
        found = {"row": rows, "id": self.examples.tensors["id"][rows], "label": label, "trust": trust}
        return Batch({**found, **{name: tensor[rows] for name, tensor in more.items()}})

    def state_dict(self) -> State:
        """Which labels are known, and what they weigh."""
        return {"known": self.known.clone(), "weight": self.weight.clone()}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.known, self.weight = state["known"].clone(), state["weight"].clone()


class PoolRounds(Rounds):
    """`Rounds` of queries to a `LabelPool`: a method's `collect` asks, and the student learns from all it knows.

    The rows of a round are kept without their inputs, which each batch gets from the pool.

    Args:
        pool: the examples and their oracle.
        method: its `collect` is given an empty tensor and the pool, and returns what `LabelPool.draw` drew.
        steps: optimizer steps of a round.
        restart: what begins anew before each round but the first.
    """

    def __init__(self, pool: LabelPool, method: Method, *, steps: int, restart: Restart = "student") -> None:
        super().__init__(None, pool, method.collect, size=1, minibatches=steps, restart=restart)
        self.pool, self.batch_size = pool, pool.batch_size

    def _next_minibatch(self, rows: Batch) -> Batch:
        """The next rows, with their inputs."""
        found = super()._next_minibatch(rows)
        return Batch({**self.pool.examples.batch(found["row"]), **found})
