"""The command `cache`: builds a store of a teacher's answers, and looks after it."""

import argparse
import itertools
from pathlib import Path

from didact import worlds
from didact.cli import show
from didact.documents import Document
from didact.errors import ConfigError, check_choice, import_optional
from didact.experiment import capturing, writing
from didact.experiment.config import make_config
from didact.memory import signal_store
from didact.memory.coding import Form
from didact.sources import tables
from didact.sources.layouts import is_language
from didact.teachers.stored import TOKEN

ACTIONS = ("build", "write", "info", "verify", "merge", "prune")


def run(namespace: argparse.Namespace, values: Document) -> int:
    """Run an action.

    Args:
        namespace: the parsed arguments.
        values: the settings of the run whose teacher is asked.
    """
    check_choice("the action of cache", namespace.action, ACTIONS)
    directory = Path(namespace.directory)
    if namespace.others and namespace.action != "merge":
        raise ConfigError(f"{namespace.others[0]!r} follows {directory}, but only merge takes other caches.")
    return {"build": _build, "write": _write, "info": _info, "verify": _verify, "merge": _merge, "prune": _prune}[
        namespace.action
    ](directory, namespace, values)


def _build(directory: Path, namespace: argparse.Namespace, values: Document) -> int:
    language = _is_language(str(values.get("data", "")))
    # Of language models, the one that asks about the data's own completions.
    method = namespace.method or ("taid" if language else "distill")
    if language and "student" not in values and values.get("teacher"):
        values = {**values, "student": values["teacher"]}
    config = make_config({**values, "method": method})
    names = tuple(name.strip() for name in (namespace.features or "").split(",") if name.strip())
    with show.Counter("asking the teacher") as counter:
        done = capturing.capture(config, directory, form=_form(namespace), features=names, on_shard=counter.tell_share)
    if done.elsewhere:
        show.line("elsewhere", f"{done.elsewhere} of {done.shards} shards are being written by other processes.")
    show.line("asked", f"{done.asked} of {done.shards} shards; the others were there.")
    return _info(directory, namespace, values)


def _write(directory: Path, namespace: argparse.Namespace, values: Document) -> int:
    with show.Counter("asking the teacher") as counter:
        done = writing.write_completions(
            make_config({**values, "method": "sft"}),
            directory,
            top_k=namespace.top_k or 0,
            on_part=counter.tell_share,
        )
    show.line("written", f"{done.written:,} completions, in {done.path}")
    if done.left_out:
        why = ", ".join(f"{reason} ({count})" for reason, count in done.left_out.most_common())
        show.line("left out", f"{sum(done.left_out.values()):,} answers that are none: {why}")
    for words in done.remarks:
        show.line("cost", words)
    if namespace.top_k:
        show.line("stored", f"the likeliest tokens of {done.aligned:,} completions")
    show.line("use", f"--data {done.path}" + (f" --teacher cache:{directory}" if namespace.top_k else ""))
    return 0


def _is_language(data: str) -> bool:
    """Whether data are questions: a world of them, or a file whose first row has a prompt or a conversation."""
    path = Path(data)
    if data in worlds.names():
        return data in worlds.names("questions")
    if not path.is_file():
        return False
    if tables.kind_of(path) in tables.LINES:
        return any(is_language(record) for _, record in itertools.islice(tables.lines_of(path), 1))
    if path.suffix.lower() != ".parquet":
        return False
    return is_language(import_optional("pyarrow.parquet", "data", f"Reading {path.name}").read_schema(path).names)


def _form(namespace: argparse.Namespace) -> Form | None:
    bits = namespace.bits
    if namespace.top_k is not None:
        return Form("top_k", namespace.top_k, bits or 8)
    if namespace.draws is not None:
        return Form("sampled", namespace.draws, bits or 8)
    return None if bits is None else Form(bits=bits)


def _info(directory: Path, namespace: argparse.Namespace, _values: Document) -> int:
    found = signal_store.inventory(directory)
    if namespace.json:
        counts = {name: getattr(found, name) for name in ("shards", "rows", "positions", "bytes")}
        show.write_json({**counts, "lost": dict(found.lost), "facts": dict(found.facts)})
        return 0
    facts, form = found.facts, found.facts["form"]
    tokens = facts["unit"] == TOKEN
    kept = {"dense": "all of it", "top_k": "the {} likeliest", "sampled": "{} drawn"}[form["kept"]].format(
        form["count"]
    )
    what = f"{found.positions:,} tokens of {found.rows:,} completions" if tokens else f"{found.rows:,} examples"
    show.line("teacher", facts["teacher"]["spec"])
    show.line("data", f"{facts['data']['name']}: {what}, in {found.shards} shards")
    show.line("kept", f"{kept}, {form['bits']} bits a number; {found.each:,.1f} bytes for each {facts['unit']}")
    for name, words in _LOST.items():
        if name in found.lost:
            show.line("lost", f"{found.lost[name]:.2g} {words}")
    show.line("use", f"--teacher cache:{directory}")
    return 0


_KEPT = {"dense": "all of it", "top_k": "the {} likeliest", "sampled": "{} drawn"}
_LOST = {
    "kl": "nats of KL(teacher || stored), with the rest spread evenly",
    "kl_kept": "nats over those that are kept and one more for the rest",
    "rms": "of the root mean square of the representations",
}


def _verify(directory: Path, namespace: argparse.Namespace, _values: Document) -> int:
    signal_store.check_facts(directory, {})
    found = signal_store.shards(directory)
    wrong = [words for shard in found if (words := shard.verify())]
    if namespace.json:
        show.write_json({"shards": len(found), "wrong": wrong})
    else:
        for words in wrong:
            show.line("wrong", words)
        show.line("verified", f"{len(found) - len(wrong)} of {len(found)} shards are as they were written.")
    return 1 if wrong else 0


def _merge(directory: Path, namespace: argparse.Namespace, values: Document) -> int:
    if not namespace.others:
        raise ConfigError("merge needs another cache: didact cache merge DIR OTHER.")
    copied = sum(signal_store.merge(directory, Path(other)) for other in namespace.others)
    show.line("merged", f"{copied} shards were copied.")
    return _info(directory, namespace, values)


def _prune(directory: Path, namespace: argparse.Namespace, values: Document) -> int:
    for name in signal_store.prune(directory):
        show.line("deleted", name)
    return _info(directory, namespace, values)
