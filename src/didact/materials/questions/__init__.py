"""Runs on questions: language models, completions, rollouts, verifiers."""

FIELDS = (
    "chat_template_kwargs",
    "columns",
    "dropout",
    "dtype",
    "engine",
    "environment",
    "gradient_checkpointing",
    "packing",
    "sampling",
    "turns",
    "verifier",
)
"""The flags of these runs that do not apply to every run."""
BASELINES = ("commonest_answer", "nearest_prompt")
"""The cheap baselines."""
USE = "--data FILE.jsonl --student hf:DIR"
"""The required flags on the command line."""
