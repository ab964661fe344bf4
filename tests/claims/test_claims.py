"""Claims: what is refused, how they are judged, how they are run again, kept and found stale."""

import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import didact
from didact import catalogue
from didact.claiming import Claim
from didact.claims import code, entries, recording, replicating, workers
from didact.claims.store import ResultStore
from didact.cli import main
from didact.errors import ConfigError, DataError, MissingExtraError, RunError
from own_claims import WORDS, write


def seeds_run(store, **settings):
    """The seeds whose arms are run now."""
    seen = []
    found = replicating.replicate(["mine.py"], store=store, on_result=lambda *news: seen.append(news[2]), **settings)
    return sorted(set(seen)), found[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"statement": " "}, "The claim's statement is empty"),
        (
            {"baseline": "supervize"},
            "The claim's baseline is 'supervize', which is not known. Did you mean supervised?",
        ),
        (
            {"cheap": "mine"},
            "The claim's method is 'mine', but its baseline, cheap alternative, ablation and untaught arm",
        ),
        ({"equal": "step"}, "The claim's equal is 'step', which is not known. Did you mean"),
        ({"settings": {"seed": 3}}, "The claim's settings hold 'seed'"),
        ({"seeds": (1, 2, 3, 4)}, "The claim's seeds are [1, 2, 3, 4]; give 5 or more"),
        ({"seeds": (1, 2, 3, 4, 4)}, "The claim's seeds are [1, 2, 3, 4, 4]; give 5 or more, each once."),
        ({"tuned_on": ()}, "The claim has one of tuned_on and tuned"),
        ({"tuned_on": (9, 10)}, "seeds has 9, on which settings of this claim were chosen"),
    ],
)
def test_what_a_claim_refuses(changes, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Claim(**{**WORDS, **changes})


def test_a_claim_is_read_without_running_the_file(work):
    info = write()
    assert info.claim == Claim(**WORDS)
    Path("mine.py").write_text(Path("mine.py").read_text().replace("seeds=(5, 6, 7, 8, 9)", "seeds=tuple(range(5))"))
    with pytest.raises(
        ConfigError, match=r"The claim's seeds in .*mine\.py is tuple\(range\(5\)\), but must be written"
    ):
        _ = catalogue.find("mine.py").claim
    with pytest.raises(ConfigError, match=r"cannot be made: .*'wrld'"):
        _ = write(wrld="digits").claim


def test_the_claims_in_the_files_are_those_of_the_modules():
    for info in catalogue.listing():
        assert info.claim == getattr(info._module, "CLAIM", None), info.name


@pytest.mark.slow
def test_it_is_what_compare_finds(store):
    claim = write(world="digits").claim
    _, found = seeds_run(store)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wanted = didact.compare(
            dict(claim.arms),
            seeds=claim.seeds,
            reference="supervised",
            data=claim.world,
            device="cpu",
            split_seed=workers.SPLIT_SEED,
            **claim.settings,
        )
    finally:
        torch.set_num_threads(threads)
    for arm in claim.arms:
        for mine, theirs in zip(found.comparison.results[arm], wanted.comparison.results[arm], strict=True):
            assert mine.metrics == theirs.metrics
    kept = store.read("mine")
    accuracy = {
        arm: np.array([kept["seeds"][str(seed)][arm]["metrics"]["accuracy"] for seed in claim.seeds])
        for arm in claim.arms
    }
    for other, effect, interval in (
        ("supervised", "effect", "interval"),
        ("label_spreading", "effect_on_cheap", "interval_on_cheap"),
    ):
        apart = accuracy["mine"] - accuracy[other]
        assert kept[effect] == pytest.approx(apart.mean(), abs=1e-12)
        if apart.std():
            ends = stats.t.interval(0.95, 4, apart.mean(), stats.sem(apart))
            np.testing.assert_allclose(kept[interval], ends, rtol=1e-9)
    assert kept["verdict"] == found.verdict == "undecided"
    assert kept["budget"]["spent"]["supervised"] == 4


def test_a_killed_replication_goes_on(store):
    write()
    seen = []

    def interrupt(_method, arm, seed, _result):
        assert set(store.finished("mine", basis())) == {str(kept) for kept in range(5, seed)}
        seen.append((arm, seed))
        if (arm, seed) == ("supervised", 7):
            raise KeyboardInterrupt

    def basis():
        from didact.claims.store import basis

        return basis(catalogue.find("mine.py").claim)

    with pytest.raises(KeyboardInterrupt):
        replicating.replicate(["mine.py"], store=store, on_result=interrupt)
    assert store.read("mine") is None
    seeds, found = seeds_run(store)
    assert seeds == [7, 8, 9]
    assert not store.partial("mine").exists()
    whole = ResultStore(store.path / "elsewhere")
    assert seeds_run(whole)[0] == [5, 6, 7, 8, 9]
    ours, theirs = (one.read("mine") for one in (store, whole))
    assert found.stored == store.file("mine")
    assert ours["summary"] == theirs["summary"]


@pytest.mark.slow
def test_what_was_finished_by_other_code_is_run_again(store):
    write()
    with pytest.raises(KeyboardInterrupt):
        replicating.replicate(["mine.py"], store=store, on_result=_interrupt_at(7))
    source = Path("mine.py").read_text()
    Path("mine.py").write_text(source.replace("smooth: float = 0.0", "smooth: float = 0.1"))
    assert seeds_run(store)[0] == [5, 6, 7, 8, 9]
    store.partial("mine").write_text('{"format": "didact cl')
    assert seeds_run(store)[0] == [5, 6, 7, 8, 9]


def test_a_finished_seed_whose_cost_cannot_be_is_refused(store):
    write()
    with pytest.raises(KeyboardInterrupt):
        replicating.replicate(["mine.py"], store=store, on_result=_interrupt_at(7))
    document = json.loads(store.partial("mine").read_text())
    document["seeds"]["5"]["arms"]["mine"]["cost"]["seconds"] = -1.0
    store.partial("mine").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"seed of 'mine' has an invalid cost: seconds is -1\.0"):
        replicating.replicate(["mine.py"], store=store)


