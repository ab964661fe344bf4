"""The options of the engine that samples rollouts, and what an engine does."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from didact.errors import ConfigError, check_choice, check_range
from didact.losses.policy.importance import CORRECTIONS, Correction
from didact.rollouts.completions import Completions
from didact.rollouts.sampling import Sampling

SERVER = "server:"
"""What the kind of a server begins with; its address follows."""
Reload = Literal["none", "sglang", "vllm"]
RELOADS = ("none", "sglang", "vllm")


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of the engine that samples rollouts.

    Raises:
        ConfigError: an unknown kind, an option out of range, or a combination that can't work.
    """

    kind: str = "own"
    """`own`: didact's sampler; `int8`: the same with matrices of whole numbers; `server:URL`: an OpenAI-compatible
    server."""
    behind: int = 0
    """1: the rollouts of the next round are sampled while the student learns from the present one."""
    correction: Correction = "sequence_mask"
    """How tokens are weighted where the rollouts are of other weights or arithmetic; see `importance_weights`."""
    cap: float = 3.0
    """The largest weight."""
    reload: Reload = "none"
    """How a server takes new weights."""
    folder: str = ""
    """The folder that new weights are written to, which the server reads too; empty for a temporary one. For vLLM, the
    folder that it serves: a copy of the student, which is overwritten."""
    model: str = ""
    """The model's name at the server; empty for the first that it lists."""
    concurrency: int = 16
    """The largest number of requests at once."""
    timeout: float = 120.0
    """The longest that a request may take, in seconds."""
    retries: int = 4
    """How often a failed request is repeated."""

    def __post_init__(self) -> None:
        served = self.kind.startswith((f"{SERVER}http://", f"{SERVER}https://"))
        if self.kind not in ("own", "int8") and not served:
            raise ConfigError(
                f"engine is {self.kind!r}, but must be own, int8 or server:URL, with http:// or https://."
            )
        if "@" in self.kind.partition("//")[2].partition("/")[0]:
            raise ConfigError("engine's address has a password in it; put a key into DIDACT_SERVER_KEY instead.")
        check_choice("engine's correction", self.correction, CORRECTIONS)
        check_choice("engine's reload", self.reload, RELOADS)
        check_range("engine's behind", self.behind, at_least=0, at_most=1)
        check_range("engine's cap", self.cap, at_least=1.0)
        check_range("engine's concurrency", self.concurrency, at_least=1)
        check_range("engine's timeout", self.timeout, above=0.0, below=float("inf"))
        check_range("engine's retries", self.retries, at_least=0, at_most=100)
        if not served and (self.reload != "none" or self.folder or self.model):
            raise ConfigError(f"engine is {self.kind!r}, but reload, folder and model are a server's; leave them out.")
        if served and self.behind and self.reload == "none":
            raise ConfigError(
                "engine's behind is 1, but reload is none: the server would keep its first weights, ever further "
                "behind; give reload=vllm or reload=sglang."
            )

        if self.reload == "vllm" and not self.folder:
            raise ConfigError(
                "engine's reload is vllm, which reads new weights from the folder that it serves; copy the student to "
                "a folder, serve that, and give it as folder=FOLDER."
            )

    @property
    def url(self) -> str:
        """The address of the server; empty without one."""
        return self.kind.removeprefix(SERVER) if self.kind.startswith(SERVER) else ""

    @property
    def exact(self) -> bool:
        """Whether rollouts are sampled by the student itself, with its present weights."""
        return self.kind == "own" and not self.behind


class Engine(Protocol):
    """Samples completions by the student's weights, or by what is close to them."""

    failures: Counter[str]
    """How often requests failed, by reason; empty for engines in this process."""

    def load(self, version: int) -> None:
        """Take over the student's present weights.

        Args:
            version: the optimizer steps that the student has taken; nothing is done if they were loaded before.
        """
        ...

    def sample(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, *, visit: int
    ) -> Completions:
        """Sample with the weights that were loaded last; see `Sampler.sample`. May be called in another thread."""
        ...
