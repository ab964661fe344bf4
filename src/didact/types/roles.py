"""The roles that the parts of a run play, as protocols."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from didact.types.batches import Batch
from didact.types.costs import Ledger
from didact.types.outputs import Output, TokenOutput
from didact.types.place import Place
from didact.types.signals import Signal

Restart = Literal["no", "optimizer", "student"]
"""What begins anew at a boundary in the data: nothing; the optimizer's moments; or these and the weights that are
trained, which become those that the run began with. The schedule of the learning rate goes on."""
RESTARTS = ("no", "optimizer", "student")


@runtime_checkable
class Stateful(Protocol):
    """Whatever has state that a resumed run must have again, its random generator included."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors, numbers, strings, None, and lists and string-keyed mappings of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take back what `state_dict` gave."""
        ...


@runtime_checkable
class Spender(Protocol):
    """A part of a run that charges what it spends: a teacher, a verifier, an actor.

    It calls `self.ledger.charge(axis, amount, self.by)`. A part that holds others has them by name in `spenders`,
    so that each of them charges by itself.
    """

    charges: frozenset[str]
    """The axes on which it can spend: fields of `Cost`. A budget on an axis that no part charges is refused."""
    ledger: Ledger
    """Where it charges: a `Ledger()` of its own, until `fit` puts that of the run in its place."""
    by: str
    """Its name there; set by `fit` too."""


class Learner(Protocol):
    """A model that is taught. Concrete learners are `nn.Module`s."""

    def __call__(self, batch: Batch) -> Output:
        """Answer a batch."""
        ...

    def tap(self, *names: str) -> None:
        """Put the outputs of these parts of it into `Output.features` from now on."""
        ...


class LanguageLearner(Protocol):
    """A causal language model that is taught. Concrete ones are `nn.Module`s."""

    tokenizer: Any
    """Turns text into token ids and back; see `didact.learners.Tokens`."""

    def __call__(self, batch: Batch) -> TokenOutput:
        """Read a batch of sequences."""
        ...


class Teacher(Protocol):
    """Whatever knows something about a batch. A frozen teacher has no `state_dict`, a changing one is `Stateful`.

    One that is a `Spender` charges what its answers cost; those of others are not counted.
    """

    def signal(self, batch: Batch) -> Signal:
        """Answer a batch."""
        ...

    def tap(self, *names: str) -> None:
        """Answer with `Features` of these parts from now on; a `TeacherError` where the teacher has none."""
        ...


class Curriculum(Protocol):
    """What says which example comes next."""

    uses_feedback: bool
    """Whether `update` changes what comes next; it is called only then."""

    def sample(self, count: int) -> Tensor:
        """Positions of the next examples, int64 [at most count]."""
        ...

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Take note of how the examples at `index` (int64 [K]) went (float [K], the loss unless it says otherwise)."""
        ...


class Actor(Protocol):
    """Who makes what a round is learned from: a `Writer`, a `Player`, a `Pool`; `Stateful` where it has state."""

    round: int
    """While a round is collected, its number from 0; kept by `Rounds`."""
    version: int
    """The optimizer steps that the student has taken; kept by `Rounds`."""
    place: Place
    """Which of how many processes this is; kept by `Rounds`. What it makes must be the same in all of them."""


class Player(Actor, Protocol):
    """Lets a policy act in E environments at once, which go on where the last round left them.

    A `Spender` of `env_steps`: one a row.
    """

    def play(self, policy: Any, horizon: int) -> Batch:
        """Take steps.

        Args:
            policy: from a batch of E observations `x` to an `Output` whose `logits` [E, A] are those of the actions.
            horizon: how many steps in each environment, T.

        Returns:
            E * T rows, those of the first environment first, in order of time: `x`, what was observed, and `next.x`,
            what came after; `action`, int64; `log_prob`, float32, of the action when it was taken; `reward`, float32;
            `terminated` and `truncated`, bool, whether the episode ended there or was cut off; `id`, int64, the number
            of the environment.
        """
        ...


class Pool(Actor, Protocol):
    """N examples whose labels are hidden, and an oracle that tells them for a charge.

    A `Spender` of `labels`: it calls `ledger.read(ids, by)` before it tells, which charges each example once, and ends
    the run where they are more than the budget allows.
    """

    def reveal(self, rows: Tensor) -> Batch:
        """The examples at some positions with their labels.

        Args:
            rows: int64 [K], in [0, N). A label that was told before is told again without a charge.
        """
        ...


class Source(Protocol):
    """An endless, resumable stream of batches; `Stateful`. Its state is that after the batch it gave last.

    A source whose data change at boundaries may have two attributes more: `restart`, a `Restart`, and `boundary`, a
    bool: whether the batch that it gave last is the first behind a boundary. The loop then lets begin anew what
    `restart` says before it learns from that batch. Where it has a number `phase`, too, it first calls the method's
    `begin_phase` with it.

    The loop charges the labels in its batches as they come. One whose batches can never hold more than a fixed number
    of distinct labels has that as `label_count`, so that nothing is looked at once all were read; one of tokens that is
    no feed of a language model's has `charges`, which holds `student_tokens`; one that holds spenders is told of in
    `Spender`.
    """

    epoch_size: int
    """How many examples make one pass, N; 0 where passes mean nothing."""

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state, with batches on the CPU: the loop moves them."""
        ...


@runtime_checkable
class SharedSource(Protocol):
    """A source that shares work among processes that learn together, and gives all of them the same batches."""

    place: Place
    """Which of how many processes this is; set by the loop."""


@runtime_checkable
class FeedbackSource(Protocol):
    """A source that takes note of how its examples went; the loop tells it after each step that was taken."""

    uses_feedback: bool
    """Whether it has a use for that. If not, `feedback` is not called, and costs nothing."""

    def feedback(self, batch: Batch, rows: Mapping[str, Tensor]) -> None:
        """Take note, without waiting for the device.

        Args:
            batch: what was learned from, whole: of all processes, and not in parts.
            rows: the loss of each example by term, float [B] without a gradient, NaN where it has none; under `total`,
                the sum of those it has, each times the weight of its term. On any device.
        """
        ...
