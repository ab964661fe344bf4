"""Runs on examples: labels, and teachers of classes and features."""

USE = "--data FILE --target COLUMN --student mlp:64"
"""What such a run takes at least, on the command line."""