def _interrupt_at(last):
    def interrupt(_method, _arm, seed, _result):
        if seed == last:
            raise KeyboardInterrupt

    return interrupt


def test_a_result_is_stale_when_what_it_rests_on_has_changed(store):
    info = write()
    assert store.stale(info) is None
    assert entries.verdict_words([info], store) == ["not run yet"]
    seeds_run(store)
    assert store.stale(info) == []
    source = Path("mine.py").read_text()
    harmless = source.replace("Plain training on the labels", "Very plain training").replace(
        "It helps.", "It may help."
    )
    Path("mine.py").write_text(harmless.replace("learner: the student.", "learner: who learns.") + "# the end\n")
    assert store.stale(catalogue.find("mine.py")) == []
    Path("mine.py").write_text(source.replace("smooth: float = 0.0", "smooth: float = 0.1"))
    assert store.stale(catalogue.find("mine.py")) == ["mine.py"]
    assert entries.verdict_words([catalogue.find("mine.py")], store) == ["first design"]
    Path("mine.py").write_text(source.replace("'steps': 4", "'steps': 5"))
    assert store.stale(catalogue.find("mine.py")) == ["claim.settings"]
    assert entries.catalogue_entry(catalogue.find("mine.py"), store)["claim"]["fresh"] is False
    store.file("mine").write_text("[]")
    with pytest.raises(DataError, match="is not the result of a claim"):
        store.stale(info)


