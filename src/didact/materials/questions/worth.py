"""The members of a committee of language models: their shares by skill, and what each is worth."""

from collections.abc import Iterator

import torch
from torch import Tensor

from didact import hashing
from didact.documents import Document, Values
from didact.errors import ConfigError
from didact.experiment.material import Run
from didact.losses.tokens.rows import locate_tokens
from didact.losses.tokens.vocabulary import signal_log_probs
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import can_compare
from didact.materials.questions.source import in_order
from didact.parts.teachers.committee import spent
from didact.teachers import Committee, committees, mixture_shares
from didact.teachers.base import ask
from didact.types import Batch, Cost, Signal

WATCHED = 128
"""Validation questions on which the members are compared."""


def references(run: Run[QuestionData]) -> list[Batch]:
    """The completions of validation questions: of at most `WATCHED` that have one, drawn from all."""
    questions = run.data.validation
    answered = [place for place, question in enumerate(questions) if question.answered]
    drawn = [answered[place] for place in hashing.sample(len(answered), WATCHED)]
    return [batch() for batch in in_order(run, questions.select(drawn))] if drawn else []


def check_references(run: Run[QuestionData]) -> None:
    """Raise `ConfigError` if a committee's members cannot be measured on validation questions."""
    if not references(run):
        raise ConfigError(
            f"teacher is {run.config.teacher!r}, and skill is measured on the completions of validation questions, but "
            f"none of the {len(run.data.validation)} has one; give validation, such as validation=0.1 (--validation "
            "0.1), completions, or other weights."
        )


@torch.no_grad()
def measure(committee: Committee, run: Run[QuestionData], device: torch.device) -> Cost:
    """Measure a committee's members on validation completions; returns what that cost."""
    batches, before = references(run), committee.to(device).cost
    told = [(one.alone(), one.answered) for one in (_Told(committee, batch, run) for batch in batches)]
    committee.mixture = mixture_shares(*(torch.cat(parts) for parts in zip(*told, strict=True)))
    return spent(committee, before, sum(batch.size for batch in batches))


@torch.no_grad()
def describe(run: Run[QuestionData]) -> Document:
    """The members of a run's committee in figures, from the completions of validation questions.

    Returns:
        As for examples, with the metric `nll`, in nats a token; a member's `worth` is what the committee loses without
        it. Empty without a committee, without such completions, or where an answer costs something.
    """
    comparable = len(run.teachers) == 1 and can_compare(run)
    committee = next(committees(run.teachers[0].model), None) if comparable else None
    batches = references(run) if type(committee) is Committee else []
    if type(committee) is not Committee or len(committee.teachers) < 2 or not batches:
        return {}
    found = torch.cat([_Told(committee, batch, run).figures() for batch in batches]).double().mean(0)
    alone, without = found[1:].view(2, -1).tolist()
    whole = float(found[0])
    members = [
        {
            "name": name,
            "alone": alone[number],
            "without": without[number],
            "worth": without[number] - whole,
            **({"weight": committee.mixture[number]} if committee.mixture else {}),
            "spent": getattr(committee.teachers[number], "cost", Cost()).spent(),
        }
        for number, name in enumerate(committee.names)
    ]
    return {"rows": sum(batch.size for batch in batches), "metric": "nll", "committee": whole, "members": members}


def notes(found: Values) -> Iterator[str]:
    """A sentence on what leaving each member out would cost, and one on their shares by skill.

    Args:
        found: the result of `describe`.
    """
    members = found.get("members", ())
    if members:
        each = ", ".join(f"{one['name']} {one['worth']:+.3f}" for one in members)
        yield (
            f"Each teacher's worth on the completions of {found['rows']} validation questions, in nats a token, by "
            f"leaving it out: {each}."
        )
    if members and "weight" in members[0]:
        shares = ", ".join(f"{one['name']} {one['weight']:.0%}" for one in members)
        yield f"Shares under which the teachers' mixture finds these completions likeliest: {shares}."


class _Told:
    """What the members of a committee say about the tokens of some completions.

    Args:
        committee: of M members.
        batch: with N such tokens, on the CPU.
        run: the run, whose device and vocabulary are used.
    """

    def __init__(self, committee: Committee, batch: Batch, run: Run[QuestionData]) -> None:
        self.committee, self.batch = committee, batch.to(run.place.device)
        self.vocabulary = run.student.model.head.vocabulary
        tokens = locate_tokens(batch)
        self.place, self.targets = ((tensor.to(run.place.device)) for tensor in (tokens.position - 1, tokens.targets))
        self.signals = [one.get() for one in [ask(teacher, self.batch) for teacher in committee.teachers]]

    @property
    def answered(self) -> Tensor:
        """Which members answered at each token: bool [N, M]."""
        return self.committee.answered([signal.flatten().rows(self.place) for signal in self.signals])

    def alone(self) -> Tensor:
        """Each member's log-probability of each token, float [N, M]."""
        return torch.stack([self._log_probs(signal) for signal in self.signals], -1)

    def figures(self) -> Tensor:
        """The negative log-likelihood of each token, [N, 1 + 2 M]: the committee's, each member's, and without each."""
        whole, *without = (
            self._log_probs(self.committee.mean(self.signals, self.batch, without=number))
            for number in (None, *range(len(self.signals)))
        )
        return -torch.cat([whole[:, None], self.alone(), torch.stack(without, -1)], -1)

    def _log_probs(self, signal: Signal) -> Tensor:
        """A signal's log-probability of each token."""
        return signal_log_probs(signal.flatten().rows(self.place), self.targets, vocabulary=self.vocabulary)
