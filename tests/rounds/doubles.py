"""Scripted stand-ins for the actors of rounds: a bandit that is played, and a pool whose labels are revealed."""

import torch

from didact.types import Batch, Examples, Ledger


class Bandit:
    """A `Player` in E environments of two arms, each of which pays 1 with a chance of its own.

    An environment alternates between two rooms, in which the arms have changed places; where it stands, and the chance
    of what comes next, are its state.
    """

    charges = frozenset({"env_steps"})

    def __init__(self, chances=(0.2, 0.8), environments=16, seed=0):
        self.round = self.version = 0
        self.chances = torch.tensor(chances)
        self.room = torch.arange(environments) % 2
        self.generator = torch.Generator().manual_seed(seed)
        self.ledger, self.by = Ledger(), "bandit"

    def play(self, policy, horizon):
        self.ledger.charge("env_steps", horizon * len(self.room), self.by)
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

    charges = frozenset({"labels"})

    def __init__(self, examples: Examples):
        self.round = self.version = 0
        self.examples = examples
        self.known = torch.zeros(examples.size, dtype=torch.bool)
        self.ledger, self.by = Ledger(), "oracle"

    def inputs(self):
        """All examples, without their labels."""
        return Batch({"id": self.examples.tensors["id"], "x": self.examples.tensors["x"]})

    def reveal(self, rows):
        self.ledger.read(self.examples.tensors["id"][rows].tolist(), self.by)
        self.known[rows] = True
        return self.examples.batch(rows)

    def state_dict(self):
        return {"known": self.known}

    def load_state_dict(self, state):
        self.known = state["known"].clone()