PACKAGE = {
    "losses/__init__.py": "from didact.losses.near import f\nfrom didact.losses.far import g\n",
    "losses/near.py": '"""Words."""\n\nfrom didact.losses._deep import h\n\nK = 3\nX = "# no comment"\n\n\n'
    'def f(x):\n    """More."""\n    return h(x) + K  # a comment\n\n\ndef beside():\n    return X\n',
    "losses/far.py": "def g(): return 1\n",
    "losses/_deep.py": "import math\nimport didact.types\ndef h(x): return math.exp(x)\n",
    "nets.py": "A = 1\nB = A\nC = 2\n",
    "types/__init__.py": "from didact.errors import E\ndef t(): raise E\n",
    "errors.py": "class E(Exception): ...\n",
    "method.py": "from didact import nets\nfrom didact.losses import f\nCLAIM = Claim(word='x')\n\n"
    "def loss(x):\n    from didact.types import t\n    return f(x) + nets.B + t()\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package with the name of ours; what it gives finds the digests of what a method uses of it."""
    root = tmp_path / "didact"
    monkeypatch.setattr(code, "PACKAGE", root)

    def digests(ran=None, **changes):
        code._read.cache_clear()
        code._direct.cache_clear()
        for name, text in {**PACKAGE, **changes}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = code.closure([(root / "method.py", None)], ran)
        return {path.relative_to(root).as_posix(): sorted(texts) for path, texts in found.items()}

    return digests


def test_what_is_used_is_followed_to_where_it_is_defined(package):
    assert package() == {
        "method.py": ["def loss(x):\n    from didact.types import t\n    return f(x) + nets.B + t()"],
        "losses/near.py": ["K = 3", "def f(x):\n    return h(x) + K"],
        "losses/_deep.py": ["def h(x): return math.exp(x)", "math is math None"],
        "nets.py": ["A = 1", "B = A"],
    }


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("losses/near.py", "Words", "Other words", False),
        ("losses/near.py", "More", "Less", False),
        ("losses/near.py", "  # a comment", "", False),
        ("losses/near.py", "\n\n\n", "\n", False),
        ("losses/near.py", "return X", "return 2", False),
        ("losses/near.py", "# no comment", "# another", False),
        ("losses/far.py", "1", "2", False),
        ("nets.py", "C = 2", "C = 3", False),
        ("types/__init__.py", "raise E", "return E", False),
        ("method.py", "word='x'", "word='y'", False),
        ("losses/near.py", "K = 3", "K = 4", True),
        ("losses/near.py", "h(x) + K", "h(x) - K", True),
        ("losses/_deep.py", "math.exp", "math.log", True),
        ("losses/_deep.py", "import math", "import cmath as math", True),
        ("losses/__init__.py", "didact.losses.near import f", "didact.losses.far import g as f", True),
        ("nets.py", "A = 1", "A = 0", True),
        ("method.py", "nets.B", "nets.C", True),
    ],
)
def test_what_changes_a_figure_counts_and_nothing_else(package, name, old, new, counts):
    assert old in PACKAGE[name]
    before = package()
    assert (package(**{name: PACKAGE[name].replace(old, new)}) != before) == counts


ROLLOUTS = """
import functools

N = 3


class Writer:
    kind = "w"

    def write(self):
        return local() + N

    def serve(self):
        return Server().ask()


class Server:
    def ask(self):
        return port()


class Base:
    pass


class Drawer(
    Base,
):
    def draw(self):
        return port()

    def look(self):
        return 0


class Shape:
    sides = 3


@functools.cache
def table(): return N


def local(): return Shape.sides + table() + Drawer().look()


def port(): return 80
"""
SAMPLING = {
    "rollouts/writer.py": ROLLOUTS,
    "method.py": "from didact.rollouts.writer import Writer\ndef loss(x): return Writer().write()\n",
}


def called(work, monkeypatch):
    """What is recorded of a run of a package that is like ours."""
    names = dict.fromkeys([*SAMPLING, "rollouts/__init__.py", "__init__.py"], "")
    for name, text in {**names, **SAMPLING}.items():
        path = work / "didact_like" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("didact.", "didact_like."))
    monkeypatch.syspath_prepend(work)
    monkeypatch.setattr(recording, "PACKAGE", work / "didact_like")
    for name in [name for name in sys.modules if name.startswith("didact_like")]:
        del sys.modules[name]
    method = importlib.import_module("didact_like.method")
    ran = {}
    with recording.recorded(ran):
        assert method.loss(1) == 9
    assert sys.getprofile() is None
    return code.shared(ran)


def test_of_rooms_that_many_share_the_functions_count_that_were_called(package, work, monkeypatch):
    ran = called(work, monkeypatch)
    assert ran == {"rollouts/writer.py": ["Drawer.look", "Writer.write", "local", "table"]}
    everything, mine = package(**SAMPLING), package(ran, **SAMPLING)
    assert any("port" in text for text in everything["rollouts/writer.py"])
    assert mine["rollouts/writer.py"] == [
        "@functools.cache\ndef table(): return N",
        "N = 3",
        "class Base:\n    pass",
        "class Drawer(\n    Base,\n):\n    def look(self):\n        return 0",
        "class Shape:\n    sides = 3",
        'class Writer:\n    kind = "w"\n    def write(self):\n        return local() + N',
        "def local(): return Shape.sides + table() + Drawer().look()",
        "functools is functools None",
    ]


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("return port()", "return 8", False),
        ("return 80", "return 81", False),
        ("def draw(self):", "def draw(self, more=0):", False),
        ("Base,\n", "Shape,\n", True),
        ("return Server().ask()", "return 2", False),
        ("def port()", "def other(): return 5\n\n\ndef port()", False),
        ("class Server:", 'class Server:\n    """Words."""', False),
        ("return local() + N", "return local() - N", True),
        ("N = 3", "N = 4", True),
        ("sides = 3", "sides = 4", True),
        ("Shape.sides + table()", "Shape.sides", True),
        ('kind = "w"', 'kind = "v"', True),
    ],
)
def test_an_edit_counts_where_it_was_run(package, work, monkeypatch, old, new, counts):
    ran = called(work, monkeypatch)
    before = package(ran, **SAMPLING)
    after = package(ran, **{**SAMPLING, "rollouts/writer.py": ROLLOUTS.replace(old, new, 1)})
    assert (after != before) == counts


