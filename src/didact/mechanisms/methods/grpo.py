"""The mechanism of `grpo`."""

from typing import Literal

import torch

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, TwoSteps, collected, policy_gradient
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.grpo import GRPO, Config
from didact.types import Batch

P, V = 12, 5


@mechanism(
    world="A policy that is an even table; rewards are in another unit for each prompt.",
    effect="Advantages are in standard deviations of their group, so that no unit and no level of the rewards counts.",
    control="Without the scale, prompts that pay ten times as much weigh ten times as much.",
    breaks=("flip GRPO._term", "drop GRPO._term"),
)
def groups_weigh_alike(seed: int) -> Found:
    """The gradient's coefficient on the closed form, of prompts that pay tenfold."""
    reward = normal(P, V, seed=seed)
    closed = -(reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True) / (P * V)

    def measured(scale: bool) -> float:
        method = GRPO(Config(scale=scale), Policy(torch.zeros(P, V)))
        return coefficient(policy_gradient(method, 10.0 * reward + 3.0), closed)

    return Found(effect=measured(True), predicted=near(1.0), control=measured(False), null=above(5.0))


@mechanism(
    world="Completions of two tokens by an even policy; the second one loses what the first one earns.",
    effect="Under the supervision of steps the second token learns from its own reward, whatever came before.",
    control="Under that of outcomes all completions earn the same, so that nothing is learned.",
    breaks=("flip GRPO._term", "drop GRPO._term"),
)
def steps_learn_from_what_follows(seed: int) -> Found:
    """The coefficient of the second tokens' gradient on the closed form."""
    reward = normal(P, V, seed=seed)
    prompts, tokens = torch.arange(P).repeat_interleave(V), torch.arange(V).repeat(P)
    ids = torch.stack([torch.zeros_like(tokens), tokens, tokens], 1)
    mask, zero = (ids.new_tensor([[0, 1, 1]]) > 0).expand(ids.shape), torch.zeros(P * V)
    rows = {"input_ids": ids, "completion_mask": mask, "id": prompts, "group": prompts, "step": mask, "reward": zero}
    rows |= {"step_reward": torch.stack([zero, reward.flatten(), -reward.flatten()], 1)}
    rows |= {"log_probs": torch.full(ids.shape, -torch.tensor(float(V)).log().item())}
    batch = Batch({**rows, "temperature": zero + 1.0, "trust": zero + 1.0})
    spread = (2.0 * reward.square().sum(1, keepdim=True) / (2 * V - 1)).sqrt()
    closed = (reward - reward.mean(1, keepdim=True)) / spread / (2 * P * V)

    def measured(supervision: Literal["outcome", "process"]) -> float:
        method = GRPO(Config(supervision=supervision), TwoSteps(torch.zeros(2 * P, V)))
        return coefficient(gradient(method, collected(method, batch), "policy")[1::2], closed)

    return Found(effect=measured("process"), predicted=near(1.0), control=measured("outcome"), null=(-0.5, 0.5))
