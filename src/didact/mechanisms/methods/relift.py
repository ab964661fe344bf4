"""The mechanism of `relift`."""

from types import SimpleNamespace
from typing import Any

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions, every_action, shuffled
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.relift import Config, ReLIFT
from didact.types import Batch, Question, Questions

P, V = 40, 6


@mechanism(
    world="A policy that is a table; all actions of every other prompt fail, and two of six are right at the others.",
    effect="The demonstration of a prompt whose completions all fail is learned by cross-entropy: its gradient is p - "
    "y.",
    control="That of a prompt at which a completion is right is not learned at all.",
    breaks=("bypass append_off_policy", "skip _Failed.add", "flip ReLIFT.loss"),
)
def failed_prompts_are_demonstrated(seed: int) -> Found:
    """The gradient's coefficient on the cross-entropy of the demonstrations of failed prompts, and of the others."""
    table, fails = normal(P, V, seed=seed), torch.arange(P) % 2 == 0
    right = shuffled(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).expand(P, V), seed) * ~fails.unsqueeze(1)
    shown = torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    closed = (table.softmax(1) - torch.nn.functional.one_hot(shown, V)) / fails.sum()
    rollouts = Batch({**every_action(right), "correct": right.flatten()})

    def encoded(asked: list[Question], _texts: list[str]) -> SimpleNamespace:
        ids = torch.tensor([question.id for question in asked])
        return SimpleNamespace(batch=actions(ids, shown[ids]))

    policy: Any = Policy(table)
    policy.context = 2
    policy.tokenizer = SimpleNamespace(eos=0, prompt=lambda _q: [0], completion=lambda _q, _text: [1])
    items = tuple(Question(id=i, prompt=f"{i}", completion="y") for i in range(P))
    method = ReLIFT(Config(demonstrations=P // 2), policy, Questions(items=items))
    asked = SimpleNamespace(
        write=lambda _questions: SimpleNamespace(batch=rollouts),
        data_completions=lambda questions: ["y"] * len(questions),
        encode=encoded,
    )
    found = gradient(method, method.collect(items, asked), "demonstration")
    return Found(
        effect=coefficient(found[fails], closed[fails]),
        predicted=near(1.0),
        control=coefficient(found[~fails], closed[~fails]),
        null=near(0.0),
    )
