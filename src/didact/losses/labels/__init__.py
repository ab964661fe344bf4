"""Losses against labels, and what labels are made of: teachers' signals, votes, transformed inputs."""