def test_a_stored_result_knows_what_its_arms_called(store):
    info = write()
    seeds_run(store)
    found = store.read("mine")
    assert "Writer.write" not in str(found["ran"]) and "ModuleLearner.forward" in found["ran"]["learners/module.py"]
    assert found["code"] == code.digests(info.claim, found["ran"]) != code.digests(info.claim)
    assert store.stale(info) == []


def test_the_kinds_of_parts_that_a_claim_names_are_followed():
    arms = {"a": "distill", "b": {"method": "distill", "teacher": "noisy:0.3:cnn:4"}, "c": "distill,student=mlp:4"}
    claim = Claim(
        statement="a",
        arms=arms,
        method="a",
        baseline="b",
        cheap="c",
        settings={"verifier": "exact"},
        equal="steps",
        shows="b",
        omits="c",
    )
    kinds = [path.removeprefix("parts/") for path in code.digests(claim) if path.startswith("parts/")]
    assert [kind for kind in kinds if "/_" not in kind] == [
        *("students/cnn.py", "students/mlp.py", "teachers/model.py", "teachers/noisy.py", "verifiers/exact.py"),
    ]


def test_seeds_that_were_tuned_on_are_refused(store, capsys):
    write()
    with pytest.raises(ConfigError, match="seeds has 1, on which settings of this claim were chosen, so that results"):
        replicating.replicate(["mine.py"], seeds=[1, 2, 3, 4, 5], store=store)
    assert main(["replicate", "mine.py", "--seeds", "0-4"]) == 2
    assert "take others than 0, 1." in " ".join(capsys.readouterr().err.split())


def test_other_seeds_and_worlds_are_shown_and_not_kept(store, capsys):
    write()
    seeds, found = seeds_run(store, seeds=[20, 21])
    assert (seeds, found.stored, store.path.exists()) == ([20, 21], None, False)
    assert main(["replicate", "mine.py", "--seeds", "20", "--store", str(store.path)]) == 0
    out = capsys.readouterr().out
    assert "one seed: mine less supervised is" in " ".join(out.split())
    assert "stored   no" in out
    assert max(map(len, out.splitlines())) <= 80
    with pytest.raises(ConfigError, match=r"world is 'digit', which is not known\. Did you mean"):
        replicating.replicate(["mine.py"], world="digit", store=store)
    with pytest.raises(RunError, match=r"The claim cannot be run on the world 'diabetes'\. There is no"):
        replicating.replicate(["mine.py"], world="diabetes", store=store)


def test_unequal_budgets_are_no_evidence(store, capsys):
    write(arms={**WORDS["arms"], "mine": {"method": "mine.py", "batch_size": 20}}, equal="examples")
    assert main(["replicate", "mine.py", "--store", str(store.path)]) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "The claim holds examples equal, but with seed 5 'mine' spent 80 and 'supervised' 160" in said
    assert not store.file("mine").exists()
    with pytest.raises(RunError, match="holds examples equal"):
        replicating.replicate(["mine.py"], store=store)


def test_an_arm_that_cannot_run_is_told_and_the_others_go_on(store, capsys):
    write(settings={**WORDS["settings"], "student": "mpl:4"})
    Path("other.py").write_text(Path("mine.py").read_text().replace("mpl:4", "mlp:4").replace("mine", "other"))
    assert main(["replicate", "mine.py", "other.py", "--store", str(store.path)]) == 2
    out = capsys.readouterr().out
    assert "student is 'mpl:4'" in out
    assert store.file("other").exists()


