"""Every kind of bad input that reaches the command line: a sentence, an exit status of 2, and nothing written."""

import io
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image

from blobs import DATA
from didact.cli import main

X, LABEL = DATA.tensors["x"], DATA.tensors["label"]


def table(name="table.csv", rows=None, header="a,b,c,d,kind"):
    """Write a table of the easy problem, with some lines changed."""
    lines = [
        ",".join([*(f"{v:.4f}" for v in x), DATA.classes[y]]) for x, y in zip(X.tolist(), LABEL.tolist(), strict=True)
    ]
    for number, line in (rows or {}).items():
        lines[number] = line
    Path(name).write_text("\n".join([header, *lines]) + "\n")
    return name


def images(bad=1):
    """A folder of images by class, some of which cannot be read."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = Path("pets") / name
        folder.mkdir(parents=True)
        for i in range(20):
            level = 60 if name == "cat" else 180
            pixels = np.clip(generator.normal(level, 20, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    for i in range(bad):
        (Path("pets/cat") / f"bad{i}.png").write_bytes(b"not an image")
    return "pets"


def skops_of(classes, name="teacher.skops"):
    import skops.io
    from sklearn.linear_model import LogisticRegression

    skops.io.dump(LogisticRegression().fit(X.numpy(), np.array(classes)[LABEL.numpy()]), name)
    return name


def onnx_of(order, name="teacher.onnx"):
    """A graph that gives these columns of its input."""
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32)[:, order], "weight")
    ends = [
        helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["batch", size])
        for end, size in (("x", 4), ("y", len(order)))
    ]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weight"], ["y"])], "net", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), name)
    return name


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run a command that must be refused; gives back what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(list(words)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert sorted(tmp_path.rglob("*")) == before
        return said.err.strip()

    return run


SUPERVISED = ("run", "supervised", "--data", "table.csv")
DISTILL = ("distill", "--data", "table.csv", "--target", "kind")


def test_a_missing_target_column(refused):
    table()
    said = refused(*SUPERVISED, "--target", "kin")
    assert "'kin'" in said
    assert "kind" in said


def test_a_constant_target_column(refused):
    table(rows=dict.fromkeys(range(240), "1,2,3,4,ant"))
    said = refused(*SUPERVISED, "--target", "kind")
    assert "'ant' in every row" in said
    assert "another target" in said


def test_text_where_numbers_belong(refused):
    table(rows={i: f"1,2,{'x' * (i % 7)}?{i},4,ant" for i in range(0, 240, 3)})
    said = refused(*SUPERVISED, "--target", "kind")
    assert "'c'" in said


def test_values_that_are_infinite(refused):
    table(rows={0: "1,inf,3,4,ant"})
    said = refused(*SUPERVISED, "--target", "kind")
    assert "'b'" in said
    assert "row 1: 'inf'" in said
    assert "leave them empty" in said


@pytest.mark.parametrize("value", ["", "nan", "NA"])
def test_values_that_are_missing_are_filled_in(refused, value):
    table(rows={0: f"1,{value},3,4,ant"})
    words = ("--target", "kind", "--impute", "mean", "--steps", "2", "--no-progress", "--out", "run")
    assert main([*SUPERVISED, *words]) == 0


def test_an_unreadable_image(refused, capsys):
    images(bad=2)
    said = refused("run", "supervised", "--data", "pets")
    assert "bad0.png" in said
    assert "2" in said
    assert "skip" in said


@pytest.mark.filterwarnings("ignore:.*cannot be read.*", "ignore:.*left out.*", "ignore:.*skipp.*")
def test_unreadable_images_are_left_out_on_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images()
    words = ["--skip-bad", "--steps", "2", "--no-progress", "--out", "run", "--student", "cnn:4"]
    assert main(["run", "supervised", "--data", "pets", *words]) == 0


def test_a_teacher_of_other_classes(refused):
    table()
    said = refused(*DISTILL, "--teacher", skops_of(["ant", "bee", "dog"]))
    assert "'dog'" in said
    assert "'cat'" in said


def test_a_teacher_of_another_number_of_classes(refused):
    table()
    said = refused(*DISTILL, "--teacher", onnx_of([0, 1]))
    assert "2 classes" in said or "2 numbers" in said


def test_a_teacher_whose_classes_are_in_another_order(refused):
    table()
    said = refused(*DISTILL, "--teacher", onnx_of([1, 2, 0]))
    assert "'teacher.onnx'" in said
    assert "in that order" in said


class Trap:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return (Path("sprung").touch, ())


@pytest.mark.parametrize("name", ["teacher.pkl", "teacher.joblib", "teacher.skops", "teacher.onnx", "teacher.dat"])
def test_a_pickle_as_a_teacher(refused, name):
    table()
    Path(name).write_bytes(pickle.dumps(Trap()))
    said = refused(*DISTILL, "--teacher", name)
    assert f"{name} is a pickle" in said
    assert "refused" in said


def test_a_pickled_model_as_a_teacher(refused):
    table()
    torch.save({"weight": torch.zeros(1)}, "teacher.pt")
    assert "is a pickle" in refused(*DISTILL, "--teacher", "teacher.pt")
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1)}, buffer)
    Path("teacher.safetensors").write_bytes(buffer.getvalue())
    assert "teacher.safetensors" in refused(*DISTILL, "--teacher", "teacher.safetensors")


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was killed at step 25, with checkpoints at 10 and 20."""
    from didact.types import Method

    monkeypatch.chdir(tmp_path)
    table()

    def kill(self):
        if self.step == 25:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Method, "after_step", kill)
        words = ("--target", "kind", "--steps", "40", "--checkpoint-every", "10", "--no-progress", "--out", "run")
        with pytest.raises(RuntimeError):
            main([*SUPERVISED, *words])
    return sorted(Path("run/checkpoints").glob("step-*"))


