"""Trackers: where a run also sends its metrics, such as TensorBoard, Weights & Biases or MLflow.

What a run knows is in its directory; a tracker is a view of it for people who watch several runs, so a tracker that
fails is left, and the run goes on.
"""

import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from didact.documents import Document, Values, parse_json
from didact.errors import MissingExtraError, check_choice

EXTRAS = {"tensorboard": "track", "wandb": "wandb", "mlflow": "mlflow"}
"""The trackers, by the name of their package, and the extra that installs each."""

_NONE = "none"
_IDS = "trackers.json"
_PARAMETERS = 100
"""The largest number of parameters that MLflow takes at once."""
_LENGTH = 500
"""The length to which values of parameters are cut for MLflow."""


class Tracker(Protocol):
    """What is open for one run."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Send the figures of a step."""
        ...

    def close(self, *, done: bool) -> None:
        """End the run; `done` is whether its budget was used up."""
        ...


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        ConfigError: A name is unknown.
        MissingExtraError: A package is not installed.
    """
    for name in names:
        check_choice("track", name, (*EXTRAS, _NONE))
        if name != _NONE and find_spec(name) is None:
            raise MissingExtraError(name, EXTRAS[name], f"track = {name}")


class Tracking:
    """Sends the figures of a run to its trackers, which are opened at the first figures.

    Args:
        names: some of `EXTRAS`, or `none`; by default TensorBoard, if it is installed.
        path: the directory of the run. Trackers are told its `config.json`, and at the end its `result.json`.
    """

    def __init__(self, names: Sequence[str], path: Path) -> None:
        self._path, self._step = path, 0
        self._names = [name for name in names or ("tensorboard",) if name != _NONE]
        self._expected = bool(names)
        self._open: dict[str, Tracker] = {}

    def log(self, record: Values) -> None:
        """Send what is a number in a flat mapping with `step`."""
        self._step = record["step"]
        figures = {name: value for name, value in record.items() if isinstance(value, int | float) and name != "step"}
        for name in tuple(self._names):
            try:
                if name not in self._open:
                    self._open[name] = _TRACKERS[name](self._path, self._step)
                self._open[name].log(self._step, figures)
            except Exception as error:
                self._leave(name, error)

    def close(self) -> None:
        """Send the metrics on the test examples, if there are any, and end the run in all trackers."""
        for name, tracker in tuple(self._open.items()):
            try:
                result = _read(self._path / "result.json")
                figures = {f"test/{metric}": value for metric, value in (result.get("metrics") or {}).items()}
                if figures:
                    tracker.log(self._step, figures)
                # A run from Python may have no description, and no result.
                tracker.close(done=result.get("status") == "done" or not (self._path / "config.json").exists())
            except Exception as error:
                self._leave(name, error)
        self._open.clear()

    def _leave(self, name: str, error: Exception) -> None:
        """Leave a tracker that failed, in whatever way it failed."""
        self._names.remove(name)
        self._open.pop(name, None)
        if self._expected or not isinstance(error, ImportError):
            reason = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(
                f"The tracker {name} failed at step {self._step} and gets no more figures: {reason} "
                f"The run goes on; all figures are in {self._path / 'metrics.jsonl'}.",
                stacklevel=3,
            )


class _TensorBoard:
    """Writes events into a folder of the run."""

    def __init__(self, path: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(path / "tensorboard"), purge_step=step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, done: bool) -> None:
        self._writer.close()


class _Wandb:
    """Sends to Weights & Biases, or writes into a folder of the run where there is no key, for `wandb sync`.

    `WANDB_PROJECT`, `WANDB_MODE` and the other variables of wandb mean what they mean elsewhere.
    """

    def __init__(self, path: Path, _step: int) -> None:
        import wandb

        offline = "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "didact"),
            name=path.name,
            id=_known_id(path, "wandb", lambda: uuid.uuid4().hex[:8])[0],
            resume="allow",
            dir=str(path),
            config=_read(path / "config.json"),
            mode="offline" if offline else None,
            settings=wandb.Settings(console="off"),
        )
        # A resumed run repeats steps, which wandb's own count of steps would refuse.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({"step": step, **figures})

    def close(self, *, done: bool) -> None:
        self._run.finish(exit_code=0 if done else 1)


class _MLflow:
    """Sends to the server or store of MLflow that `MLFLOW_TRACKING_URI` names, by default MLflow's own."""

    def __init__(self, path: Path, _step: int) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        self._run, known = _known_id(path, "mlflow", lambda: self._create(path))
        if known:
            self._client.update_run(self._run, status="RUNNING")

    def _create(self, path: Path) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "didact")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        run = self._client.create_run(experiment, run_name=path.name).info.run_id
        values = [Param(key, value[:_LENGTH]) for key, value in _flat(_read(path / "config.json"))]
        for first in range(0, len(values), _PARAMETERS):
            self._client.log_batch(run, params=values[first : first + _PARAMETERS])
        return run

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    def close(self, *, done: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if done else "KILLED")


_TRACKERS: dict[str, Callable[[Path, int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


def _known_id(path: Path, tracker: str, make: Callable[[], str]) -> tuple[str, bool]:
    """The id of a run in a tracker, which a resumed run goes on with; and whether it was known."""
    known = _read(path / _IDS)
    if tracker in known:
        return str(known[tracker]), True
    made = make()
    (path / _IDS).write_text(json.dumps({**known, tracker: made}) + "\n")
    return made, False


def _read(path: Path) -> Document:
    found = parse_json(path.read_bytes()) if path.is_file() else None
    return found if isinstance(found, dict) else {}


def _flat(values: Values, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The values of a nested document by their dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
