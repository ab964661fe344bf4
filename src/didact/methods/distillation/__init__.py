"""Distillation between models."""
