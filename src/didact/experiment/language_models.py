"""The models of a run of language models: by their specs, and trained first where that is asked for."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didact import catalogue, sources
from didact.errors import ConfigError, RunError, check_range
from didact.experiment.keeping import Keeper, beginnings
from didact.experiment.language_judging import STUDENT
from didact.learners import causal
from didact.learners.decoder import Decoder
from didact.loop import Budget, FitResult, OptimizerConfig, fit
from didact.rollouts import Writer
from didact.types import Cost, Questions, Source, Verdict, Window

if TYPE_CHECKING:
    from didact.experiment.language import LanguageReady

RATES = {"decoder": 1e-3, "hf": 2e-5, "lora": 2e-4}
"""The learning rate that suits each kind of learner where none is given."""
WARM_RATE = 3e-3
"""By which a small decoder is trained first, for a number of steps."""
STEADY_RATE = 2e-3
"""And until it is right often enough, by a rate that does not fall."""
RISE = 0.01
"""Share of `LIMIT` over which that rate rises from zero."""
LIMIT = 5000
"""Steps after which a model that is still not right often enough is given up."""
BATCH = 64
"""Answers of the data in each step of a model that is trained first."""
EVERY = 25
"""Steps between two looks at how often it is right."""
ASKED = 256
"""Validation questions that it is asked at each look."""
_FIRST = re.compile(r"warm:(\d+)(%?):(.+)")


@dataclass(frozen=True)
class Beginning:
    """A model, and how much it is to learn from the data's own answers before the run."""

    role: str
    """`learner`, `teacher`, `teacher 2` and so on, for messages."""
    spec: str
    model: Any
    steps: int = 0
    """0 where it is used as it is, or where `goal` decides."""
    goal: float = 0.0
    """Share of validation questions to be right on; 0 where `steps` decide."""
    seed: int = 0
    """By which it was drawn."""

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.steps > 0 or self.goal > 0.0

    def check(self, ready: "LanguageReady") -> None:
        """Refuse a goal that could not be measured.

        Raises:
            ConfigError: no verifier, or no validation questions.
        """
        told = ready.verifier
        if self.goal and not (told and len(ready.data.validation)):
            lacks = "validation questions" if told else "a verifier"
            raise ConfigError(
                f"{self.role} is {self.spec!r}, but without {lacks} nobody can tell when it is right often enough; "
                "give some, or a number of steps, as in warm:500:decoder:4x128."
            )

    def teach(self, ready: "LanguageReady", store: Keeper | None, progress: bool) -> Cost:
        """Fit the model to the completions of the training questions, or take what a run before has kept.

        Args:
            ready: the run.
            store: of the run, where it has one; new decoders are kept for all runs too, by what decides them.
            progress: whether to show a progress bar.

        Raises:
            RunError: it was not right often enough after `LIMIT` steps.
        """
        name = re.sub(r"[^a-zA-Z0-9_%]+", "-", f"{self.role}-{self.spec}")
        shared = self._shared(ready)
        stores = [one for one in (store, shared) if one is not None]
        found = next((cost for one in stores if (cost := one(name, self.model, None)) is not None), None)
        cost = self._taught(ready, progress) if found is None else found
        for one in stores:
            one(name, self.model, None, cost)
        return cost

    def _shared(self, ready: "LanguageReady") -> Keeper | None:
        """Where all runs keep what begins like this; None for what is decided elsewhere: weights, or answers."""
        if not re.match(r"warm:\d+%?:decoder:", self.spec):
            return None
        config, data = ready.config, ready.data
        judged = data.questions.verifier or config.verifier
        if self.goal and judged and judged.startswith("<"):
            return None
        parts = [data.train, data.validation] if self.goal else [data.train]
        told = [judged, config.sampling["max_new_tokens"], config.sampling["stop"]]
        asked = [[sources.fingerprint_questions(part), [question.id for question in part]] for part in parts]
        return beginnings(
            [self.spec, self.seed, config.seed, config.precision, config.device, asked, told if self.goal else []]
        )

    def _taught(self, ready: "LanguageReady", progress: bool) -> Cost:
        reached = _Reached(self, ready) if self.goal else None
        result = self._fit(ready, reached, progress)
        if result.status == "interrupted":
            raise KeyboardInterrupt
        if reached is not None:
            result.cost.labels += reached.labels
            if result.status != "stopped":
                raise RunError(
                    f"{self.role} is {self.spec!r}, but after {LIMIT} steps on the data's answers it was right on "
                    f"{reached.best:.0%} of {len(reached.asked)} validation questions at most; ask for less, or give a "
                    "larger model."
                )
        return result.cost

    def _fit(self, ready: "LanguageReady", reached: "_Reached | None", progress: bool) -> FitResult:
        config, info = ready.config, catalogue.find("sft")
        small = isinstance(self.model.module, Decoder)
        optimizer = OptimizerConfig(lr=WARM_RATE if small else RATES["hf"])
        if reached is not None:
            lr = STEADY_RATE if small else RATES["hf"]
            optimizer = OptimizerConfig(lr=lr, schedule="constant", warmup=RISE)
        self.model.requires_grad_(True)
        return fit(
            info.method_type(info.config_type(), self.model),
            completions(ready, self.model, BATCH),
            budget=Budget(steps=self.steps or LIMIT),
            optimizer=optimizer,
            monitors=[] if reached is None else [reached],
            log_every=EVERY,
            clip_norm=None if reached is None else 1.0,
            seed=config.seed,
            device=config.device,
            precision=config.precision,
            progress=progress,
        )


