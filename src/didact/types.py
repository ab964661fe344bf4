"""The nouns of didact, and the roles that its parts play.

Every room imports this module; it imports nothing of ours but the errors. Axis letters used throughout:
B batch, C classes, D width of a representation, T tokens or steps, V vocabulary, N examples.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from didact.errors import DataError

IGNORE = -100
"""The class label that means "no label here"; a missing regression target is NaN."""

Task = Literal["classification", "regression"]
Modality = Literal["table", "image", "text"]
Material = Literal["examples", "completions", "pairs", "attempts"]
"""What the batches of a method hold: `Examples`; or of `Questions`, the answers to learn from, the preferred answers
with the others, or attempts that are made while it learns."""
Level = Literal["ok", "warn", "pause", "roll_back", "stop"]
LEAST_COUNT = 1e-12
"""What a count of zero is taken for where something is divided by it."""
LEVELS: tuple[Level, ...] = ("ok", "warn", "pause", "roll_back", "stop")
"""What a monitor can ask for, from the mildest to the most drastic."""


LOWER_IS_BETTER = frozenset({"nll", "ece", "rmse", "mae", "teacher_kl", "teacher_rmse"})
"""The figures of which less is better; of every other, more is."""


def is_labelled(label: Tensor) -> Tensor:
    """Tell which targets are there.

    Args:
        label: [B]; integers for classes (`IGNORE` is missing), floats for regression (NaN is missing).

    Returns:
        bool [B].
    """
    return ~label.isnan() if label.is_floating_point() else label != IGNORE


class Batch(Mapping[str, Tensor]):
    """A mapping of tensors with a common leading dimension B; always carries `id`.

    Usual keys: `x` (float inputs) or `input_ids` and `attention_mask` (int64 [B, T]); `label`; `id` (int64 [B], stable
    across epochs, orders and machines). The inputs of another view of the same examples carry its name in front:
    `strong.x`, `teacher.input_ids`; `view("strong")` brings them to the fore.

    Batches for language models are padded on the right: `input_ids` and `attention_mask` int64 [B, T];
    `completion_mask` bool [B, T], True for the tokens that are to be learned (never the first of a row); where several
    sequences share a row, `segments` int64 [B, T], 0 for padding and 1, 2, ... for the first, second, ... sequence.
    Attempts have besides, float32: `log_probs` [B, T] (of each completion token when it was sampled, at the sampling
    temperature and before any truncation; 0 elsewhere), `temperature` [B] (1 for greedy ones), `reward` [B] and `trust`
    [B] in [0, 1] (0 where no verifier could tell); and int64 [B]: `group` (the id of the question) and `version` (the
    optimizer steps that the model had taken).
    """

    __slots__ = ("_tensors",)

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors if isinstance(tensors, dict) else dict(tensors)

    def __getitem__(self, key: str) -> Tensor:
        try:
            return self._tensors[key]
        except KeyError:
            raise DataError(f"The batch has no tensor {key!r}; it has {', '.join(sorted(self._tensors))}.") from None

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        """The number of tensors, as for any mapping; the number of examples is `size`."""
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Batch({', '.join(f'{k}: {t.dtype} {list(t.shape)}' for k, t in self._tensors.items())})"

    @property
    def size(self) -> int:
        """The number of examples, B."""
        return self._tensors["id"].shape[0]

    def check(self) -> Self:
        """Raise `DataError` unless `id` is int64 and every tensor has the same leading dimension."""
        if "id" not in self._tensors:
            raise DataError("The batch has no tensor 'id'. Give each example a stable int64 id.")
        if self["id"].dtype != torch.int64 or self["id"].ndim != 1:
            raise DataError(f"The batch's 'id' is {self['id'].dtype} {list(self['id'].shape)}; it must be int64 [B].")
        for name, tensor in self._tensors.items():
            if tensor.ndim == 0 or tensor.shape[0] != self.size:
                raise DataError(
                    f"The batch's {name!r} has shape {list(tensor.shape)}, but its 'id' has {self.size} rows; "
                    "every tensor of a batch must have the same leading dimension."
                )
        return self

    def view(self, name: str) -> "Batch":
        """The same examples with the inputs of the view `name` in the place of the plain ones."""
        prefix = name + "."
        inputs = {key[len(prefix) :]: t for key, t in self._tensors.items() if key.startswith(prefix)}
        if not inputs:
            views = sorted({key.split(".")[0] for key in self._tensors if "." in key})
            raise DataError(f"The batch has no view {name!r}; it has {', '.join(views) or 'none'}.")
        return Batch({**{key: t for key, t in self._tensors.items() if "." not in key}, **inputs})

    def split(self, size: int) -> list["Batch"]:
        """Cut into consecutive batches of at most `size` examples."""
        chunks = {key: tensor.split(size) for key, tensor in self._tensors.items()}
        return [Batch({key: parts[i] for key, parts in chunks.items()}) for i in range(-(-self.size // size))]

    def select(self, index: Tensor) -> "Batch":
        """The examples at the positions in `index` (int64 [K]) or under a mask (bool [B])."""
        return Batch({key: tensor[index] for key, tensor in self._tensors.items()})

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; the copy does not wait for the device."""
        return Batch({key: tensor.to(device, non_blocking=True) for key, tensor in self._tensors.items()})


