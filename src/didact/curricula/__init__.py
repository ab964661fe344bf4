"""Curricula: the choice of the next examples."""

from didact.curricula.among import Among
from didact.curricula.by_loss import ByLoss
from didact.curricula.labelled_mix import LabelledMix
from didact.curricula.self_paced import SelfPaced
from didact.curricula.uniform import Uniform
from didact.curricula.weighted import Weighted

__all__ = ["Among", "ByLoss", "LabelledMix", "SelfPaced", "Uniform", "Weighted"]
