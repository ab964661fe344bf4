"""Implementations of the commands. Torch is imported only by the commands that need it."""

import argparse
import dataclasses
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from didact import catalogue, trusting
from didact.cli import flags
from didact.cli.parser import LISTED
from didact.documents import Document
from didact.errors import ConfigError, check_choice, check_range, import_optional
from didact.parts.listing import LISTINGS

if TYPE_CHECKING:
    from didact.evaluation import ArmResult
    from didact.experiment.comparing import ComparisonRun
    from didact.experiment.running import RunResult
    from didact.materials.examples.compression.result import Compression
    from didact.materials.examples.compression.searching import OnTrial
    from didact.materials.examples.recommending.result import Recommendation

SEEDS = 10_000
"""Maximal number of seeds of a comparison."""
STATUS_CODES = {"done": 0, "paused": 3, "stopped": 4, "interrupted": 130}


def settings(namespace: argparse.Namespace, **fixed: object) -> Document:
    """The values of a run: those of its configuration file, overridden by the given flags.

    Args:
        namespace: the parsed arguments.
        fixed: values that override both.

    Returns:
        Fields of `RunConfig` by flag; a budget in flags replaces the whole budget of the file.
    """
    from didact.experiment import config as configs
    from didact.experiment import reading

    values = configs.flatten(reading.read_file(namespace.config)) if namespace.config else {}
    # Only the user decides what to trust, not a file.
    values.pop("trust", None)
    given = flags.flag_values(namespace)
    if "budget" in given:
        given["budget"] = reading.parse_budget(given["budget"])
    if any(axis in given for axis in ("budget", *configs.SHORTHANDS)):
        values = {key: value for key, value in values.items() if key not in ("budget", *configs.SHORTHANDS)}
    options = {**values.get("options", {}), **given.pop("options", {})}
    named = {"method": namespace.method} if hasattr(namespace, "method") else {}
    return {**values, **given, **named, **fixed, **({"options": options} if options else {})}


def _list(namespace: argparse.Namespace) -> int:
    check_choice("what to list", namespace.parts, LISTED)
    special = {"methods": _list_methods, "recipes": _list_recipes, "systems": _list_systems}
    return special.get(namespace.parts, _list_parts)(namespace)


def _list_parts(namespace: argparse.Namespace) -> int:
    from didact.cli import show

    listing = LISTINGS[namespace.parts]
    found = tuple(listing.find())
    if namespace.json:
        show.write_json([dataclasses.asdict(entry) for entry in found])
    else:
        show.parts(found, listing.use)
    return 0


def _list_methods(namespace: argparse.Namespace) -> int:
    from didact.claims import entries, multiplicity
    from didact.claims.store import ResultStore
    from didact.cli import show

    methods, store = catalogue.listing(), ResultStore(namespace.store)
    if namespace.json:
        show.write_json([entries.catalogue_entry(info, store) for info in methods])
        return 0
    show.methods(methods, entries.verdict_words(methods, store))
    show.paragraph("chance", multiplicity.sentence(multiplicity.corrected(methods, store)))
    return 0


def _list_recipes(namespace: argparse.Namespace) -> int:
    from didact.claims import entries
    from didact.claims.store import ResultStore
    from didact.cli import show

    found, store = catalogue.recipes(), ResultStore(namespace.store)
    if namespace.json:
        show.write_json([entries.claim_entry(entry, store) for entry in found])
    else:
        show.recipes(found, entries.verdict_words(found, store))
    return 0


def _list_systems(namespace: argparse.Namespace) -> int:
    from didact.claims import systems
    from didact.claims.store import ResultStore
    from didact.cli import show

    found = systems.listing(ResultStore(namespace.store))
    if namespace.json:
        show.write_json(found)
    else:
        show.systems(found)
    return 0


