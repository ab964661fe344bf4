"""Where the seeds of claims are run: in this process, in several, or on a Ray cluster."""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from didact import catalogue
from didact.catalogue import CatalogueEntry
from didact.claiming import Claim
from didact.claims import code, recording, sharing, tuning
from didact.documents import Document, Values
from didact.errors import ConfigError, DataError, DidactError, RunError, check_range, import_optional
from didact.evaluation import ArmResult
from didact.experiment import comparing
from didact.experiment.arms import Arm
from didact.types import Cost

SPLIT_SEED = 0
"""The seed of the splits of all claims: no seed trains on the test examples of another."""
_POLL = 0.2

OnResult = Callable[[str, str, int, ArmResult], None]
"""Called with each result as it comes: method, arm, seed, result."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One seed of a claim; it can be sent to another process."""

    key: str
    """The key by which another process finds the same method: its name, or the path of its file."""
    world: str
    seed: int
    arms: Mapping[str, Arm]
    stages: Mapping[str, Sequence[str]]
    """By arm, the options with the shares of its earlier stages."""
    records: bool
    """Whether the functions that the arms call are recorded."""


Tasks = Sequence[tuple[Any, Task]]
"""Tasks, each with whatever is to be told beside its result."""
Workers = Callable[[Tasks, OnResult | None], Iterator[tuple[Any, int, Document | DidactError]]]
"""Runs tasks, and yields what was told beside each, its seed, and its results, or the error that ended it."""


def workers_of(jobs: int, ray: str | None = None) -> Workers:
    """The workers that are asked for.

    Args:
        jobs: the number of processes, at least 1, without a cluster.
        ray: the address of a Ray cluster, as in `ray.init`: `local` starts one on this machine, `auto` finds the one
            that runs here, and `ray://HOST:10001` or `HOST:6379` is another.

    Raises:
        ConfigError: There are no such workers.
    """
    check_range("jobs", jobs, at_least=1)
    if ray is None:
        return _here if jobs == 1 else functools.partial(_in_processes, jobs)
    if jobs != 1:
        raise ConfigError(f"jobs is {jobs}, but a Ray cluster runs one process on each of its cores; leave it out.")
    return functools.partial(_on_ray, ray)


def _here(tasks: Tasks, on_result: OnResult | None) -> Iterator[tuple[Any, int, Document | DidactError]]:
    threads, failed = torch.get_num_threads(), set[str]()
    torch.set_num_threads(1)
    try:
        for beside, task in tasks:
            if task.key not in failed:
                found = teach(task, on_result)
                if isinstance(found, DidactError):
                    failed.add(task.key)
                yield beside, task.seed, found
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    jobs: int, tasks: Tasks, on_result: OnResult | None
) -> Iterator[tuple[Any, int, Document | DidactError]]:
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(news,)) as pool:
        futures = {pool.submit(teach, task): (beside, task.seed) for beside, task in tasks}
        try:
            yield from _collected(futures, news, on_result)
        except BrokenProcessPool:
            raise RunError(
                "One of the processes was killed, perhaps because memory ran out. The finished seeds are stored; run "
                "it again with fewer jobs to continue."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(
    address: str, tasks: Tasks, on_result: OnResult | None
) -> Iterator[tuple[Any, int, Document | DidactError]]:
    if not tasks:
        return
    ray = import_optional("ray", "ray", "Replicating on a Ray cluster")
    queue = import_optional("ray.util.queue", "ray", "Replicating on a Ray cluster", package="ray")
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"ray is {address!r}, and no cluster answers there: {error}") from None
    try:
        news = queue.Queue()
        remote = ray.remote(num_cpus=1)(_teach_remotely)
        refs = [remote.remote(task, news) for _, task in tasks]
        futures = {ref.future(): (beside, task.seed) for ref, (beside, task) in zip(refs, tasks, strict=True)}
        yield from _collected(futures, news, on_result)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RunError(
            f"The Ray cluster lost a seed: {reason} The finished seeds are stored; run it again to continue."
        ) from None
    finally:
        ray.shutdown()


def _teach_remotely(task: Task, news: Any) -> Document | DidactError:
    _begin(news)
    return teach(task)


def _collected(
    futures: Mapping[Future[Any], tuple[Any, int]], news: Any, on_result: OnResult | None
) -> Iterator[tuple[Any, int, Document | DidactError]]:
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
        while not news.empty():
            name, arm, seed, metrics = news.get()
            if on_result is not None:
                on_result(name, arm, seed, ArmResult(metrics, Cost()))
        for future in ended:
            yield *futures[future], future.result()


_news: Any = None


