"""Rollouts: a language model's completions of prompts, sampled, verified, and laid out as batches."""

from didact.rollouts.completion_cache import CompletionCache, oracle_completions
from didact.rollouts.completions import Completions
from didact.rollouts.engine_config import Engine, EngineConfig
from didact.rollouts.engines import make_engine
from didact.rollouts.environments import Environment, EnvironmentConfig
from didact.rollouts.guidance import (
    accepted_completions,
    comprehension_scores,
    full_rewards,
    mask_answers,
    teacher_completions,
)
from didact.rollouts.layout import (
    Rollouts,
    answer_rows,
    append_off_policy,
    bounded,
    concat,
    pad_rows,
    replace_rollouts,
)
from didact.rollouts.prefixes import Chains, continue_prefixes, join_steps, reveal_answer, split_steps, write_chains
from didact.rollouts.rated import RatedPairs
from didact.rollouts.rationales import check_fits, prefix_prompt, rationales_of
from didact.rollouts.redrawing import write_live
from didact.rollouts.repetition import repetition
from didact.rollouts.retries import retry_questions, strip_attempt, write_twice
from didact.rollouts.reward_models import RewardModelVerifier, answer_rewards, read_answers, step_rewards
from didact.rollouts.rounds import rollout_rounds
from didact.rollouts.sampler import Sampler
from didact.rollouts.sampling import Sampling
from didact.rollouts.scoring import score_completions
from didact.rollouts.segments import Segments
from didact.rollouts.writer import Writer, completion_of

__all__ = [
    "Chains",
    "CompletionCache",
    "Completions",
    "Engine",
    "EngineConfig",
    "Environment",
    "EnvironmentConfig",
    "RatedPairs",
    "RewardModelVerifier",
    "Rollouts",
    "Sampler",
    "Sampling",
    "Segments",
    "Writer",
    "accepted_completions",
    "answer_rewards",
    "answer_rows",
    "append_off_policy",
    "bounded",
    "check_fits",
    "completion_of",
    "comprehension_scores",
    "concat",
    "continue_prefixes",
    "full_rewards",
    "join_steps",
    "make_engine",
    "mask_answers",
    "oracle_completions",
    "pad_rows",
    "prefix_prompt",
    "rationales_of",
    "read_answers",
    "repetition",
    "replace_rollouts",
    "retry_questions",
    "reveal_answer",
    "rollout_rounds",
    "score_completions",
    "split_steps",
    "step_rewards",
    "strip_attempt",
    "teacher_completions",
    "write_chains",
    "write_live",
    "write_twice",
]
