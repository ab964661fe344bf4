"""Replicates claims with `didact.compare`, seed by seed, and gives their verdicts."""

import dataclasses
import functools
import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from didact import catalogue, worlds
from didact.catalogue import CatalogueEntry
from didact.claiming import Claim, Verdict
from didact.claims.store import ResultStore, basis
from didact.documents import Document, Values
from didact.errors import ConfigError, DataError, DidactError, RunError, check_choice, check_range
from didact.evaluation import ArmResult, Comparison, phrases, wording
from didact.evaluation.intervals import Estimate
from didact.experiment import comparing, records
from didact.types import LOWER_IS_BETTER, Cost

SLACK = 0.01
"""Relative difference between method and baseline that is allowed on the axis that is held equal."""
_POLL = 0.2

OnResult = Callable[[str, str, int, ArmResult], None]
"""Called with each result as it comes: method, arm, seed, result."""


@dataclass(frozen=True, kw_only=True)
class Replication:
    """A replicated claim."""

    name: str
    """The method's name."""
    claim: Claim
    world: str
    """The world that it was run on."""
    comparison: Comparison
    """The results of all arms, with the baseline as the reference."""
    verdict: Verdict | None
    """None with one seed, which gives no interval."""
    budget: Values
    """`axis`, and under `spent` each arm's mean on it."""
    teachers: Mapping[str, Mapping[str, float]]
    """By teacher, its mean figures on the test examples, and the mean cost of training it."""
    stored: Path | None
    """The path of the stored result; None for other seeds or another world than the claim's own."""


@dataclass(frozen=True)
class Job:
    """A claim with the seeds to run."""

    info: CatalogueEntry
    claim: Claim
    world: str
    seeds: tuple[int, ...]
    store: ResultStore | None
    """None if the result is not stored."""
    basis: Values
    """The claim and the digests of the code, which the figures rest on."""
    done: Document
    """The results of each finished seed, by the seed as a string."""

    @property
    def left(self) -> list[int]:
        """The unfinished seeds."""
        return [seed for seed in self.seeds if str(seed) not in self.done]


def replicate(
    names: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    world: str | None = None,
    jobs: int = 1,
    store: ResultStore | None = None,
    on_result: OnResult | None = None,
) -> list[Replication]:
    """Replicate the claims of methods, on the CPU with one thread per process.

    Each seed is run by `didact.compare` and stored when it is finished. A killed replication continues after its
    finished seeds, unless the claim or its code has changed since.

    Args:
        names: methods with a claim.
        seeds: other seeds than the claim's own; their results are not stored.
        world: another world than the claim's own; its results are not stored.
        jobs: the number of processes.
        store: where results are stored; by default in the repository of the working directory.
        on_result: called with each result as it comes: method, arm, seed, result.

    Returns:
        The claims with their verdicts.

    Raises:
        ConfigError: A method has no claim, a seed was used for tuning, or the world or `jobs` is invalid; nothing has
            been computed then.
        RunError: An arm cannot be run, or the budgets are unequal.
    """
    found: list[Replication] = []
    for one in run(plan(names, seeds=seeds, world=world, store=store), jobs=jobs, on_result=on_result):
        if not isinstance(one, Replication):
            raise one[1]
        found.append(one)
    return found


def plan(
    names: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    world: str | None = None,
    store: ResultStore | None = None,
) -> list[Job]:
    """Plan a replication; arguments and errors are those of `replicate`."""
    return [_job(name, seeds, world, store or ResultStore()) for name in dict.fromkeys(names)]


def run(
    planned: Sequence[Job], *, jobs: int = 1, on_result: OnResult | None = None
) -> Iterator[Replication | tuple[str, DidactError]]:
    """Run planned jobs.

    Args:
        planned: see `plan`.
        jobs: see `replicate`.
        on_result: see `replicate`.

    Yields:
        Each claim as soon as its last seed is finished; or a method's name with the error that ended it, after which
        the others continue.
    """
    check_range("jobs", jobs, at_least=1)
    failed: set[str] = set()
    for job in planned:
        if not job.left:
            yield _result(job)
    teach = _here if jobs == 1 else functools.partial(_in_processes, jobs)
    for job, seed, found in teach([job for job in planned if job.left], on_result):
        name = job.info.name
        if name in failed:
            continue
        try:
            _keep(job, seed, found)
            if not job.left:
                yield _result(job)
        except DidactError as error:
            failed.add(name)
            yield name, error


def claim_of(info: CatalogueEntry) -> Claim:
    """The claim of a method.

    Raises:
        ConfigError: It has none.
    """
    if info.claim is None:
        known = ", ".join(other.name for other in catalogue.listing() if other.claim is not None)
        raise ConfigError(f"The method {info.name!r} has no claim to replicate. These have one: {known or 'none'}.")
    return info.claim


