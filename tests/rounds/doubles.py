"""Scripted stand-ins for the actors of rounds: a bandit that is played, and a pool whose labels are revealed."""

import torch

from didact.types import Batch, Cost, Examples


class Bandit:
    """A `Player` in E environments of two arms, each of which pays 1 with a chance of its own.

    An environment alternates between two rooms, in which the arms have changed places; where it stands, and the chance
    of what comes next, are its state.
    """

    def __init__(self, chances=(0.2, 0.8), environments=16, seed=0):
        self.round = self.version = 0
        self.chances = torch.tensor(chances)
        self.room = torch.arange(environments) % 2
        self.generator = torch.Generator().manual_seed(seed)

    def play(self, policy, horizon):
        steps = [self.step(policy) for _ in range(horizon)]
        rows = {key: torch.stack([step[key] for step in steps], 1).flatten(0, 1) for key in steps[0]}
        return Batch({key.replace("_x", ".x"): tensor for key, tensor in rows.items()})

    def step(self, policy):
        x, number = self.observe(), torch.arange(len(self.room))
        log_probs = policy(Batch({"id": number, "x": x})).logits.log_softmax(-1)
        action = torch.multinomial(log_probs.exp(), 1, generator=self.generator)[:, 0]
        arm = action ^ self.room
        reward = torch.rand(len(arm), generator=self.generator) < self.chances[arm]
        self.room = 1 - self.room
        none = torch.zeros(len(arm), dtype=torch.bool)
        found = {"id": number, "x": x, "next_x": self.observe(), "action": action, "reward": reward.float()}
        return {**found, "log_prob": log_probs.gather(1, action[:, None])[:, 0], "terminated": none, "truncated": none}

    def observe(self):
        return torch.nn.functional.one_hot(self.room, 2).float()

    def state_dict(self):
        return {"room": self.room, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.room = state["room"]
        self.generator.set_state(state["generator"])


class Oracle:
    """A `Pool` that knows all labels, and charges those that it tells for the first time."""

    def __init__(self, examples: Examples):
        self.round = self.version = 0
        self.examples = examples
        self.known = torch.zeros(examples.size, dtype=torch.bool)
        self.cost = Cost()

    @property
    def teachers(self):
        return [self]

    def inputs(self):
        """All examples, without their labels."""
        return Batch({"id": self.examples.tensors["id"], "x": self.examples.tensors["x"]})

    def reveal(self, rows):
        before = int(self.known.sum())
        self.known[rows] = True
        self.cost.labels += int(self.known.sum()) - before
        return self.examples.batch(rows)

    def state_dict(self):
        return {"known": self.known}

    def load_state_dict(self, state):
        self.known = state["known"].clone()
