"""The command line: what it accepts, what it says, and what it leaves behind."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from blobs import DATA
from didact import catalogue, health, parts, worlds
from didact.cli import EXIT_CODES, claims, commands, flags, main, parser, show
from didact.errors import ConfigError
from didact.experiment import arms, running
from didact.experiment import config as configs
from didact.parts.listing import LISTINGS
from didact.types import Cost, Strength

FROZEN = Path(__file__).with_name("commands.txt")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty directory to work in, with a table of the easy problem."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rows = [",".join([*(f"{v:.4f}" for v in x), DATA.classes[y]]) for x, y in zip(*_columns(), strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,kind", *rows]) + "\n")
    return tmp_path


def _columns():
    return DATA.tensors["x"].tolist(), DATA.tensors["label"].tolist()


def accepted():
    """Every command with the flags that it accepts, method options left out."""
    lines = []
    for command in parser.COMMANDS:
        found = parser.command_parser(command, [])
        words = [a.metavar for a in found._get_positional_actions()]
        options = sorted(flag for action in found._get_optional_actions() for flag in action.option_strings)
        if command == "distill":
            options = [o for o in options if o not in ("--temperature", "--alpha")]
        lines.append(" ".join([command, *words, *options]))
    return lines


def test_the_command_line_changes_only_on_purpose():
    assert accepted() == FROZEN.read_text().splitlines(), "If the change is wanted, write it into commands.txt."


def test_every_field_of_a_run_is_a_flag_with_help():
    assert set(flags.run_options()) == set(configs.flags())
    assert set(flags.run_groups()) == {"run", *configs.TABLES}
    for option in flags.run_options().values():
        assert option.help, option.name


LIGHT = [["--help"], *(["list", plural] for plural in parser.LISTED), ["show", "distill"], ["bogus"]]


def test_no_torch_for_what_needs_none():
    code = (
        "import sys\nfrom didact.cli import main\n"
        f"for words in {[*LIGHT, ['run', 'distill', '--help']]!r}:\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "    assert not {'torch', 'numpy', 'transformers'} & set(sys.modules), words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in [["--help"], *([command, "--help"] for command in parser.COMMANDS)]:
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        assert out.startswith("Usage: didact")


def test_a_methods_options_stand_in_a_group_of_their_own(capsys):
    with pytest.raises(SystemExit):
        main(["run", "mean_teacher", "--help"])
    group, others = capsys.readouterr().out.split("Options of mean_teacher:")[1].split("\nRun:\n")
    assert "--student" in others
    assert "--ema-decay N" in group
    assert "(0.99)" in group


def test_nothing_given_shows_the_commands_on_a_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command, words in parser.COMMANDS.items():
        assert f"  {command:12}{words}" in lines


def listed(capsys, monkeypatch, width):
    """The lines of `didact list` by the names of methods, in a terminal of some columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    return {name: [line.rstrip() for line in lines if line.split()[:1] == [name]] for name in catalogue.names()}


def test_a_method_has_one_line_in_a_list(capsys, monkeypatch):
    narrow, wide = (listed(capsys, monkeypatch, width) for width in (80, 200))
    for name in catalogue.names():
        # A family may be called like a method, and has a line too.
        (line,) = (found for found in narrow[name] if found.startswith("  "))
        (wider,) = (found for found in wide[name] if found.startswith("  "))
        title = catalogue.find(name).title.rstrip(".")
        assert title not in line
        assert wider.startswith(line) and wider.endswith(title[:60]) == (len(title) <= 60) and title[:60] in wider
    words = {name: re.split(r"  +", narrow[name][-1].strip())[1] for name in catalogue.names()}
    assert words["fitnet"] == "labels, teacher's features"
    assert (words["distill"], words["gkd"], words["kdrl"]) == ("labels, teacher", "teacher", "teacher, verifier")
    assert (words["sft"], words["dpo"], words["co_reward"]) == ("answers", "pairs of answers", "itself")


def test_list_prints_json(capsys, monkeypatch):
    # Of all methods, whether their results are stale takes seconds to tell.
    monkeypatch.setattr(catalogue, "listing", lambda: (catalogue.find("distill"), catalogue.find("supervised")))
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    option = next(entry for entry in found if entry["name"] == "distill")["options"][0]
    assert {"name": "temperature", "type": "float", "default": "2.0"}.items() <= option.items()


