"""Replicates claims with `didact.compare`, seed by seed, and gives their verdicts."""

import contextlib
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
from didact.claiming import Claim
from didact.claims import code, deciding, recording, rerunning, result, sharing, tuning
from didact.claims.result import Replication
from didact.claims.store import ResultStore, basis, tuned_design
from didact.documents import Document, Values
from didact.errors import ConfigError, DataError, DidactError, RunError, check_choice, check_range
from didact.evaluation import ArmResult, Comparison
from didact.experiment import comparing, records
from didact.experiment.arms import Arm
from didact.types import LOWER_IS_BETTER, Cost

SPLIT_SEED = 0
"""The seed of the splits of all claims: no seed trains on the test examples of another."""
SLACK = 0.01
"""Relative difference between method and baseline that is allowed on the axis that is held equal."""
_POLL = 0.2

OnResult = Callable[[str, str, int, ArmResult], None]
"""Called with each result as it comes: method, arm, seed, result."""


@dataclass(frozen=True)
class Job:
    """A claim with the seeds to run."""

    info: CatalogueEntry
    claim: Claim
    world: str
    seeds: tuple[int, ...]
    store: ResultStore
    basis: Values
    """The claim and the digests of the code, which the figures rest on."""
    done: Document
    """The results of each finished seed, by the seed as a string."""
    arms: Mapping[str, Arm]
    """The arms to run; those of the tuning seeds are all variants."""
    pilot: Values
    """What the tuning seeds said, if they are finished."""
    kept: str
    """The name under which finished seeds are kept; empty if they are not."""
    stages: Mapping[str, Sequence[str]]
    """By arm, the options with the shares of its earlier stages."""
    tunes: bool = False
    """Whether it runs the tuning seeds."""

    @property
    def left(self) -> list[int]:
        """The unfinished seeds."""
        return [seed for seed in self.seeds if str(seed) not in self.done]

    def runs(self, seed: int) -> dict[str, Arm]:
        """The arms to run with a seed; with the first seeds of a report, the method twice."""
        return dict(self.arms) if self.tunes else rerunning.arms(self.claim, self.arms, seed, self.seeds)

    def task(self, seed: int) -> "_Task":
        """The arguments of `_teach` for a seed."""
        arms, twin = self.runs(seed), {rerunning.name_of(self.claim): self.claim.method}
        stages = {arm: self.stages[one] for arm in arms if (one := twin.get(arm, arm)) in self.stages}
        return str(_key(self.info)), self.world, seed, arms, stages, not self.tunes and seed == self.seeds[0]


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

    The tuning seeds of a claim that names its smallest effect of interest are run first: they choose its settings, and
    their spread says how many seeds are needed. Each seed is run by `didact.compare` and stored when it is finished. A
    killed replication continues after its finished seeds, unless the claim or its code has changed since.

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
        ConfigError: A method has no claim, a seed was used for tuning, the claim was changed after its seeds had been
            reported, or the world or `jobs` is invalid; nothing has been computed then.
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
    """Run planned jobs, the tuning seeds first.

    Args:
        planned: see `plan`.
        jobs: see `replicate`.
        on_result: see `replicate`.

    Yields:
        Each claim as soon as its last seed is finished; or a method's name with the error that ended it, after which
        the others continue.
    """
    tuned: dict[str, Values] = {}
    for name, found in tune(planned, jobs=jobs, on_result=on_result):
        if isinstance(found, DidactError):
            yield name, found
        else:
            tuned[name] = found
    ready = [
        job if job.pilot or not job.claim.tunes else _settled(job, tuned[job.info.name])
        for job in planned
        if job.pilot or not job.claim.tunes or job.info.name in tuned
    ]
    for job, error in _finished(ready, jobs, on_result):
        yield _result(job) if error is None else (job.info.name, error)


def count(planned: Sequence[Job], *, pilot: bool = False) -> int:
    """The number of results to come.

    Args:
        planned: see `plan`.
        pilot: of the tuning seeds alone.
    """
    pilots = [_pilot_of(job) for job in planned if job.claim.tunes and not job.pilot]
    own = [] if pilot else [rerunning.arms(j.claim, j.claim.arms, seed, j.seeds) for j in planned for seed in j.left]
    return sum(map(len, own)) + sum(len(job.left) * len(job.arms) for job in pilots)


def check_pilots(planned: Sequence[Job]) -> None:
    """Refuse claims of the first design, whose tuning seeds say nothing.

    Raises:
        ConfigError: A claim names no smallest effect.
    """
    for job in planned:
        if not job.claim.tunes:
            raise ConfigError(
                f"The claim of {job.info.name} names no smallest_effect, so that its tuning seeds cannot say how many "
                "seeds it needs; give it one."
            )