@dataclass(frozen=True, slots=True)
class Output:
    """What a learner returns for a batch."""

    logits: Tensor
    """[B, C] class scores before the softmax, or [B, 1] predictions of a regression."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """What came out of the tapped modules, by module name; each [B, ...]."""
    hidden: Tensor | None = None
    """[B, D], what the head (the last linear layer) was given; None where no head is known."""


@dataclass(frozen=True, slots=True)
class Head:
    """What turns a hidden state h [D] into the scores of a vocabulary: cap * tanh(scale * (W h + b) / cap).

    Kept apart from the states, so that a loss can work on a few tokens at a time and never hold [tokens, V].
    """

    weight: Tensor
    """[V, D]."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """What the products are multiplied by; 1 in most models."""
    softcap: float | None = None
    """The largest size of a score, above 0; None where scores are not capped."""

    @property
    def vocabulary(self) -> int:
        """How many token ids it scores, V; may be more than the tokenizer has, where a model pads its vocabulary."""
        return self.weight.shape[0]

    def sliced(self, size: int) -> "Head":
        """The head of the first `size` ids alone."""
        if size >= self.vocabulary:
            return self
        return Head(self.weight[:size], None if self.bias is None else self.bias[:size], self.scale, self.softcap)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]."""
        scores = nn.functional.linear(hidden, self.weight, self.bias)
        scores = scores if self.scale == 1.0 else scores * self.scale
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """What a causal language model returns for a batch: the scores of each next token, not yet computed."""

    hidden: Tensor
    """[B, T, D], what the head is given; position t speaks of token t + 1."""
    head: Head
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """What came out of the tapped modules, by module name; each [B, T, ...]."""

    @property
    def logits(self) -> Tensor:
        """[B, T, V], computed each time it is read; for small vocabularies and tests."""
        return self.head(self.hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """A language model's token distributions, as hidden states and a head."""

    hidden: Tensor
    """[B, T, D]; position t speaks of token t + 1."""
    head: Head
    trust: Tensor | None = None
    """float [B, T] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """A teacher's class scores."""

    logits: Tensor
    """[B, C] float; any per-row shift means the same."""
    trust: Tensor | None = None
    """float [B] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A teacher's answers: classes, or probabilities of them."""

    labels: Tensor
    """int64 [B] (`IGNORE` is no answer), or probabilities float [B, C] whose rows sum to 1, or float [B] targets."""
    trust: Tensor | None = None
    """float [B] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The k most probable classes or tokens, with what is left over."""

    ids: Tensor
    """int64 [..., K]."""
    log_probs: Tensor
    """float [..., K], natural logarithms."""
    tail: Tensor
    """float [...], the probability of everything else, in [0, 1]."""
    trust: Tensor | None = None
    """float [...] in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A teacher's representations."""

    features: Mapping[str, Tensor]
    """By tap name; each [B, ...]."""
    logits: Tensor | None = None
    """[B, C], from the same forward pass, where the teacher classifies."""
    trust: Tensor | None = None
    """float [B] in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """How good an attempt was."""

    value: Tensor
    """float [B] or [B, T]; higher is better."""
    trust: Tensor | None = None
    """float, as `value`; 0 where the verifier could not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Which of two attempts is better."""

    probability: Tensor
    """float [B], the probability in [0, 1] that the first is better."""
    trust: Tensor | None = None
    """float [B] in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A teacher's answers in words."""

    text: tuple[str, ...]
    """One string an example, B of them."""
    trust: Tensor | None = None
    """float [B] in [0, 1]."""


Signal = Logits | Labels | TopK | Features | States | Reward | Preference | Text
"""What a teacher says about a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """An attempt by a learner in an environment or at a prompt."""

    actions: Tensor
    """int64 or float [B, T, ...]: what was done, or the tokens."""
    log_probs: Tensor
    """float [B, T]: log-probabilities that the actions had when they were taken."""
    mask: Tensor
    """bool [B, T]: which steps belong to the attempt."""
    rewards: Tensor | None = None
    """float [B] or [B, T]."""
    version: int = 0
    """The number of optimizer steps that the acting policy had taken."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a monitor concludes from what it saw."""

    level: Level
    monitor: str
    """The monitor's name."""
    figure: float
    """The number that the conclusion rests on."""
    reason: str
    """The conclusion in words, as a sentence."""


@dataclass(slots=True)
class Cost:
    """What teaching used: counted, never estimated."""

    labels: int = 0
    """Distinct labelled examples that training or model selection looked at."""
    teacher_calls: int = 0
    """Examples that a teacher answered (answers taken from a cache are not counted again)."""
    teacher_tokens: int = 0
    """Tokens that a teacher read or wrote."""
    student_tokens: int = 0
    """Tokens of the batches that the student was trained on."""
    sampled_tokens: int = 0
    """Tokens that were sampled for its training: the student's attempts, and answers that a teacher wrote."""
    env_steps: int = 0
    """Steps taken in environments."""
    examples: int = 0
    """Training examples seen, repeats included."""
    steps: int = 0
    """Optimizer steps."""
    flops: int = 0
    """Floating-point operations of the matrix products and convolutions of the student's training, counted once for
    each shape of a batch; without those of teachers."""
    seconds: float = 0.0
    """Wall-clock time of training, without evaluation of the finished student."""
    peak_memory: int = 0
    """Bytes: the highest resident memory of the process, or memory allocated on the device where there is one."""

    def __add__(self, other: "Cost") -> "Cost":
        """Add up two costs; peak memory is the larger of the two."""
        total = Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)})
        total.peak_memory = max(self.peak_memory, other.peak_memory)
        return total

    def as_dict(self) -> dict[str, int | float]:
        """The figures by name, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum over examples or tokens, and what to divide it by."""

    sum: Tensor
    """Scalar; carries the gradient."""
    count: Tensor | float
    """How many examples or tokens (or how much weight) went into the sum; carries no gradient."""
    weight: float = 1.0
    """What the mean is multiplied by in the total."""

    def weighted(self, weight: float) -> "Term":
        """The same term with its weight multiplied."""
        return Term(self.sum, self.count, self.weight * weight)

    def mean(self) -> Tensor:
        """The sum over the count; 0 where the count is 0."""
        return self.sum * Term(self.sum, self.count).seed()

    def seed(self, count: Tensor | float | None = None) -> Tensor:
        """The derivative of the total loss with respect to the sum: weight over count.

        Args:
            count: the global count, where this term covers only a part of what the optimizer step sees.

        Returns:
            Scalar on the sum's device. Finite where the count is 0, since the sum's own derivative is 0 there.
        """
        count = self.count if count is None else count
        if isinstance(count, Tensor):
            seed = count.clamp_min(LEAST_COUNT).reciprocal()
            return seed if self.weight == 1.0 else seed * self.weight
        return self.sum.new_full((), self.weight / max(count, LEAST_COUNT))