def test_a_truncated_checkpoint_is_named_and_the_one_before_it_used(stopped, capsys):
    broken = stopped[-1] / "tensors.safetensors"
    broken.write_bytes(broken.read_bytes()[:-10])
    assert main(["resume", "run", "--no-progress"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "tensors.safetensors is not what was written" in out
    assert stopped[-2].name in out


def test_no_whole_checkpoint(stopped, capsys):
    for path in stopped:
        (path / "state.json").write_text("{}")
    assert main(["resume", "run", "--no-progress"]) == 2
    assert "There is no checkpoint to go on from" in capsys.readouterr().err


def test_a_pickle_as_a_checkpoint(stopped, capsys):
    for path in stopped:
        (path / "tensors.safetensors").write_bytes(pickle.dumps(Trap()))
    assert main(["resume", "run", "--no-progress"]) == 2
    assert "tensors.safetensors is not what was written" in capsys.readouterr().err
    assert not Path("sprung").exists()


def test_a_directory_that_is_in_use(refused):
    from didact.loop import RunDirectory

    table()
    directory = RunDirectory("run")
    try:
        said = refused(*SUPERVISED, "--target", "kind", "--steps", "2", "--out", "run")
        assert "run is in use by a live run (process" in said
        assert "choose another" in said
    finally:
        directory.close()


def test_a_directory_that_holds_a_run(stopped, refused):
    assert "already holds a run" in refused(*SUPERVISED, "--target", "kind", "--out", "run")


def test_a_directory_that_cannot_be_made(refused):
    table()
    assert "table.csv/run" in refused(*SUPERVISED, "--target", "kind", "--steps", "2", "--out", "table.csv/run")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "distil"], "There is no method 'distil'. Did you mean distill"),
        (["run"], "method is not given"),
        (["show", "mean"], "There is no method or recipe 'mean'. Did you mean mean_teacher?"),
        (["compare", "supervised", "distil"], "There is no method or baseline 'distil'. Did you mean distill"),
        (["run", "distill", "--temprature", "2"], "There is no option --temprature. Did you mean --temperature"),
        (["run", "distill", "--temperature", "hot"], "temperature is 'hot', but must be a number."),
        (["run", "distill", "--temperature", "-1"], "temperature is -1.0, but must be above 0 and below inf."),
        (["run", "supervised", "--lables", "3"], "There is no option --lables. Did you mean --labels"),
        (
            ["run", "supervised", "--data", "digts"],
            "data is 'digts', which is neither a file or folder here nor built in. Did you mean digits",
        ),
        (["run", "supervised", "--data", "hf:nowhere/at/all"], "hf:nowhere/at/all"),
        (["run", "supervised", "--steps", "0"], "The budget of steps is 0, but must be above 0."),
        (["run", "supervised", "--budget", "epochs=0"], "The budget of epochs is 0.0, but must be above 0."),
        (["run", "supervised", "--budget", "step=3"], "budget has no axis 'step'. Did you mean steps"),
        (["run", "supervised", "--data", "digits", "--student", "mpl:4"], "student is 'mpl:4'"),
        (["run", "supervised", "--device", "gpu"], "device is 'gpu', which is not there"),
        (["run", "mutual_learning", "--micro-batch", "0"], "micro_batch is 0, but must be at least 1."),
        (["run", "supervised", "extra"], "The argument 'extra' is one too many."),
        (["distill"], "The method 'distill' needs a teacher"),
        (["compare", "supervised", "--seeds", "4-0"], "seeds is '4-0', but must be like 0-4"),
        (["compare"], "The following arguments are required: METHOD."),
        (["resume", "nowhere"], "'nowhere' is not the directory of a run"),
        (["report", "nowhere"], "nowhere is no run"),
        (["export", "nowhere"], "nowhere"),
        (["export", "nowhere", "--to", "pickle"], "to is 'pickle', which is not known."),
        (["run", "--config", "missing.toml"], "The configuration 'missing.toml' cannot be read"),
        (["trian"], "The command is 'trian', which is not known."),
    ],
)
def test_words_that_cannot_be(refused, words, said):
    assert said in refused(*words)


def test_a_key_of_a_file_that_is_not_known(refused):
    Path("run.toml").write_text('method = "distill"\n[options]\ntemprature = 1\n')
    said = refused("run", "--config", "run.toml", "--teacher", "random")
    assert said == "The method 'distill' has no option 'temprature'. Did you mean temperature?"
    Path("run.toml").write_text('method = "distill"\nlable = 1\n')
    assert refused("run", "--config", "run.toml").startswith("There is no option 'lable'. Did you mean")


def test_the_doctor_fails_with_a_status_of_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table()
    words = ["--data", "table.csv", "--target", "kind", "--teacher", onnx_of([1, 2, 0])]
    assert main(["doctor", "distill", *words]) == 1
    out = capsys.readouterr().out
    assert "The run would fail." in out
    assert "✗ fail" in out
