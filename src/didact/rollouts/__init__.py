"""Rollouts: a language model's attempts at prompts."""

from didact.rollouts.collecting import Asker, Attempts, beside, completion_of, joined, repetition
from didact.rollouts.completions import Completions
from didact.rollouts.kept import KeptAnswers, golden_answers
from didact.rollouts.openings import Chains, chosen, continued, explained, opening, steps_of, told
from didact.rollouts.rated import RatedPairs
from didact.rollouts.rationales import (
    answer_rows,
    check_fits,
    earning,
    followed,
    in_place,
    instructed,
    rationales_of,
    told_by,
    verified,
)
from didact.rollouts.rounds import rollout_rounds
from didact.rollouts.sampler import Sampler
from didact.rollouts.sampling import Sampling
from didact.rollouts.second_tries import asked_again, first_of, tried_twice

__all__ = [
    "Chains",
    "told",
    "steps_of",
    "opening",
    "explained",
    "continued",
    "chosen",
    "Asker",
    "Attempts",
    "Completions",
    "KeptAnswers",
    "RatedPairs",
    "Sampler",
    "Sampling",
    "answer_rows",
    "asked_again",
    "beside",
    "completion_of",
    "earning",
    "first_of",
    "followed",
    "in_place",
    "golden_answers",
    "joined",
    "rationales_of",
    "repetition",
    "rollout_rounds",
    "told_by",
    "tried_twice",
    "verified",
    "check_fits",
    "instructed",
]
