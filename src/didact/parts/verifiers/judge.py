"""A judge behind a server that talks like OpenAI's: a language model's score from 0 to 1, given as JSON."""

from didact.parts.kinds import Spec
from didact.teachers.remote.config import RemoteConfig
from didact.teachers.remote.judge import JudgeVerifier

FORM = "judge:URL,OPTION=VALUE"
EXAMPLE = "judge:http://127.0.0.1:8000,model=NAME,calls=1000"


def build(spec: Spec) -> JudgeVerifier:
    """The judge; nothing is sent yet."""
    return JudgeVerifier(RemoteConfig.read(spec.argument, spec.field), str(spec))
