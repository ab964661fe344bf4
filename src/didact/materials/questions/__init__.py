"""Runs on questions: language models, completions, rollouts, verifiers."""

FIELDS = ("columns", "sampling", "verifier")
"""The flags that mean something for such a run, of those that don't for every run."""
BASELINES = ("commonest_answer", "nearest_prompt")
"""The cheap alternatives that can stand beside the methods."""
USE = "--data FILE.jsonl --student hf:DIR"
"""What such a run takes at least, on the command line."""
