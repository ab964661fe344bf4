"""Runs on questions: language models, completions, rollouts, verifiers."""