def tune(
    planned: Sequence[Job], *, jobs: int = 1, on_result: OnResult | None = None
) -> Iterator[tuple[str, Values | DidactError]]:
    """Run the tuning seeds of those planned jobs that need them and lack them.

    Yields:
        A method's name with what they said, see `tuning.choose`, or with the error that ended them.
    """
    pilots = [_pilot_of(job) for job in planned if job.claim.tunes and not job.pilot]
    for job, error in _finished(pilots, jobs, on_result):
        if error is not None:
            yield job.info.name, error
            continue
        try:
            found = tuning.choose(job.claim, job.done)
        except DidactError as wrong:
            yield job.info.name, wrong
        else:
            yield job.info.name, job.store.keep_pilot(job.info.name, job.claim, found)


def _finished(
    planned: Sequence[Job], jobs: int, on_result: OnResult | None
) -> Iterator[tuple[Job, DidactError | None]]:
    """Each job as soon as its last seed is finished, or with the error that ended it."""
    check_range("jobs", jobs, at_least=1)
    failed: set[str] = set()
    for job in planned:
        if not job.left:
            yield job, None
    teach = _here if jobs == 1 else functools.partial(_in_processes, jobs)
    for job, seed, found in teach([job for job in planned if job.left], on_result):
        if job.info.name in failed:
            continue
        try:
            _keep(job, seed, found)
            if not job.left:
                yield job, None
        except DidactError as error:
            failed.add(job.info.name)
            yield job, error


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
    found, pilot = basis(claim), store.pilot(info.name, claim) or {}
    job = Job(info, claim, place, chosen, store, found, {}, {}, {}, "", claim.stages)
    if chosen == claim.seeds and place == claim.world:
        store.check_seeds(info.name, claim)
        job = dataclasses.replace(job, kept=info.name)
    return job if claim.tunes and not pilot else _settled(job, pilot)


def _settled(job: Job, pilot: Values) -> Job:
    """A job with the settings that the tuning seeds chose."""
    arms = tuning.settled(job.claim, pilot.get("chosen", {}))
    found = {**job.basis, "pilot": dict(pilot)} if pilot else job.basis
    done = job.store.finished(job.kept, found) if job.kept else {}
    return dataclasses.replace(job, arms=arms, pilot=pilot, basis=found, done=done)


def _pilot_of(job: Job) -> Job:
    """The tuning seeds of a job, with all variants of its arms."""
    claim, name = job.claim, f"{job.info.name}.pilot"
    variants = tuning.variants(claim)
    arms = {one.name: one.arm for found in variants.values() for one in found}
    stages = {one.name: options for arm, options in claim.stages.items() for one in variants.get(arm, ())}
    design = {"design": tuned_design(claim), "code": job.basis["code"]}
    return dataclasses.replace(
        job,
        world=claim.world,
        seeds=claim.tuned_on,
        arms=arms,
        stages=stages,
        kept=name,
        tunes=True,
        basis=design,
        done=job.store.finished(name, design),
    )


_Task = tuple[str, str, int, Mapping[str, Arm], Mapping[str, Sequence[str]], bool]
_Finished = tuple[Job, int, dict[str, Any] | DidactError]


def _keep(job: Job, seed: int, found: Document | DidactError) -> None:
    """Store a finished seed, unless its budgets are unequal."""
    if isinstance(found, DidactError):
        raise found
    if not job.tunes:
        _check_equal(job.claim, seed, found["arms"])
    job.done[str(seed)] = found
    if job.kept:
        job.store.keep(job.kept, job.basis, job.done)


def _check_equal(claim: Claim, seed: int, arms: Values) -> None:
    """Raise `RunError` if method and baseline spent different amounts on the axis that the claim holds equal."""
    spent, theirs = (_spent(arms[arm], claim) for arm in (claim.method, claim.baseline))
    if not math.isclose(spent, theirs, rel_tol=SLACK):
        raise RunError(
            f"The claim holds {claim.equal} equal, but with seed {seed} {claim.method!r} spent {spent:g} and "
            f"{claim.baseline!r} {theirs:g}; correct the arms' budgets, or name the axis that is equal."
        )


def _spent(arm: Values, claim: Claim) -> float:
    """What an arm spent on the axis that the claim holds equal."""
    return arm["last_stage"] if claim.equal == "last_stage" else arm["cost"].get(claim.equal, 0)


def _here(planned: list[Job], on_result: OnResult | None) -> Iterator[_Finished]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in planned:
            for seed in job.left:
                found = _teach(*job.task(seed), on_result)
                yield job, seed, found
                if isinstance(found, DidactError):
                    break
    finally:
        torch.set_num_threads(threads)


