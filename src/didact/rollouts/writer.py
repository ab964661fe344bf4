"""The actor of language models, which samples completions of prompts and has them verified.

Axis letters: B rollouts, T positions of prompt and completion, L of the completion alone.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from didact import hashing
from didact.documents import State
from didact.errors import ConfigError, DataError, TeacherError, check_range
from didact.rollouts.ahead import Ahead
from didact.rollouts.completions import Completions
from didact.rollouts.correcting import correct_rollouts
from didact.rollouts.engine_config import Engine, EngineConfig
from didact.rollouts.engines import make_engine
from didact.rollouts.environments import Environment, EnvironmentConfig, Guarded
from didact.rollouts.layout import Rollouts, answer_rows, concat, mark_steps, pad_rows
from didact.rollouts.repetition import repetition
from didact.rollouts.sampler import Sampler
from didact.rollouts.sampling import Sampling
from didact.rollouts.turns import conversation_rows, converse
from didact.teachers.verifiers import Verifier
from didact.types import Batch, Ledger, Place, Question, Reward

TURNS = 16
"""The largest number of turns within a round, each with draws of its own."""


class Writer:
    """Samples completions from a language model, and rewards from a verifier; an `Actor` for `Rounds`, and a `Spender`.

    Args:
        learner: a `CausalLearner`.
        sampling: the options of sampling.
        verifier: computes rewards; None without rewards.
        truth: another verifier, which measures correctness and gives no reward; labels that it reads are not charged.
        seed: determines every draw, with the question, the round and the number of the sample.
        engine: what samples the learner's completions.
        weighted: whether completions that another engine sampled are weighted; see `correct_rollouts`.
        environment: makes what answers the learner between its turns; None for completions of one turn.
        limits: the options of the environment.
    """

    charges = frozenset({"labels", "sampled_tokens"})

    def __init__(
        self,
        learner: Any,
        sampling: Sampling,
        verifier: Verifier | None = None,
        *,
        truth: Verifier | None = None,
        seed: int = 0,
        engine: EngineConfig | None = None,
        weighted: bool = True,
        environment: Callable[[], Environment] | None = None,
        limits: EnvironmentConfig | None = None,
    ) -> None:
        self.learner, self.sampling, self.verifier, self.seed = learner, sampling.settled(), verifier, seed
        self.truth = truth
        self.samplers: dict[tuple[int, int, int], Sampler] = {}
        self.options, self.weighted = engine or EngineConfig(), weighted
        self.engine = make_engine(learner, self.options, seed=seed)
        """None where the learner samples itself."""
        self.ahead = Ahead(learner.tokenizer)
        self.environment, self.limits = environment, limits or EnvironmentConfig()
        self.environment_failures: Counter[str] = Counter()
        """How often environments failed, by reason."""
        self.round = 0
        """The number of the present round; each round and turn has its own draws for a question."""
        self.version = 0
        """The optimizer steps that the learner has taken."""
        self.place = Place()
        """The device, and the rank of this process: each process completes its share of the prompts, and all get the
        whole; up to the rounding of sums, the completions are those of a single process."""
        self.ledger, self.by = Ledger(), "writer"
        self.spenders = {"verifier": verifier}
        """See `didact.types.Spender`."""

    def write(
        self,
        questions: Sequence[Question],
        *,
        samples: int | None = None,
        turn: int = 0,
        by: Any = None,
        prompts: Sequence[Sequence[int]] | None = None,
        longest: int | None = None,
        verify: bool = True,
    ) -> Rollouts:
        """Sample completions.

        Args:
            questions: at least one.
            samples: the number of completions of each; by default that of the sampling.
            turn: below `TURNS`; another turn gives other completions of the same question in the same round.
            by: another model, which completes the prompts instead of the learner.
            prompts: token ids, instead of the questions' own prompts.
            longest: the largest number of new tokens; by default that of the sampling.
            verify: whether the verifier rewards them, if there is one.

        Returns:
            The completions of the first question, those of the second, and so on.
        """
        check_range("turn", turn, at_least=0, below=TURNS)
        model = self.learner if by is None else by
        prompts = [model.tokenizer.prompt(question) for question in questions] if prompts is None else prompts
        sampling = dataclasses.replace(
            self.sampling,
            samples=samples or self.sampling.samples,
            max_new_tokens=longest or self.sampling.max_new_tokens,
        )
        ids, visit, version = [question.id for question in questions], self.round * TURNS + turn, self.version
        if self.environment is not None:
            rollouts = self._converse(model, questions, prompts, sampling, visit, teacher=by is not None)
            return self.verify(rollouts) if verify and self.verifier is not None else rollouts
        if by is None and self.engine is not None:
            found, version = self._by_engine(self.engine, prompts, ids, sampling, visit)
        else:
            found = self._sample(self._sampler(model, sampling), prompts, ids, visit)
        self._count(found, by is not None, len(questions))
        repeated = tuple(question for question in questions for _ in range(len(found.lengths) // len(questions)))
        rollouts = self._rollouts(repeated, prompts, found, version)
        if by is None and self.engine is not None:
            rollouts = correct_rollouts(rollouts, self.learner, self.options, weighted=self.weighted)
        return self.verify(rollouts) if verify and self.verifier is not None else rollouts

    def _sample(
        self, sampler: Sampler, prompts: Sequence[Sequence[int]], ids: Sequence[int], visit: int
    ) -> Completions:
        """Completions of all prompts, which are divided among processes if there are enough."""
        if not 1 < self.place.size <= len(prompts):
            return sampler.sample(prompts, ids, visit=visit)
        found = sampler.sample(self.place.shard(prompts), self.place.shard(ids), visit=visit)
        return found.gather(self.place)

    def _converse(
        self,
        model: Any,
        questions: Sequence[Question],
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        visit: int,
        *,
        teacher: bool,
    ) -> Rollouts:
        """Rollouts of several turns, in which environments answer."""
        assert self.environment is not None
        make, stop = self.environment, tuple(getattr(self.environment(), "stop", ()))
        once = dataclasses.replace(sampling, samples=1, stop=(*sampling.stop, *stop))
        sampler = Sampler(model, once, seed=self.seed)

        def sample(rows: Sequence[Sequence[int]], keys: Sequence[int]) -> Completions:
            found = self._sample(sampler, rows, keys, visit)
            self._count(found, teacher, len(rows))
            return found

        asked = tuple(question for question in questions for _ in range(sampling.samples))
        talks = converse(
            asked,
            [prompt for prompt in prompts for _ in range(sampling.samples)],
            model.tokenizer,
            lambda: Guarded(make(), self.limits, self.environment_failures),
            sample,
            self.limits,
            context=model.context,
            seed=self.seed,
        )
        rows = conversation_rows(talks, pad=self.learner.tokenizer.pad)
        return Rollouts(Batch(self._described(rows, asked, self.version)), tuple(one.text for one in talks), asked)

    def _sampler(self, model: Any, sampling: Sampling) -> Sampler:
        key = (id(model), sampling.samples, sampling.max_new_tokens)
        if key not in self.samplers:
            self.samplers[key] = Sampler(model, sampling, seed=self.seed)
        return self.samplers[key]

    def _by_engine(
        self, engine: Engine, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, visit: int
    ) -> tuple[Completions, int]:
        """Completions that were begun before or are sampled now, and the version of the weights."""
        self._check_alone()
        begun = self.ahead.take((visit, tuple(ids)))
        if begun is not None:
            return begun
        engine.load(self.version)
        return engine.sample(prompts, ids, sampling, visit=visit), self.version

    def begin(self, questions: Sequence[Question]) -> None:
        """Begin to sample the completions of the next round, with the present weights, in a thread of its own.

        `write` of the same questions in that round takes them.

        Args:
            questions: those of the next round.

        Raises:
            ConfigError: rollouts are not behind, or several processes share them.
        """
        if self.engine is None or not self.options.behind:
            raise ConfigError("engine's behind is 0, but rollouts are to be begun; give behind=1.")
        self._check_alone()
        self.engine.load(self.version)
        prompts, ids = [self.learner.tokenizer.prompt(one) for one in questions], [one.id for one in questions]
        visit, sample, sampling = self.round * TURNS, self.engine.sample, self.sampling
        self.ahead.begin((visit, tuple(ids)), self.version, lambda: sample(prompts, ids, sampling, visit=visit))

    def _check_alone(self) -> None:
        if self.place.size > 1:
            raise ConfigError(
                f"engine is {self.options.kind!r} with behind={self.options.behind}, which {self.place.size} processes "
                "cannot share yet; leave out engine, or start one process."
            )

    def state_dict(self) -> State:
        """The completions that wait for the next round."""
        return {"ahead": self.ahead.state_dict()}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.ahead.load_state_dict(state["ahead"])

    def _count(self, found: Completions, teacher: bool, questions: int) -> None:
        self.ledger.charge("sampled_tokens", found.written, self.by)
        if teacher:
            self.ledger.charge("teacher_calls", questions, self.by)
            self.ledger.charge("teacher_tokens", found.read + found.written, self.by)

    def _rollouts(
        self, questions: tuple[Question, ...], prompts: Sequence[Sequence[int]], found: Completions, version: int
    ) -> Rollouts:
        """Prompts with their sampled completions, as one batch padded on the right."""
        each = len(found.lengths) // len(prompts)
        rows = pad_rows(
            [prompt for prompt in prompts for _ in range(each)],
            found.tokens,
            found.lengths,
            pad=self.learner.tokenizer.pad,
            log_probs=found.log_probs,
        )
        rows["finished"] = found.finished
        return Rollouts(Batch(self._described(rows, questions, version)), found.texts, questions)

    def _described(self, rows: dict[str, Tensor], questions: Sequence[Question], version: int) -> dict[str, Tensor]:
        """Rows with ids, groups, temperatures and versions."""
        ids = torch.tensor([question.id for question in questions])
        temperature = torch.full((len(ids),), self.sampling.temperature or 1.0)
        versions = torch.full((len(ids),), version)
        more = {"id": ids, "group": ids, "temperature": temperature, "version": versions}
        return {**rows, **more, **teacher_numbers(questions)}

    def verify(self, rollouts: Rollouts) -> Rollouts:
        """The same rollouts with the verifier's `reward` and `trust`, and metrics for monitors, all float [B].

        Where the verifier rewards steps, `step` (bool [B, T]) marks the last token of each, and `step_reward` (float
        [B, T]) has its reward there.

        `truth` is the reward by the verifier `truth`, if there is one; `correct` is 1 for rollouts with a full reward
        (by `truth`, if there is one); `unique` is 1 for the first rollout with its text among the correct ones of its
        prompt; `repetition` is the share of 4-grams that occurred earlier in the rollout.

        Raises:
            TeacherError: the verifier abstains on the whole first round.
        """
        batch, lengths = rollouts.batch, rollouts.batch["completion_mask"].sum(1)
        reward = self.rewards(rollouts.texts, rollouts.questions, lengths)
        self._check_verifier(reward)
        seen = {"reward": reward.value, "trust": _trust(reward)}
        if reward.steps is not None:
            seen |= mark_steps(rollouts, reward.steps, self.learner.tokenizer)
        if self.truth is not None:
            truth = self._rewards_by(self.truth, rollouts.texts, rollouts.questions, lengths)
            known = _trust(truth) > 0
            # Abstentions do not affect the mean.
            seen["truth"] = torch.where(known, truth.value, truth.value[known].mean().nan_to_num())
        correct = (seen.get("truth", reward.value) >= 1.0).float()
        keys = [(question.id, text) for question, text in zip(rollouts.questions, rollouts.texts, strict=True)]
        first = {key: place for place, key in reversed(list(enumerate(keys))) if correct[place]}
        seen |= {"correct": correct, "unique": torch.zeros(len(keys))}
        seen["unique"][list(first.values())] = 1.0
        seen["repetition"] = repetition(batch["input_ids"], batch["completion_mask"])
        return Rollouts(Batch({**batch, **seen}), rollouts.texts, rollouts.questions)

    def _check_verifier(self, reward: Reward) -> None:
        """Refuse a verifier that abstains on the whole first round."""
        silent = {} if self.verifier is None else self.verifier.abstentions
        if self.round == 0 and silent and not bool(_trust(reward).any()):
            reason = max(silent, key=lambda reason: silent[reason])
            raise TeacherError(
                f"The verifier {self.verifier} could judge none of the first {len(reward.value)} completions (it "
                f"{reason}), so that nothing would be learned; mend it, or give another one."
            )

    def rewards(self, texts: Sequence[str], questions: Sequence[Question], lengths: Tensor) -> Reward:
        """The verifier's rewards of completions as text.

        Raises:
            ConfigError: there is no verifier.
        """
        if self.verifier is None:
            raise ConfigError("verifier is None, but rollouts are to be rewarded; give one, such as exact or numeric.")
        self.read([question for question in questions if self.verifier.reads(question)])
        return self._rewards_by(self.verifier, texts, questions, lengths)

    def read(self, questions: Sequence[Question]) -> None:
        """Charge the labels of questions (their answers or completions) that are trained on."""
        self.ledger.read([question.id for question in questions], self.by)

    def data_completions(self, questions: Sequence[Question]) -> list[str]:
        """The completions that the data have for questions, whose labels are charged.

        Raises:
            DataError: a question has none.
        """
        self.read(questions)
        return [completion_of(question) for question in questions]

    def _rewards_by(
        self, verifier: Verifier, texts: Sequence[str], questions: Sequence[Question], lengths: Tensor
    ) -> Reward:
        """The rewards by a verifier; the completions are divided among processes if there are enough."""
        every = lengths.tolist()
        if not 1 < self.place.size <= len(texts):
            return verifier.verify(texts, questions, lengths=every)
        share, silent = self.place.shard, Counter(verifier.abstentions)
        mine = verifier.verify(share(texts), share(questions), lengths=share(every))
        found = self.place.gather_objects((mine.value, _trust(mine), mine.steps, verifier.abstentions - silent))
        values, trusts, steps, silences = zip(*found, strict=True)
        for rank, abstentions in enumerate(silences):
            if rank != self.place.rank:
                verifier.abstentions.update(abstentions)
        verifier.ledger.charge("teacher_calls", len(texts) - len(mine.value), verifier.by)
        every_step = None if None in steps else tuple(one for part in steps for one in part)
        return Reward(value=torch.cat(values), trust=torch.cat(trusts), steps=every_step)

    def encode(self, questions: Sequence[Question], texts: Sequence[str]) -> Rollouts:
        """Encode completions that exist as text as rollouts, without `log_probs`."""
        tokenizer = self.learner.tokenizer
        answers = [tokenizer.completion(question, text) for question, text in zip(questions, texts, strict=True)]
        rows = answer_rows([tokenizer.prompt(q) for q in questions], answers, pad=tokenizer.pad)
        ids = torch.tensor([question.id for question in questions])
        more = {"id": ids, "group": ids, **teacher_numbers(questions)}
        return Rollouts(Batch({**rows, **more}), tuple(texts), tuple(questions))

    def lay_out(self, questions: Sequence[Question], tokens: Sequence[Sequence[int]]) -> Rollouts:
        """Completions that exist as tokens, as rollouts without `log_probs`.

        Args:
            questions: B of them.
            tokens: the ids of the completion of each.
        """
        tokenizer = self.learner.tokenizer
        rows = answer_rows([tokenizer.prompt(question) for question in questions], tokens, pad=tokenizer.pad)
        texts = tuple(tokenizer.decode(ids) for ids in tokens)
        return Rollouts(Batch(self._described(rows, questions, self.version)), texts, tuple(questions))

    def mix(self, questions: Sequence[Question], share: float) -> Rollouts:
        """Rollouts of a share of the questions by the learner, and of the others from the data, without rewards.

        Args:
            questions: those of a round; a completion of the data is repeated as often as the learner would sample.
            share: in [0, 1]; the questions are drawn anew in each round.

        Raises:
            DataError: a question of the data's share has no completion.
        """
        if share >= 1.0:
            return self.write(questions, verify=False)
        ids = torch.tensor([question.id for question in questions])
        own = (hashing.uniform(ids, self.seed, f"mixed/{self.round}") < share).tolist()
        written = [question for question, mine in zip(questions, own, strict=True) if mine]
        others = [question for question, mine in zip(questions, own, strict=True) if not mine]
        given = [question for question in others for _ in range(self.sampling.samples)]
        texts = self.data_completions(given)
        parts = [self.write(written, verify=False)] if written else []
        return concat([*parts, *([self.encode(given, texts)] if given else [])])


def teacher_numbers(questions: Sequence[Question]) -> dict[str, Tensor]:
    """The numbers of the teachers of prompts, int64 [B] `teacher`; nothing where no prompt has one, 0 for others.

    Raises:
        DataError: the data's `teacher` of a prompt is no whole number.
    """
    named = [question.data.get("teacher") for question in questions]
    if all(one is None for one in named):
        return {}
    try:
        return {"teacher": torch.tensor([0 if one is None else int(str(one)) for one in named])}
    except ValueError:
        raise DataError(
            f"The column teacher has {next(one for one in named if not str(one).isdigit())!r}, but must be the number "
            "of one of the teachers in route:prompt:A+B, from 1."
        ) from None


def _trust(reward: Reward) -> Tensor:
    return torch.ones_like(reward.value) if reward.trust is None else reward.trust


def completion_of(question: Question) -> str:
    """The completion of a question in the data.

    Raises:
        DataError: there is none.
    """
    if not question.completion:
        raise DataError(
            f"The question {question.prompt[:60]!r} has no completion to learn from; give its column, or learn from "
            "the learner's own completions alone."
        )
    if question.reply:
        raise DataError(
            f"The completion of {question.prompt[:60]!r} has {' and '.join(question.reply)} besides its text, which "
            "this method would not learn; use sft, or leave such questions out."
        )
    return question.completion
