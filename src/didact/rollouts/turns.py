"""Rollouts of several turns: a model and an environment take turns, and only the model's tokens are learned.

Axis letters: B rollouts, T positions.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from didact.documents import Values
from didact.errors import ConfigError
from didact.learners.tokenizers import HubTokens
from didact.rollouts.completions import Completions
from didact.rollouts.draws import rollout_keys
from didact.rollouts.environments import EnvironmentConfig, Guarded
from didact.types import Question


@dataclass
class Conversation:
    """What a model and an environment have said so far."""

    question: Question
    environment: Guarded
    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    """The tokens after the prompt."""
    own: list[bool] = field(default_factory=list)
    """For each whether it is the model's."""
    log_probs: list[float] = field(default_factory=list)
    messages: list[Values] = field(default_factory=list)
    """The turns after the prompt, of a conversation in a chat template."""
    text: str = ""
    """The model's last turn, in a chat template; otherwise all that was said."""
    turns: int = 0
    finished: bool = False
    """Whether it ended by itself."""
    over: bool = False

    def hear(self, ids: Sequence[int]) -> None:
        """Append tokens of the environment."""
        self.ids += ids
        self.own += [False] * len(ids)
        self.log_probs += [0.0] * len(ids)


def converse(
    questions: Sequence[Question],
    prompts: Sequence[Sequence[int]],
    tokenizer: Any,
    make: Callable[[], Guarded],
    sample: Callable[[Sequence[Sequence[int]], Sequence[int]], Completions],
    config: EnvironmentConfig,
    *,
    context: int,
    seed: int,
) -> list[Conversation]:
    """Let a model and environments take turns.

    Args:
        questions: B of them, one of each conversation; equal ones are told apart.
        prompts: their token ids.
        tokenizer: of the model.
        make: makes an environment.
        sample: samples one completion of each sequence of ids, from different random numbers for different keys.
        config: the limits of turns and tokens.
        context: the longest sequence that the model reads.
        seed: of the keys.

    Raises:
        ConfigError: the chat template renders earlier turns differently once the environment has answered.
    """
    found = [Conversation(one, make(), list(prompt)) for one, prompt in zip(questions, prompts, strict=True)]
    for one in found:
        if said := one.environment.reset(one.question):
            _answer(one, said, tokenizer)
    repeats = _repeats(questions)
    for turn in range(config.turns):
        going = [number for number, one in enumerate(found) if not one.over and _has_room(one, config, context)]
        if not going:
            break
        ids = torch.tensor([found[number].question.id for number in going])
        keys = rollout_keys(ids, seed=seed, visit=turn, samples=max(repeats) + 1).view(len(going), -1)
        chosen = keys[torch.arange(len(going)), torch.tensor([repeats[number] for number in going])]
        completions = sample([[*found[n].prompt, *found[n].ids] for n in going], chosen.tolist())
        for place, number in enumerate(going):
            _take_turn(found[number], completions, place, tokenizer, last=turn + 1 == config.turns)
    return found


def _repeats(questions: Sequence[Question]) -> list[int]:
    """For each question, how often it occurred before."""
    seen: dict[int, int] = {}
    found = []
    for question in questions:
        found.append(seen.get(question.id, 0))
        seen[question.id] = found[-1] + 1
    return found


def _has_room(one: Conversation, config: EnvironmentConfig, context: int) -> bool:
    return len(one.ids) < config.tokens and len(one.prompt) + len(one.ids) < context


def _take_turn(one: Conversation, found: Completions, place: int, tokenizer: Any, *, last: bool) -> None:
    """Append a completion and what the environment says to it."""
    length, text = int(found.lengths[place]), found.texts[place]
    ids = found.tokens[place, :length].tolist()
    one.ids += ids
    one.own += [True] * length
    one.log_probs += found.log_probs[place, :length].tolist()
    one.turns += 1
    ended, chat = ids[-1] in tokenizer.ends, _is_chat(one, tokenizer)
    one.text = text if chat else one.text + text
    one.finished = bool(found.finished[place])
    # A text cannot go on behind its end, and a turn that was cut off asks nothing.
    if not one.finished or (ended and not chat):
        one.over = True
        return
    said = one.environment.respond(text if chat else one.text)
    one.over = said is None or last
    if said is not None:
        one.finished = False
        if not last:
            one.messages.append({"role": "assistant", "content": text})
            _answer(one, said, tokenizer, ended=ended)


def _is_chat(one: Conversation, tokenizer: Any) -> bool:
    return bool(one.question.messages) and isinstance(tokenizer, HubTokens) and tokenizer.template is not None


def _answer(one: Conversation, said: str, tokenizer: Any, *, ended: bool = True) -> None:
    """Append what the environment says: as it is, or as the chat template renders it."""
    if not _is_chat(one, tokenizer):
        one.hear(tokenizer.encode(said))
        one.text += said
        return
    role = "tool" if one.messages else "user"
    before, after = _rendered(one, tokenizer), _rendered(one, tokenizer, {"role": role, "content": said})
    if after[: len(before)] != before:
        place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
        raise ConfigError(
            f"The chat template of {tokenizer.name!r} renders token {place} of question {one.question.id} differently "
            "once the environment has answered, so that the model would learn something else than it has written; give "
            "chat_template_kwargs, or another template."
        )
    missing = [] if ended else [tokenizer.template.end or tokenizer.eos]
    one.hear([*missing, *after[len(before) :]])
    one.messages.append({"role": role, "content": said})


def _rendered(one: Conversation, tokenizer: Any, *more: Values) -> list[int]:
    """The ids of a conversation up to the end of the last turn, or with further messages and the next prompt."""
    messages = (*one.question.messages, *one.messages)
    if more or not one.messages:
        whole = dataclasses.replace(one.question, messages=(*messages, *more))
        return tokenizer.template.prompt(whole) if more else list(one.prompt)
    earlier = dataclasses.replace(one.question, messages=messages[:-1])
    return [*tokenizer.template.prompt(earlier), *tokenizer.template.completion(earlier, messages[-1])]


def conversation_rows(conversations: Sequence[Conversation], *, pad: int) -> dict[str, Tensor]:
    """Conversations as rows that are padded on the right.

    Args:
        conversations: B of them.
        pad: the id of padding.

    Returns:
        `input_ids`, `attention_mask`, `completion_mask` (the model's tokens) and `log_probs` [B, T]; `finished` and
        `turns` [B].
    """
    starts = [len(one.prompt) for one in conversations]
    ids = [torch.tensor([*one.prompt, *one.ids]) for one in conversations]
    own = [torch.tensor([False] * n + one.own) for n, one in zip(starts, conversations, strict=True)]
    logs = [torch.tensor([0.0] * n + one.log_probs) for n, one in zip(starts, conversations, strict=True)]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "completion_mask": pad_sequence(own, batch_first=True),
        "log_probs": pad_sequence(logs, batch_first=True),
        "finished": torch.tensor([one.finished for one in conversations]),
        "turns": torch.tensor([float(one.turns) for one in conversations]),
    }