def _show(namespace: argparse.Namespace) -> int:
    from didact.claims import entries
    from didact.claims.store import ResultStore
    from didact.cli import claims, show

    entry = catalogue.find_claim(namespace.method)
    if isinstance(entry, catalogue.MethodInfo):
        show.method(entry)
        show.options(entry)
    else:
        show.entry(entry)
    found = entries.claim_entry(entry, ResultStore(namespace.store))
    claims.print_evidence(found)
    claims.print_claim(found)
    return 0


def _run(namespace: argparse.Namespace, **fixed: object) -> int:
    from didact.experiment import config as configs

    config = configs.make_config(settings(namespace, **fixed))
    catalogue.find(config.method)
    from didact.cli import show
    from didact.experiment import records, running

    if namespace.seeds is not None and "seed" in namespace:
        raise ConfigError(f"seed is {namespace.seed} and seeds {namespace.seeds}; give one of them.")

    # The first process names the directory for all.
    named = namespace.out or (None if os.environ.get("RANK", "0") == "0" else records.RUNS)
    made = records.new_directory(config.method, config.data.source) if named is None else nullcontext(Path(named))
    with made as directory:
        if namespace.seeds is None:
            return _finish(running.run(config, directory=directory), namespace.json)
        results = []
        for seed in parse_seeds(namespace.seeds):
            results.append(running.run(config.replace(seed=seed), directory=directory / f"seed-{seed}"))
            if results[-1].status != "done":
                return _finish(results[-1], namespace.json)
    show.seeds(results, as_json=namespace.json)
    return 0


def _distill(namespace: argparse.Namespace) -> int:
    if namespace.embeddings:
        namespace.task = "embedding"
    if namespace.on_policy is None:
        return _run(namespace, method="distill")
    setattr(namespace, "options.on_policy", namespace.on_policy)
    return _run(namespace, method="gkd")


def _cache(namespace: argparse.Namespace) -> int:
    from didact.cli import caching

    return caching.run(namespace, settings(namespace) if namespace.action in ("build", "write") else {})


def _resume(namespace: argparse.Namespace) -> int:
    from didact.experiment import comparing, records, running

    progress, trust = getattr(namespace, "progress", True), flags.trusted_names(namespace)
    directory = Path(namespace.run)
    from didact.materials.examples.compression import compressing
    from didact.materials.examples.recommending import recommending

    if compressing.is_compression(directory):
        return _show_compression(lambda tell: compressing.resume(directory, trust=trust, on_trial=tell))
    if recommending.is_recommendation(directory):
        return _show_recommendation(lambda **tell: recommending.resume(directory, trust=trust, **tell))
    if not records.is_comparison(directory):
        return _finish(running.resume(directory, trust=trust, progress=progress))
    return _show_comparison(
        directory, lambda tell: comparing.resume(directory, trust=trust, progress=_piped(progress), on_result=tell)
    )


def _piped(progress: bool) -> bool:
    """Whether the runs of a comparison tell their progress themselves: not in a terminal, which has a status line."""
    return progress and not sys.stderr.isatty()


def _finish(result: "RunResult", as_json: bool = False) -> int:
    from didact.cli import show

    if as_json:
        show.write_json({"directory": str(result.directory), **result.as_dict()})
    else:
        show.run(result)
    return STATUS_CODES[result.status]


def _compare(namespace: argparse.Namespace) -> int:
    values = settings(namespace)
    from didact.experiment import comparing, records

    values.pop("method", None)
    values["progress"] = _piped(values.get("progress", True))
    seeds = parse_seeds(namespace.seeds)
    outputs = {name: getattr(namespace, name) for name in ("json", "report")}
    checked = {name: records.check_output(name, path) if path else None for name, path in outputs.items()}

    def compare(directory: Path) -> int:
        return _show_comparison(
            directory,
            lambda tell: comparing.compare(
                namespace.arms,
                seeds=seeds,
                reference=namespace.reference,
                metric=namespace.metric,
                smallest_effect=namespace.smallest_effect,
                baselines=namespace.baselines,
                on_result=tell,
                directory=directory,
                **values,
            ),
            **checked,
        )

    if namespace.out:
        return compare(Path(namespace.out))
    with records.new_directory("compare", str(values.get("data", "digits"))) as directory:
        return compare(directory)


