"""Environments: what answers a language model between its turns, such as tools and games.

An environment is made anew for each completion. Whatever it does (it raises, never returns, says too much, or nothing
that is text) is bounded by `Guarded`, and counted.
"""

import ast
import asyncio
import inspect
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from didact.documents import Document, parse_json
from didact.errors import check_range
from didact.teachers.verifiers.base import TimeLimit, TimeUp
from didact.types import Question


class Environment(Protocol):
    """One conversation."""

    stop: Sequence[str]
    """Strings at which a turn of the model ends, in addition to those of sampling."""

    def reset(self, question: Question) -> str | None:
        """Begin; what is said before the model's first turn, if anything."""
        ...

    def respond(self, text: str) -> str | None:
        """What is said after a turn of the model; None ends the conversation."""
        ...


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Options of an environment.

    Raises:
        ConfigError: an option out of range.
    """

    kind: str = ""
    """`calculator`, or `package.module:factory`; empty for none."""
    turns: int = 4
    """The largest number of turns of the model."""
    tokens: int = 512
    """The largest number of tokens after the prompt, those of the environment included."""
    seconds: float = 5.0
    """How long the environment may take for an answer."""
    characters: int = 2000
    """The largest length of its answers, which are cut there."""

    def __post_init__(self) -> None:
        check_range("environment's turns", self.turns, at_least=1, at_most=1000)
        check_range("environment's tokens", self.tokens, at_least=1)
        check_range("environment's seconds", self.seconds, above=0.0)
        check_range("environment's characters", self.characters, at_least=1)


class Guarded:
    """An environment that never fails: it answers `error: REASON` instead, and counts why.

    Args:
        environment: the guarded one.
        config: its limits.
        failures: counts the reasons.
    """

    def __init__(self, environment: Environment, config: EnvironmentConfig, failures: Counter[str]) -> None:
        self.environment, self.config, self.failures = environment, config, failures
        self.stop = tuple(getattr(environment, "stop", ()))
        self._clock = TimeLimit()

    def reset(self, question: Question) -> str | None:
        """See `Environment`."""
        return self._bounded(self.environment.reset, question)

    def respond(self, text: str) -> str | None:
        """See `Environment`."""
        return self._bounded(self.environment.respond, text)

    def _bounded(self, call: Callable[..., Any], argument: object) -> str | None:
        try:
            found = self._clock.call(self.config.seconds, call, argument)
        except TimeUp:
            return self._failed("took too long")
        except Exception as error:
            return self._failed(f"raised {type(error).__name__}")
        if found is not None and not isinstance(found, str):
            return self._failed(f"returned {type(found).__name__}, which is no text")
        if found is not None and len(found) > self.config.characters:
            self.failures["said too much"] += 1
            found = found[: self.config.characters]
        return found

    def _failed(self, reason: str) -> str:
        self.failures[reason] += 1
        return f"error: it {reason}"


class Calculator:
    """Computes what the model writes between `<<` and `=`, as in GSM8K's annotations: `<<12*7=` is answered `84>>`."""

    stop: Sequence[str] = ("=",)

    def reset(self, question: Question) -> str | None:
        """Say nothing."""
        return None

    def respond(self, text: str) -> str | None:
        """The result and `>>`; `?>>` where there is none; None after a turn that asks nothing."""
        if not text.endswith("="):
            return None
        opened = text.rpartition("<<")
        if not opened[1] or ">>" in opened[2]:
            return ""
        try:
            return f"{calculate(opened[2][:-1])}>>"
        except ValueError:
            return "?>>"


_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_LONGEST = 200


def calculate(expression: str) -> str:
    """The value of a sum of products.

    Args:
        expression: of numbers, `+`, `-`, `*`, `/` and brackets, at most 200 characters.

    Raises:
        ValueError: it is none, or is divided by 0.
    """
    if len(expression) > _LONGEST:
        raise ValueError(f"an expression has at most {_LONGEST} characters, but this has {len(expression)}")
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
        return str(int(value)) if value == int(value) else f"{value:.6g}"
    except (SyntaxError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} cannot be computed") from error


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("only numbers, +, -, *, / and brackets can be computed")


