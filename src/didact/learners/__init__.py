"""Learners: any module, small built-in nets, and Hugging Face classification models."""

from didact.learners.build import KINDS, build, outputs_of
from didact.learners.module import HIDDEN, ModuleLearner
from didact.learners.projector import projector

__all__ = ["HIDDEN", "KINDS", "ModuleLearner", "build", "outputs_of", "projector"]
