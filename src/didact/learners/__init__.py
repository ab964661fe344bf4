"""Learners: any module, small built-in nets, and Hugging Face classification models."""

from didact.learners.auxiliary import AuxiliaryHead, pooled, stage_names
from didact.learners.build import KINDS, build, outputs_of
from didact.learners.directions import ClassDirections
from didact.learners.looking_ahead import answer_with, look_ahead
from didact.learners.module import HIDDEN, ModuleLearner
from didact.learners.moments import Moments
from didact.learners.nearby import Prototypes, start_near
from didact.learners.probe import LinearProbe
from didact.learners.projector import projector
from didact.learners.stages import stages
from didact.learners.widened import leading_weights, widened

__all__ = [
    "HIDDEN",
    "KINDS",
    "AuxiliaryHead",
    "ClassDirections",
    "LinearProbe",
    "ModuleLearner",
    "Moments",
    "Prototypes",
    "answer_with",
    "build",
    "leading_weights",
    "look_ahead",
    "outputs_of",
    "pooled",
    "projector",
    "stage_names",
    "stages",
    "start_near",
    "widened",
]
