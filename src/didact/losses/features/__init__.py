"""Losses on a student's representations, against a teacher's."""
