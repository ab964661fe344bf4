"""Learners: any module, small built-in nets, causal language models, and Hugging Face classification models."""

from didact.learners.auxiliary import AuxiliaryHead, pool_features, stage_names
from didact.learners.causal import CausalLearner, check_length, describe_causal, save_causal
from didact.learners.decoder import Decoder, DecoderConfig
from didact.learners.detector import AnomalyDetector, AnomalyScore
from didact.learners.dino import DinoHead, init_near
from didact.learners.directions import ClassDirections
from didact.learners.image_generator import ImageGenerator
from didact.learners.intervention import middle_layer, replace_activation
from didact.learners.looking_ahead import holding, step_ahead, trained_weights
from didact.learners.maml import maml_step
from didact.learners.masking import random_mask
from didact.learners.module import HIDDEN, ModuleLearner
from didact.learners.moments import Moments
from didact.learners.monte_carlo import dropped_scores
from didact.learners.normalising import averaged_statistics, normalisation_layers
from didact.learners.probe import LinearProbe
from didact.learners.projector import projection_head, projector
from didact.learners.prototypes import PrototypeNet
from didact.learners.reversal import ReversedClassifier, reversal_schedule, reverse_gradient
from didact.learners.sharing import share_layers
from didact.learners.stages import find_stages, match_maps
from didact.learners.subspace import SubSpace, partition
from didact.learners.supernet import SubnetSize, Supernet, queries_tap, token_mask
from didact.learners.taps import TapConfig
from didact.learners.test_time import NeighbourTuned
from didact.learners.tokenizers import ByteTokens, HubTokens, NumberTokens, Tokens
from didact.learners.virtual_step import functional_forward, virtual_step
from didact.learners.widening import leading_weights, widen

__all__ = [
    "TapConfig",
    "HIDDEN",
    "AnomalyScore",
    "AnomalyDetector",
    "AuxiliaryHead",
    "ByteTokens",
    "CausalLearner",
    "ClassDirections",
    "Decoder",
    "DecoderConfig",
    "HubTokens",
    "ImageGenerator",
    "LinearProbe",
    "ModuleLearner",
    "NumberTokens",
    "NeighbourTuned",
    "Moments",
    "PrototypeNet",
    "DinoHead",
    "SubnetSize",
    "SubSpace",
    "Supernet",
    "Tokens",
    "functional_forward",
    "check_length",
    "match_maps",
    "describe_causal",
    "dropped_scores",
    "random_mask",
    "replace_activation",
    "middle_layer",
    "leading_weights",
    "virtual_step",
    "partition",
    "pool_features",
    "projection_head",
    "projector",
    "queries_tap",
    "averaged_statistics",
    "normalisation_layers",
    "ReversedClassifier",
    "reversal_schedule",
    "reverse_gradient",
    "save_causal",
    "share_layers",
    "stage_names",
    "step_ahead",
    "find_stages",
    "holding",
    "init_near",
    "maml_step",
    "token_mask",
    "trained_weights",
    "widen",
]
