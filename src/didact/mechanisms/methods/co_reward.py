"""The mechanism of `co_reward`."""

from collections import Counter
from types import SimpleNamespace
from typing import Literal

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.methods.language.co_reward import Config, CoReward
from didact.rollouts import Rollouts
from didact.types import Question

P, G, V = 20, 7, 3


@mechanism(
    world="Random answers to two wordings of each question, each of which has an answer that is given most often.",
    effect="A completion is paid if it agrees with the most frequent answer to the other wording.",
    control="With votes of its own, each wording agrees with itself, which is something else.",
    breaks=("shuffle cross_view_vote", "flip cross_view_vote"),
)
def the_other_wording_votes(seed: int) -> Found:
    """The share of completions that are paid as the other wording's answers say."""
    generator = torch.Generator().manual_seed(seed)
    # Three different answers for the first three, and a clear majority among the rest.
    liked = torch.randint(V, (2, P), generator=generator)
    answers = torch.stack([torch.arange(G).expand(2, P, G) % V, liked.unsqueeze(-1).expand(2, P, G)])
    given = torch.where(torch.arange(G) < V, answers[0], answers[1])
    wanted = torch.stack(
        [given[k, i] == Counter(given[1 - k, i].tolist()).most_common(1)[0][0] for k in range(2) for i in range(P)]
    ).flatten()
    asked = [Question(id=i, prompt=f"{i}", data={"paraphrase": f"{i}?"}) for i in range(P)]

    def write(questions: list[Question], *, turn: int, verify: bool) -> Rollouts:
        chosen = given[turn].flatten()
        old = torch.zeros(P * G, 2)
        batch = actions(torch.arange(P).repeat_interleave(G), chosen, log_probs=old)
        return Rollouts(batch, tuple(map(str, chosen.tolist())), tuple(q for q in questions for _ in range(G)))

    def measured(votes: Literal["other", "own"]) -> float:
        method = CoReward(Config(votes=votes), Policy(torch.zeros(P, V)))
        paid = method.collect(asked, SimpleNamespace(write=write))["reward"]
        return float((paid == wanted.float()).float().mean())

    return Found(effect=measured("other"), predicted=near(1.0), control=measured("own"), null=(0.0, 0.9))
