"""The mechanism of `cluster_vote`."""

import torch

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.semi_supervised.cluster_vote import ClusterVote, Config
from didact.types import Batch

KINDS, EACH, WORDS = 3, 20, 9
"""Word k is the right one of kind k, and so are two more of like meaning that suit some examples better."""


@mechanism(
    world="A scorer that takes the right word for half of each kind of examples, and two like it for the others.",
    effect="After a vote all examples have the right word.",
    control="With a cluster for each word, nothing is decided by a majority, and half of the words are right.",
    breaks=("drop elect_words", "flip elect_words"),
)
def clusters_elect_the_right_word(seed: int) -> Found:
    """The share of examples whose elected word is right."""
    kind = torch.arange(KINDS).repeat_interleave(EACH)
    order = torch.randperm(len(kind), generator=torch.Generator().manual_seed(seed))
    like = torch.arange(KINDS * EACH) % 4
    # Words of one meaning are near each other; of these each example prefers one.
    best = kind + KINDS * (like - 1).clamp(min=0)
    scores = 10.0 * (torch.arange(WORDS) % KINDS == kind[:, None]).float()
    scores = scores + torch.nn.functional.one_hot(best, WORDS)
    rows = torch.arange(len(kind))
    shown = Batch({"row": rows, "id": rows, "weak.row": rows, "strong.row": rows})

    def measured(clusters: int) -> float:
        teacher, learner = world.teacher(scores[order]), world.student(torch.zeros(len(rows), WORDS))
        method = ClusterVote(Config(clusters=clusters, every=1), learner, teacher, shown, len(rows), seed)
        method.loss(shown)
        method.after_step()
        return float((method.memory.get(rows, "word") == kind[order]).double().mean())

    return Found(effect=measured(KINDS), predicted=near(1.0), control=measured(WORDS), null=(0.4, 0.6))
