"""Talking to a language model in the terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from didact.errors import DataError
from didact.types import Question

if TYPE_CHECKING:
    from didact.learners.causal import CausalLearner
    from didact.rollouts import Sampler

ENDS = ("/quit", "/exit")


def chat(model: str, *, temperature: float, max_new_tokens: int, seed: int = 0) -> None:
    """Answer what is written, line by line, until the end of the input or `/quit`.

    A model with a chat template is given the whole conversation, without its beginning once that is too long for the
    context, and `/new` begins another one; a model without is given each line alone.

    Args:
        model: the directory of a run or of a model, or `hf:NAME`.
        temperature: 0 answers greedily.
        max_new_tokens: the longest answer.
        seed: of the draws.

    Raises:
        DidactError: there is no such model.
    """
    from didact.parts.models import build_causal
    from didact.rollouts import Sampler, Sampling

    if not model.startswith("hf:") and not Path(model).exists():
        raise DataError(f"There is no run or model {model!r} to talk to; give a directory, or hf:NAME.")
    learner = build_causal(model).eval()
    sampler = Sampler(learner, Sampling(temperature=temperature, max_new_tokens=max_new_tokens), seed=seed)
    talking = sys.stdin.isatty()
    if talking:
        sys.stdout.write(f"Talking to {model}. /quit ends, /new forgets what was said.\n")
    said: list[dict[str, str]] = []
    for turn, line in enumerate(_lines(talking)):
        if line == "/new":
            said = []
            continue
        said = [*said, {"role": "user", "content": line}] if learner.tokenizer.chat_template else []
        while len(said) > 2 and _length(learner, said) + max_new_tokens > learner.context:
            said = said[2:]
        question = Question(id=turn, prompt=line, messages=tuple(said))
        answer = _answer(sampler, learner, question, turn)
        said = [*said, {"role": "assistant", "content": answer}] if said else []
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _answer(sampler: "Sampler", learner: "CausalLearner", question: Question, turn: int) -> str:
    return sampler.sample([learner.tokenizer.prompt(question)], [question.id], visit=turn).texts[0]


def _length(learner: "CausalLearner", said: list[dict[str, str]]) -> int:
    return len(learner.tokenizer.prompt(Question(id=0, prompt="", messages=tuple(said))))


def _lines(talking: bool) -> Iterator[str]:
    """What is written, without what is empty."""
    while True:
        if talking:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line or line.strip() in ENDS:
            return
        if line.strip():
            yield line.rstrip("\n")
