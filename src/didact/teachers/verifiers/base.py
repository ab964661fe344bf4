"""The base class of verifiers: time limits, abstentions and charges."""

import contextlib
import ctypes
import math
import queue
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import torch

from didact.errors import DataError, TeacherError, check_range
from didact.teachers.base import BaseTeacher
from didact.types import Batch, Question, Reward, StepRewards


class Abstention(Exception):  # noqa: N818 - not an error: the verifier abstains
    """A verifier cannot determine the reward of a completion.

    Args:
        reason: the reason, in a few words that many completions share.
        detail: more about this one, for the warning.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class TimeUp(BaseException):
    """A completion exceeded its time limit; not an `Exception`, so that an `except` in a reward does not catch it."""


class Verifier(BaseTeacher):
    """Abstract: computes the rewards of a language model's completions.

    A failure on one completion (the reward raises, takes too long, is not finite) is an abstention: the value is 0, the
    trust is 0, `abstentions` counts it by its reason, and the first of each reason causes a warning.
    """

    kind: ClassVar[str] = "a verifier"
    charges = frozenset({"teacher_calls"})
    needs_answer: ClassVar[bool] = False
    """Whether it compares with `Question.answer`."""
    needs_data: ClassVar[tuple[str, ...]] = ()
    """The entries of `Question.data` that it requires."""
    by_step: bool = False
    """Whether it can reward the steps of a completion."""

    def __init__(self) -> None:
        super().__init__()
        self._abstentions: Counter[str] = Counter()

    @property
    def abstentions(self) -> Counter[str]:
        """The number of completions that it abstained on, by reason."""
        return self._abstentions

    def __str__(self) -> str:
        """Its spec, from which `didact.parts.verifier.verifier_of` builds an equal one."""
        raise NotImplementedError(f"{type(self).__name__} must say its spec.")

    def reads(self, question: Question) -> bool:
        """Whether it reads the label of a question: its reference answer or the like."""
        return self.needs_answer or bool(self.needs_data)

    def check(self, questions: Sequence[Question]) -> None:
        """Check that every question has what the verifier needs, before any compute is spent.

        Raises:
            DataError: a question has no answer to compare with, or lacks an entry of its data.
        """
        for question in questions:
            if self.needs_answer and question.answer is None:
                raise DataError(
                    f"Question {question.id} ({question.prompt[:60]!r}) has no answer, which the verifier {self} "
                    "compares with; give each question one, or leave out those that have none."
                )
            for name in self.needs_data:
                if name not in question.data:
                    raise DataError(
                        f"Question {question.id} ({question.prompt[:60]!r}) has no {name!r} in its data, which the "
                        f"verifier {self} needs; it has {', '.join(sorted(question.data)) or 'none'}."
                    )

    def guesses(self, question: Question) -> Sequence[str]:
        """Constant completions, which the doctor expects to be wrong for most questions."""
        return ("0", "1", "yes")

    def verify(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None = None
    ) -> Reward:
        """Compute the rewards of completions.

        Args:
            texts: B completions, as the model wrote them.
            questions: B, the prompt of each.
            lengths: B, the lengths of the completions in tokens, if a part of the verifier needs them.

        Returns:
            `Reward` with value float32 [B] (finite; 0 where it abstains) and trust float32 [B], 1 or 0. Where steps are
            rewarded, the value is the lowest of a completion (Wang et al. 2024, Math-Shepherd).

        Raises:
            DataError: a question lacks what is needed, or there are more or fewer texts than questions.
        """
        if len(texts) != len(questions) or (lengths is not None and len(lengths) != len(texts)):
            raise DataError(f"{len(texts)} texts for {len(questions)} questions and lengths {lengths}: one each.")
        Verifier.check(self, questions)  # what is costlier to see was seen when the run was configured
        self.ledger.charge("teacher_calls", len(texts), self.by)
        scores = self._scores(texts, questions, lengths)
        steps = [_steps(found, text) for found, text in zip(scores, texts, strict=True)]
        worth = [self._finite(found) if one is None else _least(one) for found, one in zip(scores, steps, strict=True)]
        value = torch.tensor([0.0 if isinstance(found, Abstention) else found for found in worth], dtype=torch.float32)
        trust = torch.tensor([0.0 if isinstance(found, Abstention) else 1.0 for found in worth], dtype=torch.float32)
        for found in worth:
            if isinstance(found, Abstention):
                self._abstain(found)
        if all(one is None for one in steps):
            return Reward(value=value, trust=trust)
        rows = zip(steps, worth, texts, strict=True)
        return Reward(value=value, trust=trust, steps=tuple(_as_steps(*row) for row in rows))

    def score(self, text: str, question: Question) -> float | StepRewards:
        """The reward of one completion, or those of its steps; any exception is an abstention."""
        raise NotImplementedError(f"{type(self).__name__} must implement `score`, the reward of one completion.")

    def signal(self, batch: Batch) -> NoReturn:
        """Refuse: a verifier needs texts and questions, which a batch of tensors does not have.

        Raises:
            TeacherError: always.
        """
        raise TeacherError(
            f"The verifier {self} was asked about a batch of tensors; it rewards texts: use verify(texts, questions), "
            "or a method whose completions are verified when they are collected (grpo, rloo, reinforce)."
        )

    def _scores(
        self, texts: Sequence[str], questions: Sequence[Question], lengths: Sequence[int] | None
    ) -> Sequence[float | StepRewards | Abstention]:
        return [self._attempt(text, question) for text, question in zip(texts, questions, strict=True)]

    def _attempt(self, text: str, question: Question) -> float | StepRewards | Abstention:
        try:
            return self.score(text, question)
        except Abstention as abstention:
            return abstention
        except TimeUp:
            return Abstention("took too long")
        except Exception as error:
            return Abstention(f"raised {type(error).__name__}", str(error))

    @staticmethod
    def _finite(found: Any) -> float | Abstention:
        if isinstance(found, Abstention):
            return found
        try:
            number = float(found)
        except Exception:
            return Abstention(f"returned {type(found).__name__}, which is no number")
        # Beyond float32 it would be infinite in the reward.
        if abs(number) <= torch.finfo(torch.float32).max:
            return number
        return Abstention("returned NaN" if math.isnan(number) else "returned infinity")

    def _abstain(self, abstention: Abstention) -> None:
        reason = str(abstention)
        self._abstentions[reason] += 1
        if self._abstentions[reason] == 1:
            detail = f" ({abstention.detail[:300]})" if abstention.detail else ""
            warn(
                f"The verifier {self} could not score a completion: it {reason}{detail}. Such completions count "
                "neither as right nor as wrong; `abstentions` gives their number."
            )


def _steps(found: Any, text: str) -> StepRewards | Abstention | None:
    """What was found as the rewards of steps; None where it is something else."""
    if not isinstance(found, list | tuple):
        return None
    if not found:
        return Abstention("found no steps")
    try:
        steps = tuple((int(end), float(reward)) for end, reward in found)
    except (TypeError, ValueError):
        return Abstention(f"returned a {type(found).__name__} that is no list of pairs of an end and a reward")
    ends = [end for end, _ in steps]
    if ends != sorted(set(ends)) or ends[0] < 1 or ends[-1] > len(text):
        return Abstention("returned steps whose ends do not ascend within the text")
    bad = next((one for one in (Verifier._finite(reward) for _, reward in steps) if isinstance(one, Abstention)), None)
    return bad or steps


def _least(steps: StepRewards | Abstention) -> float | Abstention:
    return steps if isinstance(steps, Abstention) else min(reward for _, reward in steps)


def _as_steps(steps: StepRewards | Abstention | None, worth: float | Abstention, text: str) -> StepRewards:
    """The steps of a completion; one that is rewarded as a whole is a single step, and an abstention has none."""
    if isinstance(steps, tuple):
        return steps
    return () if isinstance(worth, Abstention) else ((len(text), worth),)


def warn(message: str) -> None:
    """Warn, but never raise: training continues, even where warnings are errors."""
    with contextlib.suppress(RuntimeWarning):
        warnings.warn(message, RuntimeWarning, stacklevel=4)


class FunctionVerifier(Verifier):
    """A user's own reward function.

    It runs in a thread of this process, so that it can use anything that is loaded here. If it takes too long, an
    exception is raised in that thread, and a new thread replaces it; C code that never releases the GIL cannot be
    stopped this way.

    Args:
        function: `function(text, question) -> float`, finite; higher is better. For rewards of steps it returns a list
            of pairs: the number of characters up to the end of a step, such as `didact.sources.step_ends` gives, and
            the reward of the step.
        seconds: the time limit of one completion.
        name: its name in messages and specs; by default `module:name`.

    Raises:
        TeacherError: the function is not callable.
    """

    kind = "a reward function"
    by_step = True

    def __init__(
        self,
        function: Callable[[str, Question], float | Sequence[tuple[int, float]]],
        *,
        seconds: float = 5.0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if not callable(function):
            raise TeacherError(f"The reward is {function!r}; it must be a function of a text and a question.")
        check_range("seconds", seconds, above=0)
        self.function = function
        self.seconds = seconds
        own = getattr(function, "__qualname__", type(function).__name__)
        self.name = name or f"{getattr(function, '__module__', None) or type(function).__module__}:{own}"
        self._clock = TimeLimit()

    def __str__(self) -> str:
        """`module:name`."""
        return self.name

    def reads(self, question: Question) -> bool:
        """Whether the question has any label, since the function is given the whole question."""
        return question.answer is not None or question.completion is not None

    def score(self, text: str, question: Question) -> float | StepRewards:
        """Call the function."""
        return self._clock.call(self.seconds, self.function, text, question)


class TimeLimit:
    """Calls functions under a time limit, in any thread, without signals."""

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def call(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; return its result, or raise its exception.

        Raises:
            TimeUp: it took longer than `seconds`.
        """
        with self._lock:
            if self._worker is None or not self._worker.is_alive():
                self._worker = _Worker()
                self._worker.start()
            worker, replies = self._worker, queue.SimpleQueue()
            worker.jobs.put((function, arguments, replies))
            try:
                result, error = replies.get(timeout=seconds)
            except queue.Empty:
                worker.abandon()
                self._worker = None
                raise TimeUp(f"took longer than {seconds:g} s") from None
        if error is not None:
            raise error
        return result

    def __del__(self) -> None:
        if self._worker is not None:
            self._worker.jobs.put(None)


class _Worker(threading.Thread):
    """A thread that runs one call after the other, until it is given None or is abandoned."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="didact-verifier")
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._abandoned = False

    def run(self) -> None:
        try:
            while not self._abandoned and (job := self.jobs.get()) is not None:
                self._do(*job)
        except TimeUp:  # may come at any moment after `abandon`
            return

    def _do(self, function: Callable[..., Any], arguments: tuple[Any, ...], replies: "queue.SimpleQueue[Any]") -> None:
        try:
            replies.put((function(*arguments), None))
        except TimeUp:
            raise
        except BaseException as error:
            kept = error if isinstance(error, Exception) else Abstention(f"raised {type(error).__name__}")
            replies.put((None, kept))

    def abandon(self) -> None:
        """End it as soon as it runs Python code."""
        self._abandoned = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident or 0), ctypes.py_object(TimeUp))
