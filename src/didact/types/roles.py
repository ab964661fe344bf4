"""The protocols of the parts of a run."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from didact.types.batches import Batch
from didact.types.costs import Ledger
from didact.types.outputs import Output, TokenOutput
from didact.types.place import Place
from didact.types.signals import Signal

Restart = Literal["no", "optimizer", "student"]
"""The parts that are reset at a boundary in the data: nothing; the optimizer's moments; or these and the trained
weights, which become those of the start of the run. The schedule of the learning rate continues."""
RESTARTS = ("no", "optimizer", "student")


@runtime_checkable
class Stateful(Protocol):
    """A part with state that a resumed run must restore, its random generator included."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors, numbers, strings, None, and lists and string-keyed mappings of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Restore the result of `state_dict`."""
        ...


@runtime_checkable
class Spender(Protocol):
    """A part of a run that charges what it spends: a teacher, a verifier, an actor.

    It calls `self.ledger.charge(axis, amount, self.by)`. A part that holds others lists them by name in `spenders`,
    so that each of them charges its own.
    """

    charges: frozenset[str]
    """The axes on which it can spend: fields of `Cost`. A budget on an axis that no part charges is refused."""
    ledger: Ledger
    """The ledger that it charges: a `Ledger()` of its own, until `fit` replaces it by that of the run."""
    by: str
    """Its name in the ledger; set by `fit` too."""


class Learner(Protocol):
    """A trainable model. Concrete learners are `nn.Module`s."""

    def __call__(self, batch: Batch) -> Output:
        """Compute the output for a batch."""
        ...

    def tap(self, *names: str) -> None:
        """From now on, put the outputs of these modules into `Output.features`."""
        ...


class LanguageLearner(Protocol):
    """A trainable causal language model. Concrete ones are `nn.Module`s."""

    tokenizer: Any
    """Encodes text as token ids and decodes them; see `didact.learners.Tokens`."""

    def __call__(self, batch: Batch) -> TokenOutput:
        """Compute the output for a batch of sequences."""
        ...


class Teacher(Protocol):
    """Anything that gives a signal for a batch. A frozen teacher has no `state_dict`, a changing one is `Stateful`.

    A teacher that is a `Spender` charges the cost of its signals; those of others are not counted.
    """

    def signal(self, batch: Batch) -> Signal:
        """Compute the signal for a batch."""
        ...

    def tap(self, *names: str) -> None:
        """From now on, give `Features` of these modules; raise `TeacherError` where the teacher has none."""
        ...


@runtime_checkable
class FollowingTeacher(Teacher, Protocol):
    """A teacher that follows the learner by itself; those that a method updates in `after_step` have no `follow`."""

    def follow(self, learner: Any) -> None:
        """Hook after each optimizer step."""
        ...


class Curriculum(Protocol):
    """Chooses the next examples."""

    uses_feedback: bool
    """Whether `update` affects the choice; it is called only then."""

    def sample(self, count: int) -> Tensor:
        """Positions of the next examples, int64 [at most count]."""
        ...

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Record the progress (float [K], the loss by default) on the examples at `index` (int64 [K])."""
        ...


class Actor(Protocol):
    """Makes the rows of a round: a `Writer`, a `Player` or a `Pool`; `Stateful` where it has state."""

    round: int
    """The number of the round that is collected, from 0; kept by `Rounds`."""
    version: int
    """The optimizer steps that the student has taken; kept by `Rounds`."""
    place: Place
    """The device, and the rank of this process; kept by `Rounds`. Its rows must be the same in all processes."""


class Player(Actor, Protocol):
    """Runs a policy in E parallel environments, which continue where the last round ended.

    A `Spender` of `env_steps`: one a row.
    """

    def play(self, policy: Any, horizon: int) -> Batch:
        """Take steps.

        Args:
            policy: from a batch of E observations `x` to an `Output` whose `logits` [E, A] are those of the actions.
            horizon: how many steps in each environment, T.

        Returns:
            E * T rows, those of the first environment first, in order of time: `x`, the observation, and `next.x`, the
            next one; `action`, int64; `log_prob`, float32, of the action when it was taken; `reward`, float32;
            `terminated` and `truncated`, bool, as in Gymnasium; `id`, int64, the number of the environment.
        """
        ...


class Pool(Actor, Protocol):
    """N examples whose labels are hidden, and an oracle that reveals them for a charge.

    A `Spender` of `labels`: before it reveals labels it calls `ledger.read(ids, by)`, which charges each example once,
    and ends the run where the budget would be exceeded.
    """

    def reveal(self, rows: Tensor) -> Batch:
        """The examples at some positions with their labels.

        Args:
            rows: int64 [K], in [0, N). A label that was revealed before is not charged again.
        """
        ...


class Source(Protocol):
    """An endless, resumable stream of batches; `Stateful`. Its state is that after the last batch.

    A source whose data change at boundaries may have two more attributes: `restart`, a `Restart`, and `boundary`, a
    bool: whether the last batch is the first after a boundary. The loop then resets what `restart` names before it
    learns from that batch. If the source also has a number `phase`, the loop first calls the method's `begin_phase`
    with it.

    The loop charges the labels in the batches as they come. A source whose batches can never have more than a fixed
    number of distinct labels gives that as `label_count`, so that nothing is checked once all were read. A source of
    tokens that is no feed of a language model has `charges`, with `student_tokens` in it. For a source that holds
    spenders, see `Spender`.
    """

    epoch_size: int
    """The number of examples in an epoch, N; 0 where there are no epochs."""

    def __iter__(self) -> Iterator[Batch]:
        """Continue from the present state, with batches on the CPU: the loop moves them."""
        ...


@runtime_checkable
class SharedSource(Protocol):
    """A source that divides its work among processes that train together, and gives all of them the same batches."""

    place: Place
    """The device, and the rank of this process; set by the loop."""


@runtime_checkable
class FeedbackSource(Protocol):
    """A source that uses the losses of its examples; the loop reports them after each step that was taken."""

    uses_feedback: bool
    """Whether it uses them. If not, `feedback` is not called, and costs nothing."""

    def feedback(self, batch: Batch, rows: Mapping[str, Tensor]) -> None:
        """Record the losses, without waiting for the device.

        Args:
            batch: the whole batch of the step: that of all processes, not split.
            rows: the loss of each example by term, float [B] without a gradient, NaN where it has none; under `total`,
                the sum of those it has, each times the weight of its term. On any device.
        """
        ...