class Terms(dict[str, Term]):
    """The terms of a loss by name.

    A term keeps its sum and its count apart until the very end, so that one division by the global count gives the same
    number however the batch was cut: into micro-batches, with padding, or over processes.
    """

    def total(self) -> Tensor:
        """The weighted sum of the terms' means: a differentiable scalar."""
        return torch.stack([term.sum * term.seed() for term in self.values()]).sum()

    def backward(self, counts: Mapping[str, Tensor | float] | None = None) -> None:
        """Add the gradient of the total to the parameters.

        Starting from the sums, each with weight over count as its gradient, saves the divisions and additions of
        `total` in the graph.

        Args:
            counts: global counts by term, where the batch is only a part of what the optimizer step sees.

        Raises:
            DataError: no term depends on a trained parameter.
        """
        terms = [(name, term) for name, term in self.items() if term.sum.requires_grad]
        if not terms:
            raise DataError(f"None of the loss's terms ({', '.join(self) or 'none'}) depends on a trained parameter.")
        seeds = [term.seed(None if counts is None else counts[name]) for name, term in terms]
        torch.autograd.backward([term.sum for _, term in terms], seeds)


@runtime_checkable
class Stateful(Protocol):
    """Whatever has state that a resumed run must have again, its random generator included."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors, numbers, strings, None, and lists and string-keyed mappings of them."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take back what `state_dict` gave."""
        ...


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
    """Whatever knows something about a batch. A frozen teacher has no `state_dict`, a changing one is `Stateful`."""

    cost: Cost
    """What its answers have cost so far (calls and tokens)."""

    def signal(self, batch: Batch, attempt: Rollout | None = None) -> Signal:
        """Answer a batch, or judge an attempt at it."""
        ...

    def tap(self, *names: str) -> None:
        """Answer with `Features` of these parts from now on; a `TeacherError` where the teacher has none."""
        ...


