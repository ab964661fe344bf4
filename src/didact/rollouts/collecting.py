"""From questions to batches of attempts: asked, judged, and laid out as tensors.

Axis letters: B attempts, T positions of prompt and completion, L of the completion alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from didact import hashing
from didact.errors import ConfigError, DataError, check_range
from didact.rollouts.completions import Completions
from didact.rollouts.sampler import Sampler
from didact.rollouts.sampling import Sampling
from didact.teachers.verifiers import Verifier
from didact.types import Batch, Cost, Question, Reward

TURNS = 16
"""How many times a question may be asked within one round with draws of their own."""


@dataclass(frozen=True)
class Attempts:
    """What was answered, with what a method needs to make batches or further questions of it."""

    batch: Batch
    """Without `reward` and `trust` where nobody judged."""
    texts: tuple[str, ...]
    """The B completions in words."""
    questions: tuple[Question, ...]
    """The question of each attempt, B of them."""


class Asker:
    """Asks a model, and has its answers judged; `Stateful`.

    Args:
        learner: a `CausalLearner`.
        sampling: how its answers are drawn.
        verifier: who judges them; None where nobody does.
        truth: another verifier, which pays for nothing, but whose word is beyond dispute.
        seed: decides every draw, with the question, the round and the number of the sample.
    """

    def __init__(
        self,
        learner: Any,
        sampling: Sampling,
        verifier: Verifier | None = None,
        *,
        truth: Verifier | None = None,
        seed: int = 0,
    ) -> None:
        self.learner, self.sampling, self.verifier, self.seed = learner, sampling, verifier, seed
        self.truth = truth
        self.samplers: dict[tuple[int, int], Sampler] = {}
        self.round = 0
        """The number of the present round; with the turn, it tells the draws for one question apart."""
        self.version = 0
        """The optimizer steps that the learner has taken."""
        self.sampled_tokens = 0
        self.cost = Cost()
        """Of models other than the learner that were asked."""

    @property
    def teachers(self) -> list[Any]:
        """The verifier, and the ledger of other models that were asked."""
        return [self] if self.verifier is None else [self, self.verifier]

    def attempt(
        self,
        questions: Sequence[Question],
        *,
        samples: int | None = None,
        turn: int = 0,
        by: Any = None,
        prompts: Sequence[Sequence[int]] | None = None,
        judged: bool = True,
    ) -> Attempts:
        """Have questions answered.

        Args:
            questions: at least one.
            samples: answers to each; by default as the sampling says.
            turn: below `TURNS`; the same question in the same round is answered anew with another.
            by: another model that answers in the place of the learner.
            prompts: tokens to put in the place of the questions' own.
            judged: whether the verifier judges the answers, where there is one.

        Returns:
            The answers to the first question, those to the second, and so on.
        """
        check_range("turn", turn, at_least=0, below=TURNS)
        model = self.learner if by is None else by
        prompts = [model.tokenizer.prompt(question) for question in questions] if prompts is None else prompts
        sampler = self._sampler(model, samples or self.sampling.samples)
        training = model.training
        model.eval()
        found = sampler.sample(prompts, [question.id for question in questions], visit=self.round * TURNS + turn)
        model.train(training)
        self._count(found, by is not None, len(questions))
        asked = tuple(question for question in questions for _ in range(len(found.lengths) // len(questions)))
        attempts = self.laid_out(asked, prompts, found)
        return self.judge(attempts) if judged and self.verifier is not None else attempts

    def _sampler(self, model: Any, samples: int) -> Sampler:
        key = (id(model), samples)
        if key not in self.samplers:
            self.samplers[key] = Sampler(model, dataclasses.replace(self.sampling, samples=samples), seed=self.seed)
        return self.samplers[key]

    def _count(self, found: Completions, teacher: bool, questions: int) -> None:
        self.sampled_tokens += found.written
        if teacher:
            self.cost.teacher_calls += questions
            self.cost.teacher_tokens += found.read + found.written

    def laid_out(
        self, questions: tuple[Question, ...], prompts: Sequence[Sequence[int]], found: Completions
    ) -> Attempts:
        """Sampled completions behind their prompts, as one batch padded on the right."""
        each = len(found.lengths) // len(prompts)
        batch = rows_of(
            [prompt for prompt in prompts for _ in range(each)],
            found.tokens,
            found.lengths,
            pad=self.learner.tokenizer.pad,
            log_probs=found.log_probs,
        )
        ids = torch.tensor([question.id for question in questions])
        warmth = self.sampling.temperature or 1.0
        batch |= {
            "id": ids,
            "group": ids,
            "temperature": torch.full((len(ids),), warmth),
            "version": torch.full((len(ids),), self.version),
            "finished": found.finished,
        }
        return Attempts(Batch(batch), found.texts, questions)

    def judge(self, attempts: Attempts) -> Attempts:
        """The same attempts with the verifier's `reward` and `trust`, and what monitors look at, all float [B].

        `truth` is what the verifier that is beyond dispute says, where there is another one; `correct` is 1 for
        attempts that earn a full reward (by the truth, where there is one), and `unique` for the first of its words
        among these at its question; `repetition` is the share of runs of four tokens that the attempt held before.
        """
        batch, lengths = attempts.batch, attempts.batch["completion_mask"].sum(1)
        reward = self.verdict(attempts.texts, attempts.questions, lengths)
        seen = {"reward": reward.value, "trust": _trust(reward)}
        if self.truth is not None:
            truth = self.truth.judge(attempts.texts, attempts.questions, lengths=lengths.tolist())
            known = _trust(truth) > 0
            # What it could not tell does not move the mean.
            seen["truth"] = torch.where(known, truth.value, truth.value[known].mean().nan_to_num())
        correct = (seen.get("truth", reward.value) >= 1.0).float()
        keys = [(question.id, text) for question, text in zip(attempts.questions, attempts.texts, strict=True)]
        first = {key: place for place, key in reversed(list(enumerate(keys))) if correct[place]}
        seen |= {"correct": correct, "unique": torch.zeros(len(keys))}
        seen["unique"][list(first.values())] = 1.0
        seen["repetition"] = repetition(batch["input_ids"], batch["completion_mask"])
        return Attempts(Batch({**batch, **seen}), attempts.texts, attempts.questions)

    def verdict(self, texts: Sequence[str], questions: Sequence[Question], lengths: Tensor) -> Reward:
        """What the verifier says of answers in words.

        Raises:
            ConfigError: there is no verifier.
        """
        if self.verifier is None:
            raise ConfigError("verifier is None, but attempts are to be judged; give one, such as exact or numeric.")
        return self.verifier.judge(texts, questions, lengths=lengths.tolist())

    def written(self, questions: Sequence[Question], texts: Sequence[str]) -> Attempts:
        """Answers that are there in words already, laid out as attempts are; without `log_probs`."""
        tokenizer = self.learner.tokenizer
        answers = [tokenizer.completion(text) for text in texts]
        lengths = torch.tensor([len(answer) for answer in answers])
        tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(answer) for answer in answers], batch_first=True)
        batch = rows_of([tokenizer.prompt(q) for q in questions], tokens, lengths, pad=tokenizer.pad)
        ids = torch.tensor([question.id for question in questions])
        return Attempts(Batch({**batch, "id": ids, "group": ids}), tuple(texts), tuple(questions))

    def mixed(self, questions: Sequence[Question], share: float) -> Attempts:
        """A share of the questions answered by the learner, and the others by the data.

        Args:
            questions: those of a round; an answer of the data stands as often as the learner would answer.
            share: in [0, 1]; which questions these are is drawn anew in each round.

        Raises:
            DataError: a question that the data are to answer has no completion.
        """
        if share >= 1.0:
            return self.attempt(questions, judged=False)
        ids = torch.tensor([question.id for question in questions])
        own = hashing.uniform(ids, self.seed, f"mixed/{self.round}") < share
        asked = [question for question, mine in zip(questions, own.tolist(), strict=True) if mine]
        given = [
            q for q, mine in zip(questions, own.tolist(), strict=True) for _ in range(self.sampling.samples) if not mine
        ]
        texts = [completion_of(question) for question in given]
        parts = [self.attempt(asked, judged=False)] if asked else []
        return joined([*parts, *([self.written(given, texts)] if given else [])])

    def state_dict(self) -> dict[str, Any]:
        """What was sampled so far; rounds and versions are counted by `Rounds`."""
        return {"sampled_tokens": self.sampled_tokens}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave."""
        self.sampled_tokens = state["sampled_tokens"]