@pytest.mark.slow
def test_processes_find_the_same(store):
    write()
    _, alone = seeds_run(store, seeds=[20, 21])
    seeds, together = seeds_run(store, seeds=[20, 21], jobs=2)
    assert seeds == [20, 21]
    for arm, results in alone.comparison.results.items():
        assert [r.metrics for r in together.comparison.results[arm]] == [r.metrics for r in results]


@pytest.mark.slow
def test_a_process_that_dies_is_told_in_a_sentence(store):
    source = catalogue.find("supervised").path.read_text()
    dying = source.replace(
        "        logits, smoothing = self",
        "        import os\n\n        os._exit(1)\n        logits, smoothing = self",
        1,
    )
    assert dying != source
    write(source=dying)
    with pytest.raises(RunError, match="One of the processes was killed"):
        replicating.replicate(["mine.py"], store=store, jobs=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_gives_the_same(store, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="it is an extra of its own")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Other tests must not starve its processes.
    write(seeds=(5, 6, 7, 8, 9))
    (alone,) = replicating.replicate(["mine.py"], store=store)
    other, seen = ResultStore(tmp_path / "other"), []
    (there,) = replicating.replicate(["mine.py"], store=other, ray="local", on_result=lambda *news: seen.append(news))
    assert {news[2] for news in seen} == {5, 6, 7, 8, 9}
    for arm, results in alone.comparison.results.items():
        assert [r.metrics for r in there.comparison.results[arm]] == [r.metrics for r in results]


def test_workers_that_are_not_there_are_refused(store, monkeypatch):
    write()
    with pytest.raises(ConfigError, match="jobs is 2, but a Ray cluster runs one process on each"):
        replicating.replicate(["mine.py"], store=store, jobs=2, ray="local")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"Replicating on a Ray cluster needs .*didact\[ray\]"):
        replicating.replicate(["mine.py"], store=store, ray="local")


def test_the_command_line(store, capsys):
    write(seeds=(5, 6, 7, 8, 9, 10))
    assert main(["show", "mine.py", "--store", str(store.path)]) == 0
    assert "none are stored yet" in capsys.readouterr().out
    assert main(["replicate", "mine.py", "--store", str(store.path)]) == 0
    out = capsys.readouterr().out
    assert "undecided: mine less supervised is" in out
    assert "budget   4 steps for mine and supervised alike" in out
    assert main(["replicate", "mine.py", "--stale"]) == 0
    assert main(["show", "mine.py", "--store", str(store.path)]) == 0
    out = capsys.readouterr().out
    assert "Its claim: It helps." in out
    assert "seeds    5, 6, 7, 8, 9, 10 on wine" in out
    for words, said in (
        ([], "Give the claims to replicate by one of"),
        (["distill", "--all"], "Give the claims to replicate by one of"),
        (["supervised"], "The method 'supervised' has no claim to replicate. These have one:"),
        (["--family", "distilation"], "There is no family 'distilation'. Did you mean distillation or"),
        (["distill", "--jobs", "0"], "jobs is 0, but must be at least 1."),
    ):
        assert main(["replicate", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_the_catalogue_needs_no_torch_and_says_what_is_stored(store):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from didact.cli import main; main(['list', '--json']); assert 'torch' not in sys.modules",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert found["distill"]["needs"] == ["labels", "teacher", "unlabelled examples"]
    assert found["fitnet"]["needs"] == [
        "labels",
        "teacher",
        "teacher's features",
        "learner's features",
        "unlabelled examples",
    ]
    assert found["mutual_learning"]["needs"] == ["labels", "further learners", "unlabelled examples"]
    assert found["mean_teacher"]["needs"] == ["labels", "unlabelled examples", "augmented views"]
    assert (found["supervised"]["needs"], found["supervised"]["claim"]) == (["labels"], None)
    wanted = {
        "statement",
        "world",
        "metric",
        "arms",
        "effect",
        "interval",
        "seeds",
        "verdict",
        "budget",
        "cost",
        "fresh",
    }
    assert wanted <= set(found["distill"]["claim"])
    info = write()
    seeds_run(store)
    claim = entries.catalogue_entry(info, store)["claim"]
    assert (claim["fresh"], claim["seeds"], claim["changed"]) == (True, [5, 6, 7, 8, 9], [])
    assert {arm: found["role"] for arm, found in claim["arms"].items()} == {
        "mine": "method",
        "supervised": "baseline",
        "label_spreading": "cheap alternative",
    }
    assert all(math.isfinite(found["mean"]) for found in claim["arms"].values())