class ToolEnvironment:
    """Calls the functions that the model asks for as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

    This is how the chat templates of Qwen, Hermes and SmolLM write calls. Several calls in a turn are answered
    together.

    Args:
        tools: functions with arguments by name, each named by `__name__`.
    """

    stop: Sequence[str] = ()

    def __init__(self, *tools: Callable[..., object]) -> None:
        self.tools = {tool.__name__: tool for tool in tools}

    def reset(self, question: Question) -> str | None:
        """Say nothing."""
        return None

    def respond(self, text: str) -> str | None:
        """What the tools return, as text or JSON; None after a turn without a call."""
        calls = re.findall(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL)
        return "\n".join(map(self._call, calls)) if calls else None

    def _call(self, words: str) -> str:
        try:
            asked = parse_json(words)
            tool = self.tools[asked["name"]]
            arguments: Document = dict(asked.get("arguments") or {})
        except (ValueError, KeyError, TypeError):
            return f"error: no call of {', '.join(self.tools)}"
        found = tool(**arguments)
        return found if isinstance(found, str) else json.dumps(found)


class FactoryEnvironment(ToolEnvironment):
    """An environment as TRL's `environment_factory` makes them: its public methods but `reset` are tools.

    Args:
        inner: with an optional `reset(**row)`, which may return text, and methods with arguments by name.
    """

    def __init__(self, inner: Any) -> None:
        methods = (getattr(inner, name) for name in dir(inner) if not name.startswith("_") and name != "reset")
        super().__init__(*(method for method in methods if inspect.ismethod(method)))
        self.inner = inner

    def reset(self, question: Question) -> str | None:
        """Call its `reset` with the fields of the question."""
        if not hasattr(self.inner, "reset"):
            return None
        return self.inner.reset(prompt=question.prompt, answer=question.answer, **question.data)


class MessagesEnvironment:
    """An environment of `verifiers`: `env_response(messages, state)`, and `is_completed(messages, state)` if there is.

    Both may be coroutines. The state is a dictionary with `prompt`, `answer`, `info`, `completion` and `turn`.

    Args:
        inner: the environment, which is shared by all conversations.
    """

    stop: Sequence[str] = ()

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.messages: list[Document] = []
        self.state: Document = {}

    def reset(self, question: Question) -> str | None:
        """Begin with the question's messages."""
        prompt = [dict(one) for one in question.messages] or [{"role": "user", "content": question.prompt}]
        self.messages = [*prompt]
        self.state = {"prompt": prompt, "answer": question.answer, "info": dict(question.data), "turn": 0}
        self.state["completion"] = []
        return None

    def respond(self, text: str) -> str | None:
        """What its messages say, joined by line breaks."""
        self._add([{"role": "assistant", "content": text}])
        self.state["turn"] += 1
        if hasattr(self.inner, "is_completed") and _awaited(self.inner.is_completed(self.messages, self.state)):
            return None
        found = _awaited(self.inner.env_response(self.messages, self.state))
        # Earlier versions return the state, too.
        found, self.state = found if isinstance(found, tuple) else (found, self.state)
        said = [{"role": "user", "content": found}] if isinstance(found, str) else [dict(one) for one in found]
        self._add(said)
        return "\n".join(one["content"] for one in said)

    def _add(self, messages: list[Document]) -> None:
        self.messages += messages
        self.state["completion"] += messages


def _awaited(found: Any) -> Any:
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def as_environment(made: Any) -> Environment:
    """Wrap an environment of TRL or `verifiers`; others are taken as they are."""
    if hasattr(made, "respond"):
        return made
    return MessagesEnvironment(made) if hasattr(made, "env_response") else FactoryEnvironment(made)
