"""A disk that takes no more: the run pauses, and what was saved stays whole."""

import resource
import signal

from conftest import net, quiet_fit
from didact.learners import ModuleLearner
from didact.loop import Budget, load_checkpoint
from didact.loop.checkpoint import list_checkpoints
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource


def run(problem, directory, steps, **options):
    method = Supervised(Config(), ModuleLearner(net(width=4000)))
    source = BatchSource(problem, batch_size=20)
    return quiet_fit(
        method,
        source,
        budget=Budget(steps=steps),
        run=directory,
        checkpoint_every=5,
        monitors=[],
        **options,
    )


def test_a_checkpoint_that_cannot_be_written_pauses_the_run(problem, run_directory):
    """The kernel refuses to let files grow past a limit, as a full disk would."""
    run(problem, run_directory, 10)
    whole = [path.name for path in list_checkpoints(run_directory / "checkpoints")]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        result = run(problem, run_directory, 30, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert result.status == "paused"
    assert "could not be written" in result.reason
    assert f"didact resume {run_directory}" in result.reason
    assert [path.name for path in list_checkpoints(run_directory / "checkpoints")] == whole
    assert load_checkpoint(run_directory / "checkpoints")["ledger"]["cost"]["steps"] == 10
    assert not list((run_directory / "checkpoints").glob(".*partial*"))
    assert run(problem, run_directory, 30, resume=True).steps == 30


def test_figures_that_cannot_be_written_pause_the_run(problem, run_directory, monkeypatch):
    from didact.loop.run import RunDirectory

    def full(self, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunDirectory, "log", full)
    result = run(problem, run_directory, 100, log_every=10)
    assert (result.status, result.steps) == ("paused", 10)
    assert "No space left on device" in result.reason
