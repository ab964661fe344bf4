"""Losses that compare the examples of a batch with each other."""
