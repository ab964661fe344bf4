"""A teacher behind a server that talks like OpenAI's: tokens, the classes of examples, or embeddings."""

from functools import cache

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import translate
from didact.teachers.remote.asking import Asker
from didact.teachers.remote.config import RemoteConfig
from didact.teachers.remote.examples import RemoteEncoder, RemoteLabelTeacher, embedding_request, unpack
from didact.teachers.remote.tokens import RemoteTokenTeacher
from didact.types import Ledger

FORM = "server:URL,OPTION=VALUE"
EXAMPLE = "server:http://127.0.0.1:8000,model=NAME,calls=1000"


@cache
def _width(words: str) -> int:
    asker = Asker(RemoteConfig.read(words, "teacher"), "The teacher")
    return len(unpack(asker.gather(asker.ask([embedding_request("1")]), Ledger(), "teacher")[0]))


def width(spec: Spec, trust: tuple[str, ...]) -> int:
    """How many numbers its embeddings have."""
    return _width(spec.argument)


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The teacher of the purpose; nothing is sent yet."""
    config = RemoteConfig.read(spec.argument, spec.field)
    if isinstance(purpose, ForQuestions):
        if purpose.student is None:
            raise spec.error("it predicts the student's tokens, and there is no student.")
        model = RemoteTokenTeacher(config, purpose.student.tokenizer, purpose.student.head.vocabulary)
        return Part(model=model, spec=spec.text)
    examples = purpose.examples
    if config.gives == "embeddings" or examples.task == "embedding":
        return Part(model=RemoteEncoder(config, examples), spec=spec.text)
    return Part(model=translate(RemoteLabelTeacher(config, examples), examples.scale), spec=spec.text)
