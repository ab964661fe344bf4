"""The mechanisms of `stable_reinforce`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions, collected
from didact.mechanisms.world import coefficient, gradient
from didact.methods.language.stable_reinforce import Config, StableReinforce
from didact.types import Batch

P, V, DRIFT = 40, 5, 9.0


def rollouts(seed: int, reward: torch.Tensor, drift: float) -> Batch:
    """An action of each prompt, of an even policy under which it is likelier than when it was sampled."""
    chosen = torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    old = torch.full((P, 2), -torch.tensor(float(V)).log().item() - drift)
    return actions(torch.arange(P), chosen, reward=reward, log_probs=old, finished=torch.ones(P).bool())


def measured(batch: Batch, part: torch.Tensor, advantage: torch.Tensor, ratio: float, config: Config) -> float:
    """The gradient's coefficient on the closed form, of some prompts."""
    method = StableReinforce(config, Policy(torch.zeros(P, V)))
    found = gradient(method, collected(method, batch), "policy")
    error = torch.nn.functional.one_hot(batch["input_ids"][:, 1], V) - 1.0 / V
    closed = -ratio * advantage[:, None] * error / P
    return coefficient(found[part], closed[part])


@mechanism(
    world="An even policy; actions that were rare when they were sampled, with ratios of 8,000, half of them bad.",
    effect="Bad actions beyond the largest ratio move nothing.",
    control="With a largest ratio beyond all, they move the policy by ratio times advantage, without a bound.",
    breaks=("flip bounded_clip_loss", "drop bounded_clip_loss"),
)
def ratios_beyond_the_largest_move_nothing(seed: int) -> Found:
    """The coefficient of bad actions."""
    reward = (torch.rand(P, generator=torch.Generator().manual_seed(seed + 50)) < 0.5).float()
    advantage, bad = (reward - reward.mean()) / reward.std(correction=0), reward == 0
    batch, ratio = rollouts(seed, reward, DRIFT), float(torch.tensor(DRIFT).exp())
    found, free = (measured(batch, bad, advantage, ratio, Config(largest=largest)) for largest in (1000.0, 1e30))
    return Found(effect=found, predicted=near(0.0), control=free, null=near(1.0))


@mechanism(
    world="An even policy; one completion fails, and all others succeed.",
    effect="The failure, an outlier of more than six standard deviations, moves nothing.",
    control="Where no advantage is an outlier, it moves the policy by its advantage.",
    breaks=("flip bounded_clip_loss", "drop bounded_clip_loss"),
)
def outliers_move_nothing(seed: int) -> Found:
    """The coefficient of the failure."""
    failed = torch.arange(P) == seed
    reward = 1.0 - failed.float()
    advantage, batch = (reward - reward.mean()) / reward.std(correction=0), rollouts(seed, reward, 0.0)
    found, free = (measured(batch, failed, advantage, 1.0, Config(outlier=outlier)) for outlier in (3.0, 100.0))
    return Found(effect=found, predicted=near(0.0), control=free, null=near(1.0))
