"""Verifiers: teachers that compute rewards of completions, and never crash over one."""

from didact.teachers.verifiers.answers import ExactVerifier, JsonSchemaVerifier, NumericVerifier, RegexVerifier
from didact.teachers.verifiers.base import Abstention, FunctionVerifier, Verifier
from didact.teachers.verifiers.combining import GatedVerifier, LengthPenalty, WeightedVerifier
from didact.teachers.verifiers.python_tests import PythonVerifier
from didact.teachers.verifiers.reasoning import ReasoningVerifier
from didact.teachers.verifiers.sandbox import Outcome, Sandbox, Strength, Suite, strength
from didact.teachers.verifiers.trying import Complaint, try_verifier

__all__ = [
    "Abstention",
    "Complaint",
    "ExactVerifier",
    "FunctionVerifier",
    "GatedVerifier",
    "JsonSchemaVerifier",
    "LengthPenalty",
    "NumericVerifier",
    "Outcome",
    "PythonVerifier",
    "ReasoningVerifier",
    "RegexVerifier",
    "Sandbox",
    "Strength",
    "Suite",
    "Verifier",
    "WeightedVerifier",
    "strength",
    "try_verifier",
]