def _compress(namespace: argparse.Namespace) -> int:
    values, seeds = settings(namespace), parse_seeds(namespace.seeds)
    from didact.experiment import records
    from didact.materials.examples.compression import compressing

    own = {name: getattr(namespace, name) for name in ("within", "minutes", "prefer", "students")}

    def compress(directory: Path) -> int:
        return _show_compression(
            lambda tell: compressing.compress(**own, seeds=seeds, directory=directory, on_trial=tell, **values),
            namespace.json,
        )

    if namespace.out:
        return compress(Path(namespace.out))
    with records.new_directory("compress", str(values.get("data", "data"))) as directory:
        return compress(directory)


def _recommend(namespace: argparse.Namespace) -> int:
    values, seeds = settings(namespace), parse_seeds(namespace.seeds)
    from didact.experiment import records
    from didact.materials.examples.recommending import recommending

    own = {name: getattr(namespace, name) for name in ("minutes", "smallest_effect")}
    own["student"] = values.pop("student", "auto")

    def recommend(directory: Path) -> int:
        return _show_recommendation(
            lambda **tell: recommending.recommend(**own, seeds=seeds, directory=directory, **tell, **values),
            namespace.json,
        )

    if namespace.out:
        return recommend(Path(namespace.out))
    with records.new_directory("recommend", str(values.get("data", "data"))) as directory:
        return recommend(directory)


def _show_recommendation(recommend: "Callable[..., Recommendation]", as_json: bool = False) -> int:
    """Race with a line on its progress, and print what is recommended."""
    from didact.cli import show

    with show.Counter("checking every method") as counter:
        found = recommend(on_trial=counter.tell_trial, on_plan=counter.tell_plan)
    if as_json:
        show.write_json({"directory": str(found.directory), **found.as_dict()})
    else:
        show.recommendation(found)
    return 0


def _show_compression(compress: "Callable[[OnTrial], Compression]", as_json: bool = False) -> int:
    """Search with a line on its progress, and print what was found."""
    from didact.cli import show

    with show.Counter("checking every student") as counter:
        found = compress(counter.tell_trial)
    if as_json:
        show.write_json({"directory": str(found.directory), **found.as_dict()})
    else:
        show.compression(found)
    return 0


def _show_comparison(
    directory: Path,
    compare: "Callable[[Callable[[str, int, ArmResult], None]], ComparisonRun]",
    json: Path | None = None,
    report: Path | None = None,
) -> int:
    """Run a comparison with a line on its progress, write what it found, and print it."""
    from didact.cli import show

    with show.Counter("checking every arm") as counter:
        compared = compare(lambda arm, seed, result: counter.tell(f"seed {seed}: {arm}", result))
    written = compared.write(directory, report)
    if json:
        compared.write_result(json)
    show.comparison(compared, written, directory)
    return 130 if compared.interrupted else 0


def parse_seeds(words: str) -> list[int]:
    """Read `0-4` or `1,2,5-7` as seeds.

    Raises:
        ConfigError: The seeds cannot be read.
    """
    found: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(f"seeds is {words!r:.100}, but must be like 0-4 or 1,2,5.")
        seeds = range(int(match[1]), int(match[2] or match[1]) + 1)
        check_range("The number of seeds", len(found) + len(seeds), at_most=SEEDS)
        found.extend(seeds)
    return found


def _check(namespace: argparse.Namespace) -> int:
    from didact import mechanisms
    from didact.cli import claims

    names = [catalogue.find(name).name for name in namespace.methods] or mechanisms.names()
    found = [[mechanisms.run(name, check) for check in mechanisms.checks(name)] for name in names]
    return claims.print_checks(names, found)