class Curriculum(Protocol):
    """What says which example comes next."""

    def sample(self, count: int) -> Tensor:
        """Positions of the next examples, int64 [at most count]."""
        ...

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Take note of how the examples at `index` (int64 [K]) went (float [K], the loss unless it says otherwise)."""
        ...


class Source(Protocol):
    """An endless, resumable stream of batches; `Stateful`. Its state is that after the batch it gave last."""

    epoch_size: int
    """How many examples make one pass, N; 0 where passes mean nothing."""
    labels: int
    """How many distinct labelled examples it holds."""

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a monitor is shown: the optimizer steps since the last time it was asked."""

    step: int
    """Optimizer steps done so far."""
    losses: Mapping[str, Tensor]
    """float64 [W] on the CPU for each term and for `total`, one entry a step."""
    grad_norm: Tensor
    """float64 [W] on the CPU: the norm of the whole gradient before clipping; empty where it was not computed."""
    finite: bool
    """False when the last step was halted because its loss or gradient was not finite."""
    probe: Callable[[], Output] | None
    """Computes the learner's answer, in evaluation mode, on a fixed probe batch of up to 128 training examples; at most
    one forward pass, however many monitors ask. None where the window is not one for probing."""


class Monitor(Protocol):
    """Measures and concludes; never acts."""

    def observe(self, window: Window) -> Verdict:
        """Look at a window of steps."""
        ...


