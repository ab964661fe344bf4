"""Runs on examples: labels, and teachers of classes and features."""