def _replicate(namespace: argparse.Namespace) -> int:
    from didact.claims import entries
    from didact.claims.store import ResultStore

    store = ResultStore(namespace.store)
    names = entries.select_methods(
        namespace.methods, family=namespace.family, stale=namespace.stale, every=namespace.all, store=store
    )
    seeds = None if namespace.seeds is None else parse_seeds(namespace.seeds)
    if not names:
        sys.stdout.write("Nothing is stale.\n")
        return 0
    from didact.claims import replicating
    from didact.claims.workers import workers_of
    from didact.cli import claims, show

    workers = workers_of(namespace.jobs, namespace.ray)
    planned = replicating.plan(names, seeds=seeds, world=namespace.world, store=store)
    if namespace.pilot:
        replicating.check_pilots(planned)
    failures = 0
    total = replicating.count(planned, pilot=namespace.pilot)
    with show.Counter("checking every claim", total) as counter:

        def tell(method: str, arm: str, seed: int, result: "ArmResult") -> None:
            counter.tell(f"{method}, seed {seed}: {arm}", result)

        if namespace.pilot:
            tuned = replicating.tune(planned, workers, on_result=tell)
            kept = {job.info.name: job for job in planned}
            known = ((name, job.pilot) for name, job in kept.items() if job.pilot)
            for name, said in itertools.chain(known, tuned):
                failures += claims.print_tuning(kept[name].claim, name, said)
            return 2 if failures else 0
        for found in replicating.run(planned, workers, on_result=tell):
            failures += claims.print_outcome(found)
    return 2 if failures else 0


def _doctor(namespace: argparse.Namespace) -> int:
    values = settings(namespace)
    values.setdefault("method", "distill" if values.get("teacher") else "supervised")
    from didact.experiment import config as configs

    config = configs.make_config(values)
    from didact.cli import show
    from didact.experiment import doctor

    checks = doctor.diagnose(config)
    if namespace.json:
        show.write_json([{"level": check.level, "name": check.name, "detail": check.detail} for check in checks])
    else:
        show.checks(checks)
    return 1 if any(check.level == "fail" for check in checks) else 0


def _report(namespace: argparse.Namespace) -> int:
    from didact.cli import show
    from didact.experiment import comparing, records, running

    path, out = Path(namespace.run), Path(namespace.out) if namespace.out else None
    from didact.materials.examples.compression import compressing

    if compressing.is_compression(path):
        show.line("report", str(compressing.write_report(path, out)))
        return 0
    if records.is_comparison(path):
        written = comparing.read(path).write_report(out or path / "report.html")
    else:
        written = running.write_report(path, out)
    show.line("report", str(written))
    return 0


def _split(namespace: argparse.Namespace) -> int:
    from didact.cli import show
    from didact.sources.split_files import split_file

    columns = ("target", "id_column", "group_column", "time_column")
    found = split_file(
        namespace.data,
        namespace.out,
        validation=namespace.validation,
        test=namespace.test,
        seed=namespace.seed,
        **{name: getattr(namespace, name) for name in columns if hasattr(namespace, name)},
    )
    show.split_files(found)
    return 0


def _label(namespace: argparse.Namespace) -> int:
    from didact.cli.labelling import label

    label(
        Path(namespace.data),
        out=None if namespace.out is None else Path(namespace.out),
        classes=namespace.classes or "",
        people=namespace.annotators,
        overlap=namespace.overlap,
        port=namespace.port,
        modality=namespace.modality,
        images_in=None if namespace.images is None else Path(namespace.images),
        **{
            name: getattr(namespace, name)
            for name in ("target", "id_column", "text_column")
            if hasattr(namespace, name)
        },
    )
    return 0


def _chat(namespace: argparse.Namespace) -> int:
    from didact.cli.chat import chat

    chat(
        namespace.model,
        temperature=namespace.temperature,
        max_new_tokens=namespace.max_new_tokens,
        seed=namespace.seed,
    )
    return 0