def _in_processes(jobs: int, planned: list[Job], on_result: OnResult | None) -> Iterator[_Finished]:
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(news,)) as pool:
        futures = {pool.submit(_teach, *job.task(seed)): (job, seed) for job in planned for seed in job.left}
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


def _teach(
    key: str,
    world: str,
    seed: int,
    arms: Mapping[str, Arm],
    stages: Mapping[str, Sequence[str]],
    first: bool = False,
    on_result: OnResult | None = None,
) -> Document | DidactError:
    """Run arms of a claim with one seed; an error is returned, so that the other claims continue.

    Arms that another claim has too are run once, as long as no code changes; those of custom methods always, and all of
    them with the first seed, when the functions that they call are recorded.
    """
    info = catalogue.find_claim(str(key))
    claim = claim_of(info)
    settings = {"split_seed": SPLIT_SEED, **claim.settings}
    known = {} if first or info.family == "yours" else sharing.find(world, seed, settings, arms, stages)
    if not code.methods_in(tuning.stated(arm) for name, arm in arms.items() if name not in known):
        known = known if len(known) == len(arms) else {}  # A baseline is run beside a method.
    for name, one in known.items():
        _tell(info.name, name, seed, _decode(one["result"], name), on_result)
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
    made = {arm: {"result": {**_encode(found), "last_stage": last[arm]}, **more} for arm, found in results.items()}
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


def _encode(result: ArmResult) -> Document:
    """An arm's figures for JSON, which has no NaN; axes without cost are left out."""
    kept = result.as_dict()
    cost = {axis: spent for axis, spent in kept["cost"].items() if spent}
    return {"metrics": kept["metrics"], "validation": kept.get("validation", {}), "cost": cost}


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
        results={arm: tuple(_decode(found["arms"][arm], job.info.name) for found in kept) for arm in job.arms},
        smallest_effect=claim.smallest_effect,
    )
    teachers = {
        spec: {name: math.fsum(found["teachers"][spec][name] for found in kept) / len(kept) for name in figures}
        for spec, figures in kept[0]["teachers"].items()
    }
    floor = rerunning.floor(claim, {seed: found["arms"] for seed, found in zip(seeds, kept, strict=True)})
    replicated = Replication(
        name=job.info.name,
        claim=claim,
        world=job.world,
        comparison=comparison,
        outcomes=deciding.outcomes(claim, comparison, teachers, floor.rms),
        floor=floor,
        pilot=job.pilot,
        budget={"axis": claim.equal, "spent": _budget(claim, kept)},
        teachers=teachers,
        stored=None,
    )
    if not job.kept:
        return replicated
    return dataclasses.replace(replicated, stored=job.store.finish(job.info.name, _document(job, replicated)))


def _budget(claim: Claim, kept: Sequence[Values]) -> dict[str, float]:
    """By arm, its mean on the axis that the claim holds equal."""
    return {arm: math.fsum(_spent(one["arms"][arm], claim) for one in kept) / len(kept) for arm in claim.arms}


def _basis(job: Job) -> Document:
    """The basis of a job, with the code that its arms ran; with all that they might run if it changed meanwhile."""
    ran = job.done[str(job.seeds[0])].get("ran")
    if ran is None or code.digests(job.claim) != job.basis["code"]:
        return dict(job.basis)
    return {**job.basis, "code": code.digests(job.claim, ran), "ran": ran}


def _document(job: Job, replicated: Replication) -> Document:
    """The document that is stored for a claim."""
    comparison = replicated.comparison
    found = {one.role: one.as_dict() for one in replicated.outcomes}
    return {
        "method": job.info.name,
        "verdict": replicated.verdict,
        "works": replicated.works,
        "verdicts": found,
        "floor": replicated.floor.as_dict(),
        "effect": found["baseline"]["effect"],
        "interval": found["baseline"]["interval"],
        "effect_on_cheap": found["cheap"]["effect"],
        "interval_on_cheap": found["cheap"]["interval"],
        "sentence": result.sentence(replicated),
        "tables": result.tables(replicated),
        "budget": replicated.budget,
        "cost": {
            "seconds": math.fsum(r.cost.seconds for results in comparison.results.values() for r in results),
            "arms": {arm: {k: v for k, v in comparison.cost(arm).items() if v} for arm in comparison.arms},
        },
        "summary": {arm: result.summary(comparison, arm) for arm in comparison.arms},
        "teachers": replicated.teachers,
        **_basis(job),
        **records.environment(),
        "data": job.done[str(job.seeds[0])]["data"],
        "seeds": {str(seed): job.done[str(seed)]["arms"] for seed in job.seeds},
    }
