"""Curricula: the choice of the next examples."""

from didact.curricula.by_loss import ByLoss
from didact.curricula.labelled_mix import LabelledMix
from didact.curricula.self_paced import SelfPaced
from didact.curricula.uniform import Uniform

__all__ = ["ByLoss", "LabelledMix", "SelfPaced", "Uniform"]
