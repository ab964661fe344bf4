"""Losses on a student's scores of classes, against a teacher's."""