def _begin(news: Any) -> None:
    """Initialise a process."""
    global _news
    _news = news
    if hasattr(news, "cancel_join_thread"):
        # Unread items must not keep an interrupted process alive.
        news.cancel_join_thread()
    torch.set_num_threads(1)


def claim_of(info: CatalogueEntry) -> Claim:
    """The claim of a method.

    Raises:
        ConfigError: It has none.
    """
    if info.claim is None:
        known = ", ".join(other.name for other in catalogue.listing() if other.claim is not None)
        raise ConfigError(f"The method {info.name!r} has no claim to replicate. These have one: {known or 'none'}.")
    return info.claim


def teach(task: Task, on_result: OnResult | None = None) -> Document | DidactError:
    """Run arms of a claim with one seed; an error is returned, so that the other claims continue.

    Arms that another claim has too are run once, as long as no code changes; those of custom methods always, and all of
    them with the first seed, when the functions that they call are recorded.
    """
    info = catalogue.find_claim(task.key)
    claim = claim_of(info)
    world, seed, arms, stages, first = task.world, task.seed, task.arms, task.stages, task.records
    settings = {"split_seed": SPLIT_SEED, **claim.settings}
    known = {} if first or info.family == "yours" else sharing.find(world, seed, settings, arms, stages)
    if not code.methods_in(tuning.stated(arm) for name, arm in arms.items() if name not in known):
        known = known if len(known) == len(arms) else {}  # A baseline is run beside a method.
    for name, one in known.items():
        _tell(info.name, name, seed, decode(one["result"], name), on_result)
    left = {name: arm for name, arm in arms.items() if name not in known}
    if not left:
        return _seed(known, arms, settings)
    ran: recording.Ran = {}
    try:
        with recording.recorded(ran) if first else contextlib.nullcontext():
            compared = comparing.compare(
                left,
                seeds=[seed],
                reference=claim.baseline if claim.baseline in left else next(iter(left)),
                metric=claim.metric,
                baselines="none",
                stages={name: options for name, options in stages.items() if name in left},
                on_result=lambda arm, seed, result: _tell(info.name, arm, seed, result, on_result),
                data=world,
                **{"progress": False, "device": "cpu", **settings},
            )
    except DidactError as error:
        # Its message alone: not every error can be sent from one process to another.
        where = "" if world == claim.world else f"The claim cannot be run on the world {world!r}. "
        return RunError(f"{where}{error}")
    for failure in compared.comparison.failures.values():
        return RunError(failure)
    results = {arm: found[0] for arm, found in compared.comparison.results.items()}
    last = {arm: round(found.cost.steps * (1.0 - compared.early.get(arm, 0.0))) for arm, found in results.items()}
    more = {"teachers": compared.teachers, "data": compared.description["data"]}
    made = {arm: {"result": {**encode(found), "last_stage": last[arm]}, **more} for arm, found in results.items()}
    if info.family != "yours":
        sharing.keep(world, seed, settings, left, stages, made)
    return {**_seed({**known, **made}, arms, settings), "ran": code.shared(ran)}


def _seed(found: Mapping[str, Document], arms: Mapping[str, Arm], settings: Values) -> Document:
    """What is stored of a seed, from its arms, with the teachers that they or the settings name."""
    named = {str({**settings, **tuning.stated(arm)}.get("teacher")) for arm in arms.values()}
    teachers = {spec: figures for one in found.values() for spec, figures in one["teachers"].items() if spec in named}
    return {
        "arms": {name: found[name]["result"] for name in arms},
        "teachers": teachers,
        "data": next(iter(found.values()))["data"],
    }


def _tell(name: str, arm: str, seed: int, result: ArmResult, on_result: OnResult | None) -> None:
    """Tell of a result, in this process and in the one that waits for it."""
    if on_result is not None:
        on_result(name, arm, seed, result)
    if _news is not None:
        _news.put((name, arm, seed, dict(result.metrics)))


def encode(result: ArmResult) -> Document:
    """An arm's figures for JSON, which has no NaN; axes without cost are left out."""
    kept = result.as_dict()
    cost = {axis: spent for axis, spent in kept["cost"].items() if spent}
    return {"metrics": kept["metrics"], "validation": kept.get("validation", {}), "cost": cost}


def decode(kept: Values, name: str) -> ArmResult:
    """Decode the result of an arm from `encode`."""
    try:
        cost = Cost.of({**Cost().as_dict(), **kept["cost"]})
    except ValueError as error:
        raise DataError(f"A finished seed of {name!r} has an invalid cost: {error}. Run the claim again.") from None
    return ArmResult({name: float(value) for name, value in kept["metrics"].items()}, cost)