def _job(name: str, seeds: Sequence[int] | None, world: str | None, store: ResultStore) -> Job:
    info = catalogue.find_claim(name)
    claim = claim_of(info)
    kind = "questions" if claim.world in worlds.names("questions") else "examples"
    check_choice("world", world or claim.world, worlds.names(kind))
    if seeds is not None:
        claim.check_reported(seeds)
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(f"seeds is {list(seeds)}; give at least one, each once, and 5 or more for a verdict.")
    chosen, place = tuple(seeds or claim.seeds), world or claim.world
    found = basis(claim)
    if chosen != claim.seeds or place != claim.world:
        return Job(info, claim, place, chosen, None, found, {})
    return Job(info, claim, place, chosen, store, found, store.finished(info.name, found))


_Finished = tuple[Job, int, dict[str, Any] | DidactError]


def _keep(job: Job, seed: int, found: Document | DidactError) -> None:
    """Store a finished seed, unless its budgets are unequal."""
    if isinstance(found, DidactError):
        raise found
    _check_equal(job.claim, seed, found["arms"])
    job.done[str(seed)] = found
    if job.store is not None:
        job.store.keep(job.info.name, job.basis, job.done)


def _check_equal(claim: Claim, seed: int, arms: Values) -> None:
    """Raise `RunError` if method and baseline spent different amounts on the axis that the claim holds equal."""
    spent, theirs = (arms[arm]["cost"].get(claim.equal, 0) for arm in (claim.method, claim.baseline))
    if not math.isclose(spent, theirs, rel_tol=SLACK):
        raise RunError(
            f"The claim holds {claim.equal} equal, but with seed {seed} {claim.method!r} spent {spent:g} and "
            f"{claim.baseline!r} {theirs:g}; correct the arms' budgets, or name the axis that is equal."
        )


def _here(planned: list[Job], on_result: OnResult | None) -> Iterator[_Finished]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in planned:
            for seed in job.left:
                found = _teach(str(_key(job.info)), job.world, seed, on_result)
                yield job, seed, found
                if isinstance(found, DidactError):
                    break
    finally:
        torch.set_num_threads(threads)


