"""Chats with a model behind a server whose answers are JSON that fits a schema, or no answers at all."""

import json
from collections.abc import Callable, Sequence
from functools import partial

from didact.documents import Document, Values, parse_json
from didact.errors import ConfigError, import_optional
from didact.teachers.remote.asking import Asker, Request, only_choice
from didact.teachers.remote.client import WrongAnswerError
from didact.teachers.verifiers.base import Abstention
from didact.types import Ledger

_FRAME = 64
"""Tokens that a chat template adds to a message at most."""
_TRIAL = ({"role": "user", "content": 'Answer with this JSON: {"ok": true}'},)
_OK = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}


class StructuredChat:
    """Asks for JSON that fits a schema; where the server has structured outputs, it is held to that.

    Args:
        asker: of the server.
        schema: a JSON schema of an object.

    Raises:
        ConfigError: it is no JSON schema.
        MissingExtraError: jsonschema is not installed.
    """

    def __init__(self, asker: Asker, schema: Values) -> None:
        self.asker, self.schema = asker, dict(schema)
        self._json = import_optional("jsonschema", "server", "A structured answer")
        kind = self._json.validators.validator_for(self.schema)
        try:
            kind.check_schema(self.schema)
        except self._json.SchemaError as error:
            raise ConfigError(f"The schema of answers is no JSON schema: {str(error).splitlines()[0]}.") from None
        self._validator = kind(self.schema)
        self._held: bool | None = None

    def ask(
        self, chats: Sequence[Sequence[Values]], ledger: Ledger, by: str, *, calls: bool = True
    ) -> Callable[[], list[Values | Abstention]]:
        """Send conversations.

        Args:
            chats: their messages.
            ledger: is charged tokens and money.
            by: the name of the part that asks.
            calls: see `Asker.gather`.

        Returns:
            Waits for the answers: for each the object, or why there is none.
        """
        held = self.connect(ledger, by)
        futures = self.asker.ask(self._request(messages, self.schema if held else None) for messages in chats)

        def wait() -> list[Values | Abstention]:
            return [self._object(answer) for answer in self.asker.gather(futures, ledger, by, calls=calls)]

        return wait

    def connect(self, ledger: Ledger, by: str) -> bool:
        """Find out whether the server is there, and whether it can be held to a schema; asked again, it sends nothing.

        Args:
            ledger: is charged tokens and money.
            by: the name of the part that asks.
        """
        if self._held is None:
            self._held = self.asker.supports("structured outputs", self._request(_TRIAL, _OK), ledger, by)
            if not self._held:
                self.asker.gather(self.asker.ask([self._request(_TRIAL, None)]), ledger, by)
        return self._held

    def _request(self, messages: Sequence[Values], schema: Values | None) -> Request:
        most = self.asker.config.max_tokens
        body: Document = {"messages": [dict(one) for one in messages], "max_tokens": most, "temperature": 0.0}
        if schema is not None:
            wanted = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        # No tokenizer makes more tokens than bytes.
        size = sum(len(str(one["content"]).encode()) + _FRAME for one in messages)
        return Request("chat/completions", body, partial(_read, most=most), size, most)

    def _object(self, answer: bytes) -> Values | Abstention:
        said = parse_json(answer)
        if said["reason"]:
            return Abstention(said["reason"], said["content"])
        text = said["content"].strip()
        if text.startswith("```") and text.endswith("```"):
            text = text.strip("`").removeprefix("json")
        try:
            found = parse_json(text, unique=True)
        except ValueError as error:
            return Abstention("gave no JSON", f"{error}: {text:.100}")
        wrong = next(self._validator.iter_errors(found), None)
        if wrong is not None or not isinstance(found, dict):
            return Abstention("gave JSON that does not fit the schema", f"{wrong and wrong.message}: {text:.100}")
        return found


def _read(document: Document, most: int) -> bytes:
    """What is stored of an answer: what was said, and why it is no answer, if it is none.

    Raises:
        WrongAnswerError: it is incomplete.
    """
    choice = only_choice(document)
    message, end = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict) or not isinstance(end, str):
        raise WrongAnswerError("an answer is incomplete", f"finish_reason {end!r:.40}")
    content, refusal = message.get("content"), message.get("refusal")
    usage = document.get("usage")
    written = usage.get("completion_tokens") if isinstance(usage, dict) else None
    reason = ""
    if refusal or end == "content_filter":
        reason = "refused"
    elif isinstance(written, int) and written > most:
        reason = "wrote more tokens than it may"
    elif end == "length":
        reason = "was cut off"
    elif not isinstance(content, str) or not content.strip():
        reason = "said nothing"
    return json.dumps({"content": str(refusal or content or ""), "reason": reason}).encode()
