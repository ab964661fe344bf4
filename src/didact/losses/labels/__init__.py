"""Losses against labels, and the sources of labels: teachers' signals, votes, transformed inputs."""
