"""Losses on the tokens of a language model."""
