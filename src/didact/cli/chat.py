"""Chat with a language model in the terminal."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from didact import terminal
from didact.documents import Document, Values
from didact.errors import DataError
from didact.types import Question

if TYPE_CHECKING:
    from didact.learners.causal import CausalLearner
    from didact.rollouts import Sampler

ENDS = ("/quit", "/exit")


def chat(model: str, *, temperature: float, max_new_tokens: int, seed: int = 0) -> None:
    """Answer each line of the input until its end or `/quit`.

    A model with a chat template reads the whole conversation, without its oldest turns once it exceeds the context, and
    `/new` starts a new one. A model without a chat template reads each line alone. The chat template of a run's student
    gets the arguments of the run.

    Args:
        model: the directory of a run or of a model, or `hf:NAME`.
        temperature: the sampling temperature; 0 is greedy.
        max_new_tokens: the maximal length of an answer.
        seed: the seed of sampling.

    Raises:
        DidactError: There is no such model.
    """
    from didact.parts.models import build_causal
    from didact.rollouts import Sampler, Sampling

    if not model.startswith("hf:") and not Path(model).exists():
        raise DataError(f"There is no run or model {model!r} to chat with; give a directory, or hf:NAME.")
    learner = build_causal(model).eval()
    sampler = Sampler(learner, Sampling(temperature=temperature, max_new_tokens=max_new_tokens), seed=seed)
    interactive = sys.stdin.isatty()
    if interactive:
        terminal.write(f"Chat with {model}. /quit ends, /new starts a new conversation.")
    template = _template_arguments(Path(model))
    messages: list[Document] = []
    for turn, line in enumerate(_lines(interactive)):
        if line == "/new":
            messages = []
            continue
        messages = [*messages, {"role": "user", "content": line}] if learner.tokenizer.chat_template else []
        question = Question(id=turn, prompt=line, messages=tuple(messages), template=template)
        while len(messages) > 2 and len(learner.tokenizer.prompt(question)) + max_new_tokens > learner.context:
            messages = messages[2:]
            question = dataclasses.replace(question, messages=tuple(messages))
        answer = _answer(sampler, learner, question, turn)
        messages = [*messages, {"role": "assistant", "content": answer}] if messages else []
        terminal.write(answer)


def _answer(sampler: "Sampler", learner: "CausalLearner", question: Question, turn: int) -> str:
    return sampler.sample([learner.tokenizer.prompt(question)], [question.id], visit=turn).texts[0]


def _template_arguments(directory: Path) -> Values:
    """The chat template arguments of a run; none for other models."""
    from didact.experiment.records import read_config

    if not (directory / "metrics.jsonl").is_file():
        return {}
    data = read_config(directory)["config"].get("data")
    found = data.get("chat_template_kwargs") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _lines(interactive: bool) -> Iterator[str]:
    """The lines of the input, without empty ones."""
    while True:
        if interactive:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line or line.strip() in ENDS:
            return
        if line.strip():
            yield line.rstrip("\n")