def _adapt(namespace: argparse.Namespace) -> int:
    options = flags.flag_values(namespace).pop("options", {})
    from didact.cli import show
    from didact.experiment import records
    from didact.materials.examples.adapting import adapt

    own = {name: getattr(namespace, name) for name in ("by", "epochs", "batch_size", "lr", "seed")}

    def adapted(directory: Path) -> int:
        found = adapt(
            namespace.run,
            namespace.data,
            directory=directory,
            trust=flags.trusted_names(namespace),
            **own,
            **options,
        )
        if namespace.json:
            show.write_json({"directory": str(directory), **found.as_dict()})
        else:
            show.adaptation(found)
        return 0

    if namespace.out:
        return adapted(Path(namespace.out))
    with records.new_directory(f"adapt-{namespace.by}", namespace.data) as directory:
        return adapted(directory)


def _query(namespace: argparse.Namespace) -> int:
    from didact.cli import querying

    querying.query(
        Path(namespace.run),
        n=namespace.n,
        by=namespace.by,
        data=Path(namespace.data) if namespace.data else None,
        budget=namespace.budget,
        answers=namespace.answers,
        seed=namespace.seed,
        trust=flags.trusted_names(namespace),
    )
    return 0


def _predict(namespace: argparse.Namespace) -> int:
    from didact.cli import predicting

    predicting.predict(namespace.run, namespace.data, namespace.out, flags.trusted_names(namespace))
    return 0


def _evaluate(namespace: argparse.Namespace) -> int:
    from didact.cli import predicting

    predicting.evaluate(namespace.run, namespace.data, flags.trusted_names(namespace), as_json=namespace.json)
    return 0


def _export(namespace: argparse.Namespace) -> int:
    from didact.errors import check_choice

    check_choice("to", namespace.to, ("safetensors", "onnx", "hf"))
    from didact.cli import show
    from didact.parts import saved

    run = Path(namespace.run)
    if any((run / "student" / name).is_file() for name in ("config.json", "adapter_config.json")):
        return _export_language(run / "student", namespace)
    student = saved.load(run, trust=flags.trusted_names(namespace))
    beside = run if run.is_dir() else run.parent
    name = "student-hf" if namespace.to == "hf" else f"student.{namespace.to}"
    out = Path(namespace.out) if namespace.out else beside / name
    with trusting.untrusted(run, flags.trusted_names(namespace)):
        written = student.export(out, to=namespace.to, logits=namespace.logits)
    show.line("written", str(written))
    return 0


def _export_language(student: Path, namespace: argparse.Namespace) -> int:
    """Copy a delivered language model, which is a Hugging Face directory already; adapters are merged."""
    if namespace.to != "hf":
        raise ConfigError(
            f"to is {namespace.to!r}, but {student.parent} delivered a language model, stored as a Hugging Face "
            "directory; --to hf would work."
        )
    from didact.cli import show
    from didact.learners import causal

    adapted = causal.is_adapted(student)
    out = Path(namespace.out) if namespace.out else student.parent / "student-hf" if adapted else student
    if out != student:
        if out.exists():
            raise ConfigError(f"out is {str(out)!r}, which exists already; give another path.")
        if adapted:
            causal.save_causal(causal.load_causal(str(student)), out)
        else:
            shutil.copytree(student, out)
    show.line("written" if out != student else "there", str(out))
    return 0


def _completion(namespace: argparse.Namespace) -> int:
    check_choice("shell", namespace.shell, ("bash", "zsh", "tcsh"))
    shtab = import_optional("shtab", "completion", "The completion of a shell")
    from didact.cli.parser import whole_parser

    sys.stdout.write(shtab.complete(whole_parser(shtab.FILE), namespace.shell) + "\n")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "run": _run,
    "distill": _distill,
    "compare": _compare,
    "compress": _compress,
    "recommend": _recommend,
    "check": _check,
    "replicate": _replicate,
    "cache": _cache,
    "doctor": _doctor,
    "report": _report,
    "split": _split,
    "label": _label,
    "resume": _resume,
    "chat": _chat,
    "adapt": _adapt,
    "query": _query,
    "predict": _predict,
    "evaluate": _evaluate,
    "export": _export,
    "completion": _completion,
}
"""The implementation of each command: returns the exit status, and raises `DidactError` for inputs that cannot work."""