class Method:
    """A way of teaching: what the loss on a batch is, and what happens after a step.

    A concrete method takes its `Config` first, then what it needs, by these names: `learner` (the student), `teacher`,
    `sample` (a few training examples, for shapes), `spawn` (a function that makes another learner of the same kind,
    freshly initialised; give it a spec for one of another kind) and `seed`. A default of None makes one optional.

    Attributes that are modules (or lists or mappings of them) are trained; attributes with a `state_dict` are saved in
    checkpoints. A frozen teacher is neither.
    """

    learner: Any
    step: int = 0
    """Optimizer steps done; kept by the loop."""
    fraction: float = 0.0
    """Share of the budget that is used, in [0, 1]; kept by the loop, for whatever is ramped up or switched."""
    views: ClassVar[Mapping[str, Literal["weak", "strong"]]] = {}
    """Augmented views that the batches must carry, by name, with how much augmentation each gets."""
    unlabelled: ClassVar[bool] = False
    """Whether it learns from examples without a label too."""
    labelled_share: ClassVar[float | None] = None
    """Which share of a batch should have labels where they are rare; None takes examples as they come."""
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    """The tasks that it can be used for."""
    material: ClassVar[Material] = "examples"
    """What it is taught with; everything but `examples` is for language models."""
    least_batch: ClassVar[int] = 1
    """How many examples a batch must hold; 2 where pairs of examples are compared."""
    verified: ClassVar[bool] = False
    """For attempts: whether they must be judged by a verifier."""
    rewarded: ClassVar[bool] = False
    """For attempts: whether rewards teach that come from no verifier; they are as noisy as a verifier's."""
    aligns_tokens: ClassVar[bool] = False
    """For language models: whether the teacher may have another tokenizer than the learner."""
    updates: int = 1
    """For attempts: how many optimizer steps each round of attempts is for."""
    couples_examples: ClassVar[bool] = False
    """Whether an example's loss depends on the others in the batch, so that the batch cannot be cut into parts."""

    def loss(self, batch: Batch) -> Terms:
        """The terms of the loss on a batch."""
        raise NotImplementedError(f"{type(self).__name__} must say what its loss is.")

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """What each term will be divided by, known from the batch alone; needed to cut a batch into parts.

        Returns:
            A count for every term that `loss` returns. The default knows none: a method that supports micro-batches
            overrides it.
        """
        return {}

    def collect(self, questions: Sequence["Question"], ask: Any) -> Batch:
        """Make the attempts of a round, for a method whose material is attempts.

        Args:
            questions: those that come next.
            ask: a `didact.rollouts.Asker`, by which the learner is asked and its attempts are judged.

        Returns:
            A row an attempt; see `Batch` for the tensors. What the round decides once, such as advantages, is computed
            here, so that it does not depend on how the round is cut into batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how attempts are collected.")

    def after_step(self) -> None:
        """What happens after each optimizer step, such as moving an average."""

    @property
    def delivered(self) -> Any:
        """The learner that a run keeps, evaluates and exports."""
        return self.learner

    def parts(self) -> dict[str, Any]:
        """Everything it holds, by name; lists and mappings are opened one level, as `peers.0`."""
        found: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Mapping):
                found.update({f"{name}.{key}": part for key, part in value.items()})
            elif isinstance(value, Sequence) and not isinstance(value, str):
                found.update({f"{name}.{i}": part for i, part in enumerate(value)})
            else:
                found[name] = value
        return found

    def modules(self) -> dict[str, nn.Module]:
        """The modules that are trained, by name."""
        return {name: part for name, part in self.parts().items() if isinstance(part, nn.Module)}

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained, each once."""
        seen = {id(p): p for module in self.modules().values() for p in module.parameters() if p.requires_grad}
        return list(seen.values())

    def teachers(self) -> list[Teacher]:
        """Its teachers, for the cost ledger."""
        return [part for part in self.parts().values() if isinstance(getattr(part, "cost", None), Cost)]

    def to(self, device: torch.device | str) -> Self:
        """Move every part that can be moved, in place."""
        for part in self.parts().values():
            if callable(getattr(part, "to", None)) and not isinstance(part, Tensor):
                part.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The state of every part that has one."""
        return {name: part.state_dict() for name, part in self.parts().items() if isinstance(part, Stateful)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave."""
        for name, part in self.parts().items():
            if isinstance(part, Stateful):
                part.load_state_dict(state[name])