def _trust(reward: Reward) -> Tensor:
    return torch.ones_like(reward.value) if reward.trust is None else reward.trust


def completion_of(question: Question) -> str:
    """The answer of the data to a question.

    Raises:
        DataError: it has none.
    """
    if not question.completion:
        raise DataError(
            f"The question {question.prompt[:60]!r} has no completion to learn from; give its column, or learn from "
            "the learner's own answers alone."
        )
    return question.completion


def joined(parts: Sequence[Attempts]) -> Attempts:
    """Attempts that were made apart as one batch, padded to the widest; only the tensors that all have are kept."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.batch["input_ids"].shape[1] for part in parts)
    kept = [name for name in parts[0].batch if all(name in part.batch for part in parts)]
    batch = {name: torch.cat([_widened(part.batch[name], width) for part in parts]) for name in kept}
    texts = tuple(text for part in parts for text in part.texts)
    return Attempts(Batch(batch), texts, tuple(question for part in parts for question in part.questions))


def beside(attempts: Batch, given: Batch, *, trust: float) -> Batch:
    """Attempts and, behind them, rows that somebody else wrote.

    Args:
        attempts: B of them.
        given: K rows, with whatever is known of them. What else is said of attempts is 0 for them, but for their
            `temperature`, 1; their `log_probs` are 0 too, as nobody sampled them.
        trust: of those rows, where `given` does not say.

    Returns:
        B + K rows, with the tensors that the attempts have.
    """
    known = {name: tensor.new_zeros(given.size) for name, tensor in attempts.items() if tensor.ndim == 1}
    known |= {"temperature": torch.ones(given.size), "trust": torch.full((given.size,), trust)}
    rows = Batch({**known, "log_probs": torch.zeros(given["input_ids"].shape), **given})
    return joined([Attempts(attempts, (), ()), Attempts(rows, (), ())]).batch


def _widened(tensor: Tensor, width: int) -> Tensor:
    """[B, T] filled up with zeros on the right (what is padding is told by the masks alone); [B] as it is."""
    return tensor if tensor.ndim < 2 else torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))


def rows_of(
    prompts: Sequence[Sequence[int]],
    tokens: Tensor,
    lengths: Tensor,
    *,
    pad: int,
    log_probs: Tensor | None = None,
) -> dict[str, Tensor]:
    """Prompts and completions as rows that are padded on the right.

    Args:
        prompts: B lists of token ids.
        tokens: int64 [B, L], padded on the right.
        lengths: int64 [B], how many of them count.
        pad: the id that fills up.
        log_probs: float [B, L] of the completions.

    Returns:
        `input_ids`, `attention_mask` and `completion_mask` [B, T], and `log_probs` where they were given.
    """
    starts = torch.tensor([len(prompt) for prompt in prompts])
    width = int((starts + lengths).max())
    ids = torch.full((len(prompts), width), pad)
    place = torch.arange(width)[None]
    ids[place < starts[:, None]] = torch.tensor([token for prompt in prompts for token in prompt])
    written = (place >= starts[:, None]) & (place < (starts + lengths)[:, None])
    within = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    ids[written] = tokens[within]
    rows = {
        "input_ids": ids,
        "attention_mask": (place < (starts + lengths)[:, None]).long(),
        "completion_mask": written,
    }
    if log_probs is not None:
        rows["log_probs"] = torch.zeros(ids.shape).masked_scatter_(written, log_probs[within].float())
    return rows


def repetition(input_ids: Tensor, completion_mask: Tensor, *, run: int = 4) -> Tensor:
    """How much of each attempt occurred in it before.

    Args:
        input_ids: int64 [B, T].
        completion_mask: bool [B, T], the tokens of the attempts, each in one piece.
        run: how many neighbouring tokens are looked at together.

    Returns:
        float32 [B]: the share of the runs of tokens that an earlier run equals; 0 where an attempt has none.
    """
    if input_ids.shape[1] < run:
        return torch.zeros(len(input_ids))
    whole = completion_mask.unfold(1, run, 1).all(-1)
    key = torch.zeros_like(whole, dtype=torch.int64)
    for place in range(run):
        key = hashing.mix(key + input_ids[:, place : place + whole.shape[1]])
    # What is no run of the attempt gets a key of its own, so that it repeats nothing.
    key = torch.where(whole, key, torch.arange(key.shape[1]) - (1 << 40))
    ordered = key.sort(1).values
    repeats = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
    return repeats / whole.sum(1).clamp(min=1)
