"""Representations from unlabelled examples, and a head from the labelled ones."""