def _in_processes(jobs: int, planned: list[Job], on_result: OnResult | None) -> Iterator[_Finished]:
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(news,)) as pool:
        futures = {
            pool.submit(_teach, str(_key(job.info)), job.world, seed): (job, seed)
            for job in planned
            for seed in job.left
        }
        try:
            yield from _collected(futures, news, on_result)
        except BrokenProcessPool:
            raise RunError(
                "One of the processes was killed, perhaps because memory ran out. The finished seeds are stored; run "
                "it again with fewer jobs to continue."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collected(
    futures: dict[Future[Any], tuple[Job, int]], news: Any, on_result: OnResult | None
) -> Iterator[_Finished]:
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
    # Unread items must not keep an interrupted process alive.
    news.cancel_join_thread()
    torch.set_num_threads(1)


def _key(info: CatalogueEntry) -> str | Path:
    """The key by which another process finds the same method."""
    return info.path if info.family == "yours" else info.name


def _teach(key: str, world: str, seed: int, on_result: OnResult | None = None) -> Document | DidactError:
    """Run all arms of a claim with one seed; an error is returned, so that the other claims continue."""
    info = catalogue.find_claim(str(key))
    claim = claim_of(info)

    def report(arm: str, seed: int, result: ArmResult) -> None:
        if on_result is not None:
            on_result(info.name, arm, seed, result)
        if _news is not None:
            _news.put((info.name, arm, seed, dict(result.metrics)))

    try:
        compared = comparing.compare(
            dict(claim.arms),
            seeds=[seed],
            reference=claim.baseline,
            metric=claim.metric,
            baselines="none",
            on_result=report,
            data=world,
            **{"progress": False, "device": "cpu", **claim.settings},
        )
    except DidactError as error:
        # Its message alone: not every error can be sent from one process to another.
        where = "" if world == claim.world else f"The claim cannot be run on the world {world!r}. "
        return RunError(f"{where}{error}")
    for failure in compared.comparison.failures.values():
        return RunError(failure)
    return {
        "arms": {arm: _encode(results[0]) for arm, results in compared.comparison.results.items()},
        "teachers": compared.teachers,
        "data": compared.description["data"],
    }


def _encode(result: ArmResult) -> Document:
    """An arm's figures for JSON, which has no NaN; axes without cost are left out."""
    metrics = {name: value if math.isfinite(value) else str(value) for name, value in result.metrics.items()}
    return {"metrics": metrics, "cost": {axis: spent for axis, spent in result.cost.as_dict().items() if spent}}


def _decode(kept: Values, name: str) -> ArmResult:
    """Decode the result of an arm from `_encode`."""
    try:
        cost = Cost.of({**Cost().as_dict(), **kept["cost"]})
    except ValueError as error:
        raise DataError(f"A finished seed of {name!r} has an invalid cost: {error}. Run the claim again.") from None
    return ArmResult({name: float(value) for name, value in kept["metrics"].items()}, cost)


def _result(job: Job) -> Replication:
    claim, seeds = job.claim, job.seeds
    kept = [job.done[str(seed)] for seed in seeds]
    comparison = Comparison(
        metric=claim.metric,
        higher_is_better=claim.metric not in LOWER_IS_BETTER,
        reference=claim.baseline,
        seeds=seeds,
        results={arm: tuple(_decode(found["arms"][arm], job.info.name) for found in kept) for arm in kept[0]["arms"]},
    )
    teachers = {
        spec: {name: math.fsum(found["teachers"][spec][name] for found in kept) / len(kept) for name in figures}
        for spec, figures in kept[0]["teachers"].items()
    }
    replicated = Replication(
        name=job.info.name,
        claim=claim,
        world=job.world,
        comparison=comparison,
        verdict=_verdict(claim, comparison),
        budget={"axis": claim.equal, "spent": {arm: comparison.cost(arm)[claim.equal] for arm in comparison.arms}},
        teachers=teachers,
        stored=None,
    )
    if job.store is None:
        return replicated
    return dataclasses.replace(replicated, stored=job.store.finish(job.info.name, _document(job, replicated)))


def _verdict(claim: Claim, comparison: Comparison) -> Verdict | None:
    found = comparison.difference(claim.method)
    if found.low is None or found.high is None:
        return None
    return claim.verdict(found.low, found.high, higher_is_better=comparison.higher_is_better)


def _document(job: Job, replicated: Replication) -> Document:
    """The document that is stored for a claim."""
    comparison = replicated.comparison
    effect, cheap = comparison.difference(job.claim.method), _against_cheap(replicated)
    return {
        "method": job.info.name,
        "verdict": replicated.verdict,
        "effect": effect.mean,
        "interval": [effect.low, effect.high],
        "effect_on_cheap": cheap.mean,
        "interval_on_cheap": [cheap.low, cheap.high],
        "sentence": sentence(replicated),
        "tables": tables(replicated),
        "budget": replicated.budget,
        "cost": {
            "seconds": math.fsum(r.cost.seconds for results in comparison.results.values() for r in results),
            "arms": {arm: {k: v for k, v in comparison.cost(arm).items() if v} for arm in comparison.arms},
        },
        "summary": {arm: _summary(comparison, arm) for arm in comparison.arms},
        "teachers": replicated.teachers,
        **job.basis,
        **records.environment(),
        "data": job.done[str(job.seeds[0])]["data"],
        "seeds": {str(seed): job.done[str(seed)]["arms"] for seed in job.seeds},
    }


def tables(replicated: Replication) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Two tables with a row per arm: the figures, and the main costs."""
    comparison = replicated.comparison
    axes = dict.fromkeys(("labels", replicated.claim.equal, "teacher_calls", "steps", "seconds"))
    costs = {wording.name_of(axis) for axis in comparison.used_axes()}
    wanted = [name for name in map(wording.name_of, axes) if name in costs]
    rows = comparison.table()
    figures = [{name: cell for name, cell in row.items() if name not in costs} for row in rows]
    return figures, [{"cost": row["arm"], **{name: row[name] for name in wanted}} for row in rows]


def sentence(replicated: Replication) -> str:
    """The effect in words: the method minus the baseline, and minus the cheap alternative."""
    claim, comparison = replicated.claim, replicated.comparison
    first = phrases.difference_text(claim.metric, comparison.difference(claim.method))
    words = f"{claim.method} less {claim.baseline} is {first} in {phrases.heading(claim.metric)}"
    if claim.cheap == claim.baseline:
        return f"{words}."
    second = phrases.difference_text(claim.metric, _against_cheap(replicated))
    return f"{words}; less {claim.cheap}, it is {second}."


def _against_cheap(replicated: Replication) -> Estimate:
    comparison = dataclasses.replace(replicated.comparison, reference=replicated.claim.cheap)
    return comparison.difference(replicated.claim.method)


def _summary(comparison: Comparison, arm: str) -> Document:
    mean, apart = comparison.summary(arm), None if arm == comparison.reference else comparison.difference(arm)
    assert mean is not None
    return {
        "mean": mean.mean,
        "interval": [mean.low, mean.high],
        "difference": None if apart is None else apart.mean,
        "difference_interval": None if apart is None else [apart.low, apart.high],
        "finding": comparison.finding(arm),
    }
