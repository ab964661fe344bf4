"""Losses on a student's class scores, against a teacher's."""
