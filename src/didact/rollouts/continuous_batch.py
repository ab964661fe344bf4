"""Continuous batching: completions take turns in the slots of a backend until all are written.

Axis letters: M completions, S slots, L tokens of the longest, K steps since the slots were last checked, R slots that
are filled.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.learners.causal import CausalLearner
from didact.rollouts.backends import make_backend
from didact.rollouts.draws import sample_tokens, uniforms
from didact.rollouts.sampling import Sampling
from didact.rollouts.stopping import Stopping

# Where reading tokens means waiting for the device, they are read every this number of steps.
_PATIENCE = 8
# The largest number of prompt tokens in one forward pass.
_READ_AT_ONCE = 8192


class ContinuousBatch:
    """Completions in generation with continuous batching: one that ends makes room for the next.

    Args:
        learner: the model.
        sampling: the options.
        stopping: detects the ends of completions.
        prompts: P of them, already checked.
        keys: int64 [M] on the CPU, of `rollout_keys`, M = P * samples.
        int8: whether the matrices of the model are rounded to whole numbers.
    """

    def __init__(
        self,
        learner: CausalLearner,
        sampling: Sampling,
        stopping: Stopping,
        prompts: Sequence[Sequence[int]],
        keys: Tensor,
        *,
        int8: bool = False,
    ) -> None:
        self.learner, self.sampling, self.stopping, self.int8 = learner, sampling, stopping, int8
        self.prompts, self.keys = prompts, keys
        room = torch.tensor([learner.context - len(prompt) for prompt in prompts])
        self.limits = room.clamp(max=sampling.max_new_tokens).repeat_interleave(sampling.samples)
        size = (len(keys), int(self.limits.max()))
        self.tokens = torch.full(size, learner.tokenizer.pad)
        self.log_probs = torch.zeros(size)
        self.lengths = torch.zeros(len(keys), dtype=torch.int64)
        self.finished = torch.zeros(len(keys), dtype=torch.bool)

    def run(self) -> None:
        """Write all completions."""
        self._open()
        while len(self.live):
            scores = self.backend.step(self.newest)
            self.newest, log_probs = sample_tokens(scores, self._chance(), self.sampling)
            self.recent.append((self.newest, log_probs))
            if self._is_due():
                self._settle()
                self._fill()

    def _open(self) -> None:
        """Build the backend and fill its slots."""
        slots, device = min(self.sampling.slots, len(self.keys)), self.learner.device
        longest = max(map(len, self.prompts)) + self.sampling.max_new_tokens
        self.backend = make_backend(self.learner, slots, min(longest, self.learner.context), int8=self.int8)
        self.completions = torch.full((slots,), -1)
        self.newest = torch.zeros(slots, dtype=torch.int64, device=device)
        self.chances = torch.zeros(slots, self.tokens.shape[1], dtype=torch.float64, device=device)
        self.counts = torch.zeros(slots, 1, dtype=torch.int64, device=device)
        self.recent: list[tuple[Tensor, Tensor]] = []
        self.admitted, self.read_from, self.read_to = 0, 0, 0
        self.read: Any = None
        self.patience = len(self.tokens[0]) if device.type == "cpu" else _PATIENCE
        self._fill()

    def _chance(self) -> Tensor | None:
        """A uniform number for each slot, float64 [S]."""
        if self.sampling.greedy:
            return None
        chance = self.chances.gather(1, self.counts)[:, 0]
        self.counts.add_(1).clamp_(max=self.chances.shape[1] - 1)
        return chance

    def _is_due(self) -> bool:
        """Whether some completion may have ended."""
        if len(self.recent) >= min(self.patience, self.room):
            return True
        if self.newest.device.type != "cpu":
            return False
        ends = self.stopping.can_end[self.newest]
        return bool((ends if len(self.live) == len(ends) else ends & self.occupied).any())

    def _settle(self) -> None:
        """Record the tokens since the last time, and free the slots of completed sequences."""
        tokens, log_probs = (torch.stack(part).cpu()[:, self.live] for part in zip(*self.recent, strict=True))
        self.recent.clear()
        steps, completions = torch.arange(len(tokens))[:, None], self.completions[self.live]
        ends = self.stopping.ends(tokens, lambda place: self._before(int(completions[place])))
        first = torch.where(ends.any(0), ends.int().argmax(0), len(tokens))
        taken = torch.minimum(first + 1, (self.limits - self.lengths)[completions]).clamp(max=len(tokens))
        valid = steps < taken
        rows, columns = completions.expand_as(tokens)[valid], (self.lengths[completions] + steps)[valid]
        self.tokens[rows, columns] = tokens[valid]
        self.log_probs[rows, columns] = log_probs[valid]
        self.lengths[completions] += taken
        self.finished[completions] = first < taken
        over = self.finished[completions] | (self.lengths[completions] == self.limits[completions])
        self.completions[self.live[over]] = -1

    def _before(self, completion: int) -> list[int]:
        return self.tokens[completion, : int(self.lengths[completion])].tolist()

    def _fill(self) -> None:
        """Put waiting completions into free slots, or drop slots that are not needed any more."""
        free = (self.completions < 0).nonzero()[:, 0]
        slots, waiting = len(self.completions), len(self.keys) - self.admitted
        # Several at a time, since reading one prompt costs nearly as much as reading several.
        if waiting and len(free) >= min(waiting, max(1, slots // 8)):
            self._admit(free[:waiting])
        elif not waiting and slots // 4 < len(free) < slots:
            self._shrink()
        self.occupied = self.completions >= 0
        self.live = self.occupied.nonzero()[:, 0]
        written = self.completions[self.live]
        self.room = int((self.limits - self.lengths)[written].min()) if len(written) else 0

    def _shrink(self) -> None:
        kept = (self.completions >= 0).nonzero()[:, 0]
        self.completions = self.completions[kept]
        kept = kept.to(self.newest.device)
        self.backend.keep(kept)
        self.newest, self.chances, self.counts = self.newest[kept], self.chances[kept], self.counts[kept]

    def _admit(self, rows: Tensor) -> None:
        """Put the next completions into slots, int64 [R] on the CPU."""
        completions = torch.arange(self.admitted, self.admitted + len(rows))
        self.admitted += len(rows)
        self.completions[rows] = completions
        self._read(completions // self.sampling.samples, rows)
        last = torch.tensor([self.prompts[i][-1] for i in (completions // self.sampling.samples).tolist()])
        rows = rows.to(self.newest.device)
        self.newest[rows] = last.to(rows.device)
        if not self.sampling.greedy:
            self.chances[rows] = uniforms(self.keys[completions].to(rows.device), self.chances.shape[1])
            self.counts[rows] = 0

    def _read(self, prompts: Tensor, rows: Tensor) -> None:
        """Fill slots with prompts (int64 [R], ascending) except for their last tokens, which the first step appends.

        The last prompts stay in memory for other completions of the same prompt.
        """
        while True:
            there = prompts < self.read_to
            if bool(there.any()):
                source, into = (part[there].to(self.newest.device) for part in (prompts - self.read_from, rows))
                self.backend.place(self.read, source, into)
            prompts, rows = prompts[~there], rows[~there]
            if not len(prompts):
                return
            self._read_on(int(prompts[-1]) + 1)

    def _read_on(self, end: int) -> None:
        """Read the next prompts, but not from `end` on."""
        size = max(1, _READ_AT_ONCE // max(map(len, self.prompts)))
        self.read_from, self.read_to = self.read_to, min(end, self.read_to + size)
        self.read = self.backend.prefill([prompt[:-1] for prompt in self.prompts[self.read_from : self.read_to]])