NAMES = {
    **{
        f"{role}s": [path.stem for path in (Path(parts.__path__[0]) / f"{role}s").glob("[a-z]*.py")]
        for role in parts.ROLES
    },
    "worlds": worlds.names(),
    "monitors": list(health.kinds()),
    "curricula": ["among", "by_loss", "labelled_mix", "self_paced", "uniform", "weighted"],
    "views": get_args(Strength),
}
"""All that there is, found in another way than by what is tested here."""


@pytest.mark.parametrize("plural", LISTINGS)
def test_list_parts(plural, capsys, monkeypatch):
    """Every kind is there, with its help in a sentence, in 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", plural]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["list", plural, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found] == sorted(NAMES[plural]) or plural == "views"
    assert {entry["name"] for entry in found} == set(NAMES[plural])
    for entry in found:
        assert entry["help"].endswith("."), entry
        assert entry["form"].split(" | ")[0].split(",")[0][:20] in out
    assert f"use      {LISTINGS[plural].use.split(',')[0]}" in out


def test_list_says_how_each_part_is_written_and_what_it_is_for(capsys):
    def found(plural, name):
        assert main(["list", plural, "--json"]) == 0
        entry = next(entry for entry in json.loads(capsys.readouterr().out) if entry["name"] == name)
        return entry["form"], entry["materials"]

    assert found("teachers", "noisy") == ("noisy:RATE:TEACHER", ["examples", "questions"])
    assert found("verifiers", "gate") == ("gate(VERIFIER,VERIFIER)", [])
    assert found("monitors", "non_finite") == ("non_finite=stop", [])
    assert found("monitors", "dead_groups") == ("dead_groups=warn", ["questions"])
    assert found("worlds", "digits:bags") == ("digits:bags", ["examples"])
    uniform = found("curricula", "by_loss")[0]
    assert uniform == "ByLoss(size: int, seed: int=0, *, power: float=1.0, uniform: float=0.1)"
    assert main(["list", "teacher"]) == 2
    assert "Did you mean teachers?" in capsys.readouterr().err


def test_show(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["show", "fitnet"]) == 0
    out = capsys.readouterr().out
    assert out.index("Departures") < out.index("didact run fitnet --teacher TEACHER") < out.index("--hint-share")
    assert out.index("--hint-share") < out.index("Its claim")
    assert [claims._changes(list(letters)) for letters in ("ab", "abcde")] == ["a, b", "a, b, c and 2 others"]


def _resolved(words):
    found = parser.command_parser(words[0], words[1:]).parse_args(words[1:])
    fixed = {"method": "distill"} if words[0] == "distill" else {}
    config = configs.make_config(commands.settings(found, **fixed))
    options = vars(catalogue.build_config(catalogue.find(config.method), config.options))
    return config.replace(options=options)


def test_flags_and_files_give_the_same_run(work):
    Path("run.toml").write_text(
        'method = "distill"\ndata = "table.csv"\ntarget = "kind"\nlabels = 40\nsteps = 50\nskip_bad = true\n'
        'teacher = "random"\nstudent = "mlp:16"\nlr = 0.01\n[options]\ntemperature = 2.0\n'
    )
    words = ["--data", "table.csv", "--target", "kind", "--labels", "40", "--steps", "50", "--skip-bad"]
    words += ["--teacher", "random", "--lr", "0.01", "--temperature", "2"]
    wanted = _resolved(["run", "--config", "run.toml"])
    assert _resolved(["run", "distill", *words, "--student", "mlp:16"]) == wanted
    assert _resolved(["distill", *words, "--student", "mlp:16"]) == wanted
    assert _resolved(["run", *words, "--student", "mlp:16", "distill"]) == wanted
    assert wanted.options == {"temperature": 2.0, "alpha": 0.9}
    assert (wanted.data.target, wanted.data.labels, wanted.data.skip_bad) == ("kind", 40, True)
    assert wanted.budget.limits() == {"steps": 50}


def test_a_student_may_be_called_a_learner(work):
    """As a flag, in a file, from Python and in an arm; both names at once are too many."""
    Path("run.toml").write_text('method = "distill"\nlearner = "mlp:16"\n')
    wanted = _resolved(["distill", "--student", "mlp:16"])
    assert wanted.student == "mlp:16"
    assert _resolved(["distill", "--learner", "mlp:16"]) == wanted
    assert _resolved(["run", "--config", "run.toml"]) == wanted
    assert running.split_arguments(None, method="distill", learner="mlp:16")[0].student == "mlp:16"
    assert arms.Plan(["distill,learner=mlp:16"], {"data": DATA}).configs["distill,learner=mlp:16"].student == "mlp:16"
    with pytest.raises(ConfigError, match="learner and student are both given, but mean the same"):
        running.split_arguments(None, method="distill", learner="mlp:16", student="mlp:16")
    with pytest.raises(ConfigError, match="learner and student are both given"):
        arms.Plan(["distill,learner=mlp:16,student=mlp:8"], {"data": DATA})


def test_a_student_by_both_names_is_refused(work, capsys):
    Path("run.toml").write_text('method = "distill"\nlearner = "mlp:16"\nstudent = "mlp:8"\n')
    assert main(["run", "--config", "run.toml"]) == 2
    assert "learner and student are both given, but mean the same; give only student." in capsys.readouterr().err
    for words in (["--student", "mlp:16", "--learner", "mlp:8"], ["--learner=mlp:8", "--student=mlp:16"]):
        assert main(["distill", *words]) == 2
        assert "are both given, but mean the same; give only --student." in capsys.readouterr().err
    # Of one flag, the later value counts, as it does for every other flag; and a flag overrides a file.
    assert _resolved(["distill", "--learner", "mlp:16", "--learner", "mlp:8"]).student == "mlp:8"
    Path("run.toml").write_text('method = "distill"\nlearner = "mlp:16"\n')
    assert _resolved(["run", "--config", "run.toml", "--student", "mlp:8"]).student == "mlp:8"


def test_an_unknown_view_is_refused_with_where_views_are_listed(work, capsys):
    assert main(["run", "supervised", "--data", "table.csv", "--augment", "hard"]) == 2
    err = capsys.readouterr().err
    assert "augment is 'hard', which is not known." in err
    assert "`didact list views` prints them." in err


def test_a_long_cost_is_wrapped_below_its_beginning(work, capsys):
    cost = Cost(labels=123456, teacher_calls=123456, student_tokens=1234567, sampled_tokens=1234567, steps=12345)
    cost.seconds, cost.peak_memory = 4000.0, 5 << 30
    show.run(result_of(cost))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) > 1
    assert lines[0].startswith("cost     123,456 labels")
    assert all(line.startswith(" " * 9) and line[9] != " " for line in lines[1:])
    assert max(map(len, lines)) <= 80


def result_of(cost):
    """A run that has only cost something."""
    return running.RunResult(
        status="done",
        reason="",
        metrics={},
        validation={},
        teacher={},
        teacher_seen=0,
        teacher_unseen={},
        constant={},
        cost=cost,
        spent={},
        teacher_cost=Cost(),
        notes=(),
        history=[],
        verdicts=[],
        student=None,
        config=configs.RunConfig(method="distill"),
    )


def test_a_file_may_put_its_values_in_tables(work):
    flat = 'method = "distill"\ndata = "table.csv"\ntarget = "kind"\nstudent = "mlp:16"\noptimizer = "sgd"\nlr = 0.1\n'
    flat += 'split = "train"\ntest = 0.3\nsplit_seed = 4\ndevice = "cpu"\nbatch_size = 8\nsteps = 50\n'
    Path("flat.toml").write_text(flat + "[options]\nalpha = 0.5\n")
    Path("tables.toml").write_text(
        'method = "distill"\nstudent = "mlp:16"\n[budget]\nsteps = 50\n[options]\nalpha = 0.5\n'
        '[data]\nsource = "table.csv"\ntarget = "kind"\nsplit = "train"\n[split]\ntest = 0.3\nseed = 4\n'
        '[optimizer]\nname = "sgd"\nlr = 0.1\n[loop]\ndevice = "cpu"\n[batches]\nsize = 8\n'
    )
    wanted = _resolved(["run", "--config", "flat.toml"])
    assert _resolved(["run", "--config", "tables.toml"]) == wanted
    assert (wanted.optimizer.name, wanted.split.seed, wanted.data.split) == ("sgd", 4, "train")
    changed = _resolved(["run", "--config", "tables.toml", "--lr", "0.2", "--data", "digits"])
    assert (changed.optimizer.lr, changed.optimizer.name) == (0.2, "sgd")
    assert (changed.data.source, changed.data.target) == ("digits", "kind")
    Path("stored.json").write_text(json.dumps({"config": wanted.as_dict()}))
    assert _resolved(["run", "--config", "stored.json"]) == wanted
    assert json.loads(Path("stored.json").read_text())["config"]["optimizer"]["lr"] == 0.1


def test_tables_that_cannot_be():
    with pytest.raises(ConfigError, match=r"The table optimizer has no 'lrr'\. Did you mean lr"):
        configs.make_config({"method": "distill", "optimizer": {"lrr": 1}})
    with pytest.raises(ConfigError, match=r"lr is -1\.0, but must be above 0"):
        configs.make_config({"method": "distill", "optimizer": {"lr": -1}})


def test_two_fields_with_one_flag_are_refused(monkeypatch):
    monkeypatch.setattr(configs.TABLES["split"], "FLAGS", {})
    with pytest.raises(ConfigError, match="Several fields of a run have the flag seed"):
        configs.flags()


def test_flags_override_files(work):
    Path("run.toml").write_text(
        'method = "distill"\nlabels = 40\nepochs = 3\n[options]\ntemperature = 2\nalpha = 0.5\n'
    )
    found = _resolved(
        ["run", "--config", "run.toml", "--labels", "30", "--budget", "steps=9,seconds=2", "--alpha", "1"]
    )
    assert found.data.labels == 30
    assert found.budget.limits() == {"steps": 9, "seconds": 2.0}
    assert found.options == {"temperature": 2.0, "alpha": 1.0}


def test_seeds_in_words():
    assert commands.parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert commands.parse_seeds("1,5-6, 9") == [1, 5, 6, 9]
    for words in ("", "a", "3-1", "-2", "1-"):
        with pytest.raises(ConfigError, match="must be like 0-4"):
            commands.parse_seeds(words)


@pytest.fixture
def forest(work):
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    x, y = _columns()
    model = RandomForestClassifier(10, random_state=0).fit(np.array(x), np.array(DATA.classes)[y])
    skops.io.dump(model, "forest.skops")
    return "forest.skops"


def test_a_forest_teaches_a_net_on_a_table_that_someone_just_made(forest, capsys):
    words = ["--teacher", forest, "--student", "mlp:16", "--data", "table.csv", "--target", "kind", "--labels", "30"]
    assert main(["doctor", "distill", *words[:2], *words[4:]]) == 0
    assert "The run is ready." in capsys.readouterr().out
    assert main(["distill", *words, "--steps", "150", "--lr", "0.02"]) == 0
    out = capsys.readouterr().out
    run = Path("runs/distill-table-001")
    kept = json.loads((run / "result.json").read_text())
    assert kept["metrics"]["accuracy"] > 0.9
    assert f"{100 * kept['metrics']['accuracy']:.1f}" in out
    assert f"report   {run}/report.html" in out
    assert max(map(len, out.splitlines())) <= 80
    for name in ("config.json", "metrics.jsonl", "student/student.json", "report.html"):
        assert (run / name).exists()

    assert main(["export", str(run), "--to", "onnx", "--out", "student.onnx"]) == 0
    import onnxruntime

    from didact.parts import saved

    session = onnxruntime.InferenceSession("student.onnx", providers=["CPUExecutionProvider"])
    x = DATA.tensors["x"].double().numpy()
    names = [one.name for one in session.get_inputs()]
    feed = {name: column[:, None] for name, column in zip(names, x.T, strict=True)}
    wanted = saved.load(run).predict(dict(zip(names, x.T, strict=True)))
    found, labels = session.run(["probabilities", "label"], feed)
    np.testing.assert_allclose(found, wanted.probabilities, atol=1e-5)
    assert labels.tolist() == wanted.labels

    capsys.readouterr()
    words = ["distill", "--data", "table.csv", "--target", "kind", "--steps", "2", "--out"]
    assert main([*words, "from-onnx", "--teacher", "student.onnx", "--student", "mlp:4"]) == 0
    found = json.loads(Path("from-onnx/result.json").read_text())["teacher"]["accuracy"]
    assert found == pytest.approx(kept["metrics"]["accuracy"])
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").exists()
    assert main(["resume", str(run), "--no-progress"]) == 0


def test_a_method_of_ones_own_is_run_by_its_file(work, capsys):
    source = catalogue.find("supervised").path.read_text().replace("label_smoothing", "smooth")
    Path("mine.py").write_text(
        source.replace("weight=batch.label_weight, smooth=", "weight=batch.label_weight, label_smoothing=")
    )
    words = ["--data", "table.csv", "--target", "kind", "--steps", "3", "--smooth", "0.1", "--no-progress"]
    assert main(["run", "mine.py", *words]) == 0, capsys.readouterr().err
    stored = json.loads(Path("runs/mine-table-001/config.json").read_text())["config"]
    assert stored["options"] == {"smooth": 0.1}
    assert stored["method"] == "mine.py"


def test_compare(work, capsys):
    words = ["--data", "table.csv", "--target", "kind", "--labels", "9", "--steps", "20", "--seeds", "0-1"]
    arms = ["supervised", "distill", "distill,temperature=2,teacher=random"]
    assert main(["compare", *arms, *words, "--teacher", "mlp:8", "--student", "mlp:4", "--json", "found.json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(Path("found.json").read_text())
    assert list(found["results"])[:3] == arms
    assert {"label_spreading", "logistic_regression"} <= set(found["results"])
    assert "report   runs/compare-table-001/report.html" in out
    assert found["sentence"].split(".")[0] in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    Path("runs/compare-table-001/report.html").unlink()
    assert main(["report", "runs/compare-table-001"]) == 0
    assert "distill" in Path("runs/compare-table-001/report.html").read_text()


def test_each_way_to_end_has_a_code():
    assert set(commands.STATUS_CODES.values()) < set(EXIT_CODES)


def test_ctrl_c_and_a_full_disk_are_told_in_a_sentence(work, capsys, monkeypatch):
    def interrupt(*_args, **_settings):
        raise KeyboardInterrupt

    def full(*_args, **_settings):
        raise OSError(28, "No space left on device", "x")

    from didact.experiment import running

    for raised, code in ((interrupt, 130), (full, 3)):
        monkeypatch.setattr(running, "run", raised)
        assert main(["run", "supervised"]) == code
        err = capsys.readouterr().err
        assert len(err.strip().splitlines()) == 1
        assert "Traceback" not in err


def test_a_pause_says_how_to_go_on(work, capsys, monkeypatch):
    from didact.health.non_finite import NonFinite
    from didact.types import Verdict

    paused = Verdict("pause", "non_finite", 1.0, "Someone should look at this.")
    monkeypatch.setattr(NonFinite, "observe", lambda _self, _window: paused)
    words = ["run", "supervised", "--data", "table.csv", "--target", "kind", "--out", "run"]
    assert main([*words, "--steps", "80"]) == 3
    out = capsys.readouterr().out
    assert "paused: Someone should look at this." in out
    assert "didact resume run" in out
    monkeypatch.undo()


def test_a_run_with_several_seeds_gives_the_mean_of_single_runs(work, capsys):
    words = ["run", "supervised", "--data", "table.csv", "--target", "kind", "--student", "mlp:4", "--steps", "30"]
    assert main([*words, "--seeds", "0,1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    alone = []
    for seed in ("0", "1"):
        assert main([*words, "--seed", seed, "--json"]) == 0
        alone.append(json.loads(capsys.readouterr().out))
    accuracies = [one["metrics"]["accuracy"] for one in alone]
    assert [one["metrics"]["accuracy"] for one in found["runs"]] == accuracies
    summary = found["summary"]["accuracy"]
    assert summary["mean"] == pytest.approx(np.mean(accuracies))
    # t(0.975, 1) = 12.7062 from any table.
    half = 12.7062 * np.std(accuracies, ddof=1) / np.sqrt(2)
    assert summary["high"] - summary["mean"] == pytest.approx(half, rel=1e-4)
    assert [one["directory"] for one in found["runs"]] == [f"runs/supervised-table-001/seed-{n}" for n in (0, 1)]
    assert Path("runs/supervised-table-001/seed-1/student").exists()
    assert main([*words, "--seeds", "0", "--seed", "1"]) == 2


def test_doctor_as_json(work, capsys):
    assert main(["doctor", "--data", "table.csv", "--target", "kind", "--student", "mlp:4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"pass"} <= {check["level"] for check in found} <= {"pass", "warn"}
    assert any(check["name"] == "method" and "supervised" in check["detail"] for check in found)


def test_bash_completes_commands_and_flags(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "didact.sh"
    script.write_text(capsys.readouterr().out)

    def completed(*words):
        line = " ".join(map(shlex.quote, words))
        ask = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _shtab_didact"
        done = subprocess.run(
            ["bash", "-c", f'{ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'], capture_output=True, text=True, timeout=60
        )
        return done.stdout.split()

    assert completed("didact", "re") == [name for name in parser.COMMANDS if name.startswith("re")]
    accepted_flags = accepted()[list(parser.COMMANDS).index("compare")].split()
    assert sorted(completed("didact", "compare", "--se")) == [
        flag for flag in accepted_flags if flag.startswith("--se")
    ]
    (tmp_path / "table.csv").touch()
    assert completed("didact", "run", "--data", f"{tmp_path}/ta") == [f"{tmp_path}/table.csv"]
    assert main(["completion", "fish"]) == 2
