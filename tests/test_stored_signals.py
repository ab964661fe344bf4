"""Caches of a teacher's answers: built, killed, read, refused, and taught from."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import didact
from blobs import DATA
from didact.cli import main
from didact.errors import DataError, DidactError, TeacherError
from didact.experiment import capturing
from didact.experiment.config import make_config
from didact.experiment.material import Objects
from didact.experiment.preparing import assemble
from didact.memory import signal_store
from didact.memory.coding import Form
from didact.memory.signal_store import SignalStore
from didact.teachers import StoredTeacher

EXAMPLES = {"data": "wine", "student": "mlp:4", "steps": 12, "progress": False, "labels": 40}
WORDS = ["the", "cat", "dog", "sees", "big", "small", "red", "house", "tree", "and", "runs"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student is the teacher here."""
    out = tmp_path_factory.mktemp("taught") / "run"
    didact.run("supervised", data="wine", student="mlp:16", steps=60, progress=False, directory=out)
    return out


@pytest.fixture(scope="module")
def asked(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its answers to all rows."""
    out = tmp_path_factory.mktemp("asked") / "cache"
    capturing.capture(config_of(taught), out, shard=1)
    return out


def config_of(teacher: object, **more: object) -> Any:
    return make_config({**EXAMPLES, "method": "distill", "teacher": f"run:{teacher}", **more})


def same(first: Any, second: Any) -> bool:
    """Whether two runs delivered the same weights, to the bit."""
    mine, theirs = (run.student.learner.state_dict() for run in (first, second))
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_cache_teaches_what_the_teacher_teaches(taught: Path, asked: Path) -> None:
    live = didact.run("distill", teacher=f"run:{taught}", **EXAMPLES)
    stored = didact.run("distill", teacher=f"cache:{asked}", **EXAMPLES)
    other = didact.run("distill", teacher="random", **EXAMPLES)
    assert same(live, stored) and not same(live, other)
    assert stored.metrics == live.metrics


@pytest.mark.slow
def test_a_build_that_is_killed_at_random_moments_ends_with_the_same_bytes(taught: Path, tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    config, chance = config_of(taught), random.Random(0)
    capturing.capture(config, calm, shard=1)
    whole, kills = files(calm), 0
    start = time.monotonic()
    capturing.capture(config, tmp_path / "timed", shard=1)
    lasts = time.monotonic() - start
    while kills < 10:
        child = os.fork()
        if child == 0:
            capturing.capture(config, killed, shard=1)
            os._exit(0)
        time.sleep(chance.random() * lasts)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    capturing.capture(config, killed, shard=1)
    assert {name: kept for name, kept in files(killed).items() if not name.startswith(".")} == whole


def test_a_shard_that_is_there_is_not_asked_for_again(taught: Path, asked: Path) -> None:
    again = capturing.capture(config_of(taught), asked, shard=1)
    assert (again.asked, again.elsewhere) == (0, 0) and again.shards > 1


def test_another_process_keeps_the_shard_that_it_is_writing(taught: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    capturing.capture(config_of(taught), store, shard=1)
    for path in store.glob("000000.*"):
        path.unlink()
    with signal_store.claimed(store, "000000"):
        done = capturing.capture(config_of(taught), store, shard=1)
    assert (done.asked, done.elsewhere) == (0, 1)
    assert capturing.capture(config_of(taught), store, shard=1).asked == 1


@pytest.mark.parametrize("change", ["cut", "altered", "gone", "empty"])
def test_a_shard_that_is_not_what_was_written_is_named(asked: Path, tmp_path: Path, change: str) -> None:
    store = tmp_path / "cache"
    shutil.copytree(asked, store)
    path = store / "000000.arrow"
    data = path.read_bytes()
    if change == "altered":
        path.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if change == "cut" else b"")
    assert main(["cache", "verify", str(store)]) == 1
    with pytest.raises(DataError, match=r"000000\.arrow is broken"):
        didact.run("distill", teacher=f"cache:{store}", **EXAMPLES)
    with pytest.raises(DataError, match=r"000000\.arrow is broken"):
        SignalStore(store, verify=True)
    # What is pruned is asked for again, and the rest is not.
    main(["cache", "prune", str(store)])
    assert main(["cache", "verify", str(store)]) == 0


def test_a_pruned_shard_is_built_again(taught: Path, asked: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    shutil.copytree(asked, store)
    (store / "000000.arrow").write_bytes(b"")
    signal_store.prune(store)
    assert capturing.capture(config_of(taught), store, shard=1).asked == 1
    assert files(store) == files(asked)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"teacher": "run:OTHER"}, "teacher"),
        ({"form": Form(bits=16)}, "form"),
    ],
)
def test_two_writers_with_different_settings_are_told_what_differs(
    taught: Path, asked: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    form = change.pop("form", None)
    if "teacher" in change:
        didact.run("supervised", data="wine", student="mlp:16", steps=5, progress=False, directory=tmp_path / "other")
        change = {"teacher": f"run:{tmp_path / 'other'}"}
    config = make_config({**EXAMPLES, "method": "distill", "teacher": f"run:{taught}", "teacher_epochs": 1, **change})
    before = files(asked)
    with pytest.raises(DataError, match=words):
        capturing.capture(config, asked, form=form, shard=1)
    assert files(asked) == before


def test_a_cache_of_other_data_or_classes_is_refused_before_the_run(asked: Path) -> None:
    for other in ({"data": "breast_cancer"}, {"data": DATA}):
        with pytest.raises(DidactError, match="cache"):
            didact.run("distill", **{**EXAMPLES, **other, "teacher": f"cache:{asked}"})


def test_what_is_missing_is_refused_or_asked_for_and_kept(taught: Path, asked: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    shutil.copytree(asked, store)
    for path in store.glob("000000.*"):
        path.unlink()
    with pytest.raises(TeacherError, match="has no signal for"):
        didact.run("distill", teacher=f"cache:{store}", **EXAMPLES)
    live = didact.run("distill", teacher=f"run:{taught}", **EXAMPLES)
    filled = didact.run("distill", teacher=f"cached:{store}:run:{taught}", **EXAMPLES)
    assert same(live, filled)
    added = [shard for shard in signal_store.shards(store) if shard.path.name.startswith("asked-")]
    assert added and len(SignalStore(store)) == len(SignalStore(asked))
    again = didact.run("distill", teacher=f"cache:{store}", **EXAMPLES)
    assert same(live, again)


def test_the_answers_of_another_teacher_are_not_added(asked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    didact.run("supervised", data="wine", student="mlp:16", steps=5, progress=False, directory=other)
    with pytest.raises(TeacherError, match="others"):
        didact.run("distill", teacher=f"cached:{asked}:run:{other}", **EXAMPLES)
    with pytest.raises(TeacherError, match="trained in each run"):
        didact.run("distill", teacher=f"cached:{asked}:mlp:4", **EXAMPLES)


def test_representations_are_stored_and_tapped(taught: Path, tmp_path: Path) -> None:
    config, store = config_of(taught), tmp_path / "cache"
    live = assemble(config, Objects())
    name = live.teacher.candidates()[0]
    capturing.capture(config, store, features=[name])
    teacher = StoredTeacher(SignalStore(store))
    assert teacher.candidates() == [name]
    batch = live.data.train.batch(slice(0, 9))
    plain = teacher.signal(batch)
    live.teacher.tap(name)
    teacher.tap(name)
    mine, theirs = teacher.signal(batch), live.teacher.signal(batch)
    assert torch.allclose(mine.features[name], theirs.features[name], rtol=1e-3, atol=1e-3)
    assert torch.allclose(plain.logits, theirs.logits, rtol=1e-3, atol=1e-3)
    with pytest.raises(TeacherError, match="--features"):
        teacher.tap("elsewhere")


def test_a_regression_is_stored_in_its_unit(tmp_path: Path) -> None:
    shared = {"data": "diabetes", "student": "mlp:4", "steps": 8, "progress": False, "seed": 1}
    didact.run("supervised", **{**shared, "student": "mlp:16"}, directory=tmp_path / "run")
    teacher = f"run:{tmp_path / 'run'}"
    capturing.capture(make_config({**shared, "method": "distill", "teacher": teacher}), tmp_path / "cache")
    live = didact.run("distill", teacher=teacher, **shared)
    stored = didact.run("distill", teacher=f"cache:{tmp_path / 'cache'}", **shared)
    assert stored.metrics["r2"] == pytest.approx(live.metrics["r2"], abs=1e-5)


def test_the_command_line_builds_and_tells(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = str(tmp_path / "cache")
    assert main(["cache", "build", store, "--data", "wine", "--teacher", f"run:{taught}", "--student", "mlp:4"]) == 0
    told = capsys.readouterr().out
    assert (
        "178 examples" in told and f"cache:{store}" in told and all(len(line) <= 80 for line in told.splitlines()[:3])
    )
    assert main(["cache", "info", store, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 178 and found["lost"]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert main(["cache", "merge", store]) == 2
    assert main(["cache", "fill", store]) == 2
    assert main(["cache", "info", str(tmp_path / "nothing")]) == 2


# Language models.


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of prompts with completions."""
    chance, path = random.Random(0), tmp_path_factory.mktemp("chats") / "chats.jsonl"
    prompts = [" ".join(chance.choices(WORDS, k=chance.randint(2, 5))) for _ in range(48)]
    path.write_text("".join(json.dumps({"prompt": p + " =", "completion": " " + p.upper()}) + "\n" for p in prompts))
    return path


@pytest.fixture(scope="module")
def speaker(chats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that delivered a language model."""
    out = tmp_path_factory.mktemp("speaker") / "run"
    didact.run("sft", data=str(chats), student="decoder:1x32:64", steps=30, progress=False, directory=out)
    return out


GKD = {
    "student": "decoder:1x16:64",
    "steps": 6,
    "progress": False,
    "on_policy": 0.0,
    "batch_size": 8,
    "sampling": "max_new_tokens=16",
}


def test_a_language_model_is_taught_from_the_cache(chats: Path, speaker: Path, tmp_path: Path) -> None:
    teacher, store = f"run:{speaker}", tmp_path / "cache"
    main(["cache", "build", str(store), "--data", str(chats), "--teacher", teacher, "--top-k", "259", "--bits", "32"])
    live = didact.run("gkd", data=str(chats), teacher=teacher, **GKD)
    stored = didact.run("gkd", data=str(chats), teacher=f"cache:{store}", **GKD)
    mine, theirs = stored.student.state_dict(), live.student.state_dict()
    assert all(torch.allclose(mine[name], theirs[name], atol=2e-4) for name in mine)
    assert "teacher_kl" not in stored.metrics


def test_packed_rows_find_the_sequences_in_them(chats: Path, speaker: Path, tmp_path: Path) -> None:
    teacher, store = f"run:{speaker}", tmp_path / "cache"
    shared = {name: value for name, value in GKD.items() if name not in ("on_policy", "sampling")}
    config = make_config({**shared, "method": "taid", "data": str(chats), "teacher": teacher, "packing": 64})
    capturing.capture(config, store, form=Form("top_k", 259, 32))
    run = assemble(config, Objects())
    batch, kept = next(iter(run.source)), StoredTeacher(SignalStore(store))
    assert "segments" in batch and int(batch["segments"].max()) > 1
    needed = torch.cat([batch["completion_mask"][:, 1:], torch.zeros_like(batch["completion_mask"][:, :1])], 1)
    mine = kept.signal(batch).log_softmax(outcomes=259)[needed]
    theirs = run.teacher.signal(batch).log_softmax()[needed]
    assert torch.allclose(mine, theirs[:, :259].log_softmax(-1), atol=1e-4)


def test_tokens_that_are_not_stored_are_refused(chats: Path, speaker: Path, tmp_path: Path) -> None:
    store, other = tmp_path / "cache", tmp_path / "other.jsonl"
    main(["cache", "build", str(store), "--data", str(chats), "--teacher", f"run:{speaker}", "--top-k", "8"])
    other.write_text("".join(json.dumps({"prompt": f"{i} =", "completion": " no"}) + "\n" for i in range(40)))
    with pytest.raises(TeacherError, match="has no signal for"):
        didact.run("gkd", data=str(other), teacher=f"cache:{store}", **GKD)
    filled = didact.run("gkd", data=str(other), teacher=f"cached:{store}:run:{speaker}", **GKD)
    assert filled.metrics and any(shard.path.name.startswith("asked-") for shard in signal_store.shards(store))


def test_a_cache_of_another_tokenizer_is_refused(chats: Path, speaker: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    main(["cache", "build", str(store), "--data", str(chats), "--teacher", f"run:{speaker}", "--top-k", "8"])
    facts = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**facts, "tokenizer": "0" * 32}))
    with pytest.raises(TeacherError, match="tokenizer"):
        didact.run("gkd", data=str(chats), teacher=f"cache:{store}", **GKD)


def test_a_longer_stretch_of_a_sequence_is_found_and_not_pruned(asked: Path, tmp_path: Path) -> None:
    facts = json.loads((asked / "store.json").read_text())
    signal_store.begin(tmp_path, {name: value for name, value in facts.items() if name != "format"})
    for name, length, value in (("a", 3, 1.0), ("b", 1, 2.0), ("c", 3, 3.0)):
        tensors = {"logits": np.full((length, 3), value, np.float32)}
        rows = signal_store.Rows(np.array([7]), np.zeros(1, np.int32), np.array([length], np.int32), tensors)
        signal_store.write_shard(tmp_path, name, rows, {})

    def found() -> tuple[int, float]:
        store = SignalStore(tmp_path)
        _, length, start = store.spans(store.find(torch.tensor([7])))
        return int(length), float(store.get(start).logits[0, 0])

    assert found() == (3, 3.0)
    assert signal_store.prune(tmp_path) == ["c.arrow", "c.json"]
    assert found() == (3, 1.0)


def test_a_teacher_that_nothing_tells_from_others_is_not_asked(asked: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    shutil.copytree(asked, store)
    facts = json.loads((store / "store.json").read_text())
    facts["teacher"]["weights"] = ""
    (store / "store.json").write_text(json.dumps(facts))
    with pytest.raises(TeacherError, match="neither weights nor a file"):
        didact.run("distill", teacher=f"cached:{store}:random", **EXAMPLES)


def test_other_programs_read_the_shards(asked: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    with pa.memory_map(str(asked / "000000.arrow")) as source:
        frame = pa.ipc.open_file(source).read_all().to_pandas()
    assert isinstance(frame, pd.DataFrame) and len(frame["logits"][0]) == 3 and (frame["length"] == 1).all()
