"""Runs on questions: language models, completions, rollouts, verifiers."""

USE = "--data FILE.jsonl --student hf:DIR"
"""What such a run takes at least, on the command line."""
