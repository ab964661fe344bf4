"""The rewards of the lines of a completion by a model that `reward_model` trained on labels of steps, from 0 to 1."""

from didact.parts.kinds import Spec
from didact.parts.verifiers.reward import verifier_by
from didact.rollouts import RewardModelVerifier

FORM = "process:STUDENT"
EXAMPLE = "process:runs/NAME"


def build(spec: Spec) -> RewardModelVerifier:
    """A verifier of steps by a language model.

    Raises:
        ConfigError: The model has not been trained.
    """
    return verifier_by(spec, steps=True)
