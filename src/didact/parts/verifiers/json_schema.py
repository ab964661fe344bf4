"""Whether the text is JSON that fits the question's schema."""

from didact.parts.kinds import Spec
from didact.teachers.verifiers import JsonSchemaVerifier


def build(spec: Spec) -> JsonSchemaVerifier:
    """A verifier by the `schema` in the question's data."""
    return JsonSchemaVerifier()
