"""Curricula: what says which example comes next."""

from didact.curricula.labelled_mix import LabelledMix
from didact.curricula.uniform import Uniform

__all__ = ["LabelledMix", "Uniform"]