class FromFeatures:
    """Marks a method that looks at a teacher's features alone, whose teacher may thus know other classes than the data.

    Its teacher may be a net that was trained on other data, or one that `target:NAME:SPEC` trains on another tensor.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """A finite set of examples, as tensors in memory."""

    tensors: Mapping[str, Tensor]
    """`x` float32 [N, ...] raw inputs (images are [N, channels, height, width] in [0, 1]) or `input_ids` and
    `attention_mask` int64 [N, T]; `label` int64 [N] with `IGNORE`, or float32 [N] with NaN; `id` int64 [N]; optionally
    `group` int64 [N], the same for examples that must stay in one split."""
    task: Task
    modality: Modality
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the label numbers; empty for a regression."""
    columns: tuple["Column", ...] = ()
    """For a table: what each block of `x`'s columns is; empty otherwise."""
    texts: tuple[str, ...] = ()
    """For text: the N strings."""
    vocabulary: int = 0
    """For text: how many token ids there are, V; 0 otherwise."""
    name: str = ""
    """Where they came from, for people."""

    @property
    def size(self) -> int:
        """The number of examples, N."""
        return self.tensors["id"].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: `x`'s without N, or (T,) for tokens."""
        return tuple(self.tensors["x" if "x" in self.tensors else "input_ids"].shape[1:])

    def batch(self, index: Tensor | slice | None = None) -> Batch:
        """The examples at `index` (all of them by default) as a batch."""
        if index is None:
            return Batch(dict(self.tensors))
        return Batch({key: tensor[index] for key, tensor in self.tensors.items()})

    def select(self, index: Tensor) -> "Examples":
        """The examples at the positions in `index` (int64 [K]) or under a mask (bool [N])."""
        positions = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return dataclasses.replace(
            self,
            tensors={key: tensor[positions] for key, tensor in self.tensors.items()},
            texts=tuple(self.texts[i] for i in positions.tolist()) if self.texts else (),
        )

    def with_tensors(self, **tensors: Tensor) -> "Examples":
        """The same examples with some tensors replaced or added."""
        return dataclasses.replace(self, tensors={**self.tensors, **tensors})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that a language model is asked, with whatever is known of a good answer."""

    id: int
    """Stable across orders and machines, as `Batch`'s ids."""
    prompt: str
    """What the model is given; rendered by the model's chat template where `messages` is not empty."""
    messages: tuple[Mapping[str, str], ...] = ()
    """A conversation of `role` and `content`, in the place of `prompt`."""
    answer: str | None = None
    """What a verifier compares with; None where nothing is known."""
    completion: str | None = None
    """A whole answer to learn from: a demonstration, or the preferred one of a pair."""
    rejected: str | None = None
    """The other answer of a pair."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else its source holds, for verifiers: `tests`, `schema`, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions(Sequence[Question]):
    """A finite set of questions."""

    items: tuple[Question, ...]
    name: str = ""
    """Where they came from, for people."""
    verifier: str = ""
    """The verifier that suits them, by its spec, where none is asked for; empty where there is none."""

    def __len__(self) -> int:
        """How many there are, N."""
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """One question, or a tuple of them."""
        return self.items[index]

    def select(self, index: Sequence[int]) -> "Questions":
        """The questions at these positions."""
        return dataclasses.replace(self, items=tuple(self.items[i] for i in index))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a user's table, and how it lies in `x`."""

    name: str
    categories: tuple[str, ...] = ()
    """The values of a categorical column, each a 0/1 column of `x` in this order; empty for a number."""

    @property
    def width(self) -> int:
        """How many columns of `x` it takes."""
        return len(self.categories) or 1