class _Reached:
    """Stops the training of a model that is right often enough; a `Monitor`."""

    def __init__(self, beginning: Beginning, ready: "LanguageReady") -> None:
        self.model, self.goal, self.best = beginning.model, beginning.goal, 0.0
        self.asked: Questions = ready.data.validation.select(range(min(ASKED, len(ready.data.validation))))
        greedy = dataclasses.replace(ready.sampling, temperature=0.0, samples=1)
        self.writer = Writer(self.model, greedy, ready.examiner())

    @property
    def labels(self) -> int:
        """Questions whose answers decided when to stop."""
        return len(self.asked)

    def observe(self, window: Window) -> Verdict:
        """Ask, and count right answers."""
        batch = self.writer.write(self.asked).batch
        share = float((batch["reward"] >= 1.0).float().mean())
        self.best = max(self.best, share)
        level = "stop" if share >= self.goal else "ok"
        return Verdict(level, "beginning", share, f"It is right on {share:.0%} of the validation questions.")


def spec_of(name: str, spec: str) -> str:
    """A learner's spec, with a directory in the place of `hf:DIRECTORY`, and a run for what it delivered."""
    if match := re.fullmatch(r"(lora:\d+:)(?!hf:)(.+)", spec):
        return match[1] + spec_of(name, match[2])
    path = Path(spec)
    if path.is_dir():
        if (path / STUDENT / "config.json").is_file():
            return f"hf:{path / STUDENT}"
        if (path / "config.json").is_file() and not (path / "metrics.jsonl").is_file():
            return f"hf:{path}"
        raise ConfigError(
            f"{name} is {spec!r}, a directory that holds neither a model (config.json) nor a finished run of one."
        )
    if "/" in spec and ":" not in spec:
        raise ConfigError(
            f"{name} is {spec!r}, but there is no such directory; give that of a model or of a finished run, or "
            f"hf:{spec} for one of the Hugging Face hub."
        )
    return spec


def model_of(role: str, spec: str, seed: int) -> Beginning:
    """A model by its spec, with what it is to learn first.

    Raises:
        ConfigError: a spec that is not understood.
    """
    match = _FIRST.fullmatch(spec)
    if match is None:
        if spec.startswith("warm:"):
            raise ConfigError(
                f"{role} is {spec!r}, but a model is trained first as warm:1000:decoder:4x128, for so many steps, or "
                "as warm:50%:decoder:4x128, until it is right so often."
            )
        return Beginning(role, spec, causal.build_causal(spec_of(role, spec), seed=seed))
    amount = int(match[1])
    if match[2]:
        check_range(f"the share in {role}={spec!r}, in percent,", amount, at_least=1, at_most=100)
    model = causal.build_causal(spec_of(role, match[3]), seed=seed)
    goal, steps = (amount / 100.0, 0) if match[2] else (0.0, amount)
    return Beginning(role, spec, model, steps, goal, seed)


def completions(ready: "LanguageReady", learner: Any, batch_size: int, **kind: Any) -> Source:
    """Batches of the training questions with the data's own answers, as a model reads them."""
    questions = ready.data.train
    return sources.CompletionSource(
        questions,
        learner.tokenizer,
        batch_size=min(batch_size, len(questions)),
        max_length=learner.context,
        seed=ready.config.seed,
        **kind,
    )
