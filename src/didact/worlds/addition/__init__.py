"""Worlds of sums, to be learned by small language models."""
