"""The mechanism of `curry_dpo`."""

from typing import Literal

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import LETTERS, LetterWriter, actions, speaker
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.curry_dpo import Config, CurryDPO
from didact.types import Batch, Question, Questions

P, V, BETA = 60, 4, 0.5


def questions(seed: int) -> Questions:
    """Prompts, each with four rated letters."""
    rated = [
        [{"text": letter, "rating": rating} for letter, rating in zip(LETTERS, row, strict=False)]
        for row in normal(P, V, seed=seed).tolist()
    ]
    return Questions(items=tuple(Question(id=i, prompt=str(i), data={"rated": row}) for i, row in enumerate(rated)))


@mechanism(
    world="A policy that is a table; four rated answers to each prompt.",
    effect="From the first stage to the last, the gap between the ratings of a pair falls from the largest of its "
    "prompt to the smallest.",
    control="The pairs come in random order.",
    breaks=("skip CurryDPO.after_step",),
)
def pairs_become_harder(seed: int) -> Found:
    """The fall of the mean gap, as a share of that from the largest to the smallest of each prompt."""
    asked, rating = questions(seed), normal(P, V, seed=seed).sort(1).values
    whole = float((rating[:, -2] - rating[:, 0]).mean())
    writer = LetterWriter([question.prompt for question in asked])

    def measured(order: Literal["easy_first", "shuffled"]) -> float:
        method, gaps = CurryDPO(Config(order=order), speaker(torch.zeros(P, V)), asked), []
        for step in range(3):
            method.fraction, writer.round = step / 2, step
            method.after_step()
            gaps.append(float(method.collect(list(asked), writer)["gap"].mean()))
        return (gaps[0] - gaps[-1]) / whole

    return Found(effect=measured("easy_first"), predicted=near(1.0), control=measured("shuffled"), null=(-0.4, 0.4))


@mechanism(
    world="A policy that is a table and has learned its pairs by heart; a new stage begins.",
    effect="The reference is the policy of now, so that a pair is as new as the first: it moves apart by beta / 2.",
    control="The reference is that of the start, by which the pairs are learned.",
    breaks=("skip load_module_state", "flip dpo_loss", "drop dpo_loss"),
)
def a_new_stage_begins_from_the_policy_of_now(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    chosen, rejected = torch.rand(P, V, generator=torch.Generator().manual_seed(seed)).argsort(1)[:, :2].T
    rows, closed = torch.arange(P), torch.zeros(P, V)
    closed[rows, chosen], closed[rows, rejected] = -BETA / 2 / P, BETA / 2 / P
    other = {f"rejected.{name}": tensor for name, tensor in actions(rows, rejected).items()}
    pairs = Batch({**actions(rows, chosen, gap=torch.ones(P)), **other})

    def measured(renew: bool) -> float:
        policy = speaker(torch.zeros(P, V))
        method = CurryDPO(Config(beta=BETA, renew=renew), policy, questions(seed))
        with torch.no_grad():
            policy.table.sub_(closed * (8.0 * P / BETA))
        method.fraction = 0.5
        method.after_step()
        return coefficient(gradient(method, pairs, "preference"), closed)

    return Found(effect=measured(True), predicted=near(1.0), control=measured(False), null=(-0.2, 0.2))
