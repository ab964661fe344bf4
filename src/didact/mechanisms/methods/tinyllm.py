"""The mechanism of `tinyllm`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import LETTERS, LetterWriter, speaker
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.tinyllm import Config, TinyLLM
from didact.types import Question, Questions

P, V = 30, 5
WEIGHTS = {"ann": 0.5, "bob": 2.0}


@mechanism(
    world="A policy that is a table with rows of their own for the answer to a prompt, and for each of two teachers' "
    "rationales.",
    effect="Each teacher's rationale is a task of its own, learned where its name is in front of the prompt and with "
    "its own weight.",
    control="The rationales have no weight, which leaves fine-tuning on the answers.",
    breaks=("flip token_log_probs", "drop token_log_probs", "bypass prefix_prompt"),
)
def rationales_are_tasks_of_their_own(seed: int) -> Found:
    """The coefficient of the gradient at the rows of rationales on the closed form."""
    table, names = normal(3 * P, V, seed=seed), tuple(WEIGHTS)
    said = torch.randint(V, (3, P), generator=torch.Generator().manual_seed(seed))
    words = [[LETTERS[letter] for letter in row] for row in said.tolist()]
    asked = Questions(
        items=tuple(
            Question(id=i, prompt=str(i), answer=answer, data={"rationales": dict(zip(names, told, strict=True))})
            for i, (answer, *told) in enumerate(zip(*words, strict=True))
        )
    )
    onehot = torch.zeros(3 * P, V).scatter(1, said.flatten().unsqueeze(1), 1.0)
    weight = torch.tensor([0.0, *WEIGHTS.values()]).repeat_interleave(P).unsqueeze(1)
    closed = weight * (table.softmax(1) - onehot) / P
    writer = LetterWriter([begin + str(i) for begin in ("", *(f"{name}: " for name in names)) for i in range(P)])

    def measured(share: float) -> float:
        config = Config(solvers=names, rationale=tuple(share * one for one in WEIGHTS.values()))
        method = TinyLLM(config, speaker(table), asked)
        found = gradient(method, method.collect(list(asked), writer))
        return coefficient(found * (weight > 0), closed)

    return Found(effect=measured(1.0), predicted=near(1.0), control=measured(0.0), null=(-0.01, 0.01))
