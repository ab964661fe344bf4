"""The mechanism of `evocot`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy
from didact.mechanisms.world import gradient
from didact.methods.language.evocot import Config, EvoCoT
from didact.rollouts import Rollouts, pad_rows
from didact.types import Batch, Question

P, STEPS, SAMPLES = 60, 6, 8
LETTERS = "abc"
GOOD, BAD = "\n".join("c" * STEPS), "\n".join("b" * STEPS)
"""The chain that leads to the answer, and one that does not."""


class _Writer:
    """Writes a letter for each missing step, by the learner's table; shown the answer, it writes a given chain."""

    def __init__(self, table: Tensor, chain: str, seed: int) -> None:
        self.learner: Any = Policy(table)
        self.learner.context = 2 * STEPS
        self.learner.tokenizer = SimpleNamespace(
            eos=0,
            prompt=lambda _question: [0],
            encode=lambda text: [LETTERS.index(letter) for letter in text.split()],
        )
        self.chain, self.generator = chain, torch.Generator().manual_seed(seed)

    def write(
        self,
        questions: Sequence[Question],
        *,
        samples: int | None = None,
        turn: int = 0,
        prompts: Sequence[Sequence[int]] = (),
        verify: bool = True,
    ) -> Rollouts:
        count = samples or SAMPLES
        asked = tuple(question for question in questions for _ in range(count))
        if turn == 1:
            return Rollouts(Batch({"id": torch.tensor([q.id for q in asked])}), (self.chain,) * len(asked), asked)
        starts = [prompt for prompt in prompts for _ in range(count)]
        ids, lengths = torch.tensor([q.id for q in asked]), torch.tensor([1 + STEPS - len(start) for start in starts])
        log_probs = self.learner.table.detach()[ids].log_softmax(1)
        drawn = log_probs.exp().multinomial(STEPS, replacement=True, generator=self.generator)
        rows = pad_rows(starts, drawn, lengths, pad=0, log_probs=log_probs.gather(1, drawn))
        rows |= {"id": ids, "group": ids, "temperature": torch.ones(len(ids))}
        letters = zip(drawn.tolist(), lengths.tolist(), strict=True)
        return Rollouts(Batch(rows), tuple("\n".join(LETTERS[i] for i in row[:n]) for row, n in letters), asked)

    def verify(self, rollouts: Rollouts) -> Rollouts:
        right = torch.tensor([float(text == GOOD) for text in rollouts.texts])
        found = {"reward": right, "correct": right, "trust": torch.ones(len(right))}
        return Rollouts(Batch({**rollouts.batch, **found}), rollouts.texts, rollouts.questions)


def _asked() -> list[Question]:
    return [Question(id=i, prompt=f"{i}", answer="c") for i in range(P)]


@mechanism(
    world="Chains of six steps; an even policy takes each right in one of three cases, and so all in one of 729.",
    effect="Behind all steps but the last of its own chain, a prompt that fails has right and wrong completions, and "
    "the right letter is raised: at 1 - (1/3)^8 - (2/3)^8 of all prompts.",
    control="Chains that do not lead to the answer are not kept.",
    breaks=("flip EvoCoT.loss", "drop EvoCoT.loss"),
)
def chains_give_failed_prompts_a_gradient(seed: int) -> Found:
    """The share of prompts whose right letter is raised."""

    def measured(chain: str) -> float:
        writer = _Writer(torch.zeros(P, len(LETTERS)), chain, seed)
        method = EvoCoT(Config(chains=40), writer.learner)
        found = gradient(method, method.collect(_asked(), writer), "policy")
        return float((found[:, 2] < 0).float().mean())

    return Found(effect=measured(GOOD), predicted=(0.86, 1.0), control=measured(BAD), null=(0.0, 0.1))


@mechanism(
    world="Chains of six steps, and a learner that takes every step right.",
    effect="Each round in which enough completions are right takes one more step away.",
    control="A learner that takes every step wrong keeps all steps but one.",
    breaks=("skip Chains.shorten",),
)
def prefixes_shrink_with_success(seed: int) -> Found:
    """The number of steps that are taken away after three rounds."""

    def measured(favourite: int) -> float:
        table = torch.zeros(P, len(LETTERS))
        table[:, favourite] = 50.0
        writer = _Writer(table, GOOD, seed)
        method = EvoCoT(Config(), writer.learner)
        method.chains.texts = dict.fromkeys(range(P), GOOD)
        for _ in range(3):
            method.collect(_asked(), writer)
        return float(method.chains.removed)

    return Found(effect=measured(2), predicted=near(4.0), control=measured(0), null=near(1.0))
