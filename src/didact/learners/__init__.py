"""Learners: any module, small built-in nets, causal language models, and Hugging Face classification models."""

from didact.learners.auxiliary import AuxiliaryHead, pooled, stage_names
from didact.learners.causal import CausalLearner, check_length, describe_causal, save_causal
from didact.learners.decoder import Decoder, DecoderConfig
from didact.learners.detector import Alarm, AnomalyDetector
from didact.learners.directions import ClassDirections
from didact.learners.hiding import hidden_parts
from didact.learners.image_generator import ImageGenerator
from didact.learners.interrupted import continue_from, middle_of
from didact.learners.looking_ahead import answer_with, look_ahead
from didact.learners.module import HIDDEN, ModuleLearner
from didact.learners.moments import Moments
from didact.learners.nearby import Prototypes, start_near
from didact.learners.probe import LinearProbe
from didact.learners.projector import projector
from didact.learners.sharing import share_layers
from didact.learners.stages import common_maps, stages
from didact.learners.stepped import stepped
from didact.learners.subspace import SubSpace, partition
from didact.learners.supernet import Size, Supernet, queries_tap, tokens_present
from didact.learners.tokenizers import ByteTokens, HubTokens, NumberTokens, Tokens
from didact.learners.widened import leading_weights, widened

__all__ = [
    "HIDDEN",
    "Alarm",
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
    "Moments",
    "Prototypes",
    "Size",
    "SubSpace",
    "Supernet",
    "Tokens",
    "answer_with",
    "check_length",
    "common_maps",
    "describe_causal",
    "hidden_parts",
    "continue_from",
    "middle_of",
    "leading_weights",
    "look_ahead",
    "partition",
    "pooled",
    "projector",
    "queries_tap",
    "save_causal",
    "share_layers",
    "stage_names",
    "stages",
    "start_near",
    "stepped",
    "tokens_present",
    "widened",
]
