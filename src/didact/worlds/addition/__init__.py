"""Worlds of sums for small language models."""
