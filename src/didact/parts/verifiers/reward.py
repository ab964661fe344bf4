"""The reward of a model that `reward_model` trained on preferences, of any size and sign."""

from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions
from didact.rollouts import RewardModelVerifier

FORM = "reward:STUDENT"
EXAMPLE = "reward:runs/NAME"


def build(spec: Spec) -> RewardModelVerifier:
    """A verifier by a language model.

    Raises:
        ConfigError: The model has not been trained.
    """
    return verifier_by(spec, steps=False)


def verifier_by(spec: Spec, *, steps: bool) -> RewardModelVerifier:
    """A verifier by the language model of a spec, of steps or of whole completions.

    Raises:
        ConfigError: The model has not been trained.
    """
    (inner,) = spec.inner
    part = ForQuestions(field=spec.field).build(inner)
    if part.warm_starts:
        raise spec.error(
            f"a reward model is trained by reward_model first; give its run, such as {spec.kind}:runs/NAME."
        )
    return RewardModelVerifier(part.model, name=str(spec), steps=steps)
