"""Replicates claims with `didact.compare`, seed by seed, and gives their verdicts."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from didact import catalogue, worlds
from didact.catalogue import CatalogueEntry
from didact.claiming import Claim
from didact.claims import code, deciding, rerunning, result, tuning
from didact.claims.result import Replication
from didact.claims.store import ResultStore, basis, tuned_design
from didact.claims.workers import OnResult, Task, Workers, claim_of, decode, workers_of
from didact.documents import Document, Values
from didact.errors import ConfigError, DidactError, RunError, check_choice
from didact.evaluation import Comparison
from didact.experiment import records
from didact.experiment.arms import Arm
from didact.types import LOWER_IS_BETTER

SLACK = 0.01
"""Relative difference between method and baseline that is allowed on the axis that is held equal."""


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

    def task(self, seed: int) -> Task:
        """What is to be run with a seed."""
        arms, twin = self.runs(seed), {rerunning.name_of(self.claim): self.claim.method}
        stages = {arm: self.stages[one] for arm in arms if (one := twin.get(arm, arm)) in self.stages}
        return Task(
            key=str(self.info.path if self.info.family == "yours" else self.info.name),
            world=self.world,
            seed=seed,
            arms=arms,
            stages=stages,
            records=not self.tunes and seed == self.seeds[0],
        )


def replicate(
    names: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    world: str | None = None,
    jobs: int = 1,
    ray: str | None = None,
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
        ray: the address of a Ray cluster to run them on; see `workers_of`.
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
    for one in run(plan(names, seeds=seeds, world=world, store=store), workers_of(jobs, ray), on_result=on_result):
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
    planned: Sequence[Job], workers: Workers, *, on_result: OnResult | None = None
) -> Iterator[Replication | tuple[str, DidactError]]:
    """Run planned jobs, the tuning seeds first.

    Args:
        planned: see `plan`.
        workers: see `workers_of`.
        on_result: see `replicate`.

    Yields:
        Each claim as soon as its last seed is finished; or a method's name with the error that ended it, after which
        the others continue.
    """
    tuned: dict[str, Values] = {}
    for name, found in tune(planned, workers, on_result=on_result):
        if isinstance(found, DidactError):
            yield name, found
        else:
            tuned[name] = found
    ready = [
        job if job.pilot or not job.claim.tunes else _settled(job, tuned[job.info.name])
        for job in planned
        if job.pilot or not job.claim.tunes or job.info.name in tuned
    ]
    for job, error in _finished(ready, workers, on_result):
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
    planned: Sequence[Job], workers: Workers, *, on_result: OnResult | None = None
) -> Iterator[tuple[str, Values | DidactError]]:
    """Run the tuning seeds of those planned jobs that need them and lack them.

    Yields:
        A method's name with what they said, see `tuning.choose`, or with the error that ended them.
    """
    pilots = [_pilot_of(job) for job in planned if job.claim.tunes and not job.pilot]
    for job, error in _finished(pilots, workers, on_result):
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
    planned: Sequence[Job], workers: Workers, on_result: OnResult | None
) -> Iterator[tuple[Job, DidactError | None]]:
    """Each job as soon as its last seed is finished, or with the error that ended it."""
    failed: set[str] = set()
    for job in planned:
        if not job.left:
            yield job, None
    tasks = [(job, job.task(seed)) for job in planned for seed in job.left]
    for job, seed, found in workers(tasks, on_result):
        if job.info.name in failed:
            continue
        try:
            _keep(job, seed, found)
            if not job.left:
                yield job, None
        except DidactError as error:
            failed.add(job.info.name)
            yield job, error


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


def _result(job: Job) -> Replication:
    claim, seeds = job.claim, job.seeds
    kept = [job.done[str(seed)] for seed in seeds]
    comparison = Comparison(
        metric=claim.metric,
        higher_is_better=claim.metric not in LOWER_IS_BETTER,
        reference=claim.baseline,
        seeds=seeds,
        results={arm: tuple(decode(found["arms"][arm], job.info.name) for found in kept) for arm in job.arms},
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
