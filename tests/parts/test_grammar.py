"""Specs: what is read, and what is refused with which words."""

import subprocess
import sys

import pytest

from didact import parts
from didact.errors import ConfigError, TrustError
from didact.trusting import untrusted

KINDS = {
    "noisy": 'FORM = "noisy:RATE:TEACHER"',
    "adversarial": 'FORM = "adversarial:TEACHER"',
    "view": 'FORM = "view:NAME:TEACHER"',
    "committee": 'FORM = "A+B"',
    "model": 'FORM = "STUDENT"',
    "regex": 'FORM = "regex:/PATTERN/"',
    "exact": 'FORM = "exact | exact:boxed | exact:after:/MARK/"',
    "gate": 'FORM = "gate(TEACHER,TEACHER)"',
    "run": 'PATHS = ("*/metrics.jsonl", "*.safetensors")',
    "onnx": 'PATHS = ("*.onnx",)',
    "own": 'FORM = "package.module:name"\nNAMES = "code"',
}
"""Teachers that are there for these tests alone, so that the grammar is tested whatever teachers there are."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of kinds, and an empty folder to be in."""
    kinds, here = tmp_path / "kinds", tmp_path / "here"
    kinds.mkdir()
    here.mkdir()
    for name, stated in KINDS.items():
        (kinds / f"{name}.py").write_text(
            f'"""A {name}."""\n\n{stated}\n\ndef build(spec, purpose: ForExamples):\n  1\n'
        )
    from didact.parts import teachers

    monkeypatch.setattr(teachers, "__path__", [str(kinds)])
    monkeypatch.chdir(here)
    return here


def tree(spec):
    """A spec as nested tuples: its kind, argument, and what is nested in it."""
    return (spec.kind, spec.argument, *map(tree, spec.inner))


def read(text, role="teacher"):
    return tree(parts.parse(text, role))


def test_a_kind_takes_an_argument_and_a_nested_spec():
    assert read("mlp:64,64", "student") == ("mlp", "64,64")
    assert read("noisy:0.3:adversarial:cnn:32,64") == (
        "noisy", "0.3", ("adversarial", "", ("model", "", ("cnn", "32,64"))),
    )  # fmt: skip
    found = parts.parse("noisy:0.3:warm:90%:decoder:2x64:numbers", "teacher")
    assert tree(found) == ("noisy", "0.3", ("model", "", ("warm", "90%", ("decoder", "2x64:numbers"))))
    assert [one.text for one in found.walk()] == [
        "noisy:0.3:warm:90%:decoder:2x64:numbers",
        *["warm:90%:decoder:2x64:numbers"] * 2,
        "decoder:2x64:numbers",
    ]
    assert [one.role for one in found.walk()] == ["teacher", "teacher", "student", "student"]


def test_a_plus_makes_a_list_and_parentheses_hold_one_together():
    mlp, cnn = (("model", "", ("mlp", "8,8")), ("model", "", ("cnn", "4")))
    assert read("mlp:8,8+cnn:4") == ("committee", "", mlp, cnn)
    assert read(" mlp:8,8 + cnn:4 ") == ("committee", "", mlp, cnn)
    assert read("noisy:0.3:mlp:8,8+cnn:4") == ("committee", "", ("noisy", "0.3", mlp), cnn)
    assert read("noisy:0.3:(mlp:8,8+cnn:4)") == ("noisy", "0.3", ("committee", "", mlp, cnn))
    assert read("((mlp:8,8))") == mlp
    assert [m.text for m in parts.parse("mlp:8,8+cnn:4", "teacher").members] == ["mlp:8,8", "cnn:4"]
    assert [m.text for m in parts.parse("mlp:8,8", "teacher").members] == ["mlp:8,8"]


def test_a_weight_stands_before_a_part():
    found = parts.parse("0.25*mlp:8+-2e-1*cnn:4+mlp:3", "teacher")
    assert [(one.weight, one.inner[0].kind) for one in found.inner] == [(0.25, "mlp"), (-0.2, "cnn"), (1.0, "mlp")]
    assert parts.parse("2*mlp:3", "teacher").kind == "committee"


def test_text_between_slashes_may_be_anything():
    assert read(r"regex:/a+(b|c):\/d/+mlp:3") == ("committee", "", ("regex", "a+(b|c):/d"), ("model", "", ("mlp", "3")))
    assert read("regex:a+b") == ("regex", "a+b")
    assert read("exact:after:/+/") == ("exact", "after:+")
    assert read("exact:after:####") == ("exact", "after:####")
    assert read("exact:boxed+exact") == ("committee", "", ("exact", "boxed"), ("exact", ""))
    assert read("gate(regex:/x,)/,2*exact)") == ("gate", "", ("regex", "x,)"), ("committee", "", ("exact", "")))
    with pytest.raises(ConfigError, match="In parentheses, the slashes are needed"):
        parts.parse("gate(regex:x,exact)", "teacher")


def test_a_path_that_exists_is_a_path_whatever_characters_it_has(folder):
    for name in ("a+b", "noisy:0.3:c", "mlp:8"):
        (folder / name).mkdir()
        (folder / name / "metrics.jsonl").touch()
        assert read(name) == ("run", name)
        assert read(f"noisy:0.1:{name}+exact") == ("committee", "", ("noisy", "0.1", ("run", name)), ("exact", ""))
    (folder / "t.onnx").touch()
    assert read("./t.onnx+a+b+t.onnx") == ("committee", "", ("onnx", "./t.onnx"), ("run", "a+b"), ("onnx", "t.onnx"))
    assert read("gate(t.onnx,(a+b))") == ("gate", "", ("onnx", "t.onnx"), ("run", "a+b"))
    (folder / "odd").mkdir()
    with pytest.raises(ConfigError, match=r"'odd' is a directory that is no teacher. A path may be .*onnx: "):
        parts.parse("odd", "teacher")
    (folder / "t.pt").touch()
    with pytest.raises(ConfigError, match=r"'t\.pt' is a file that is no teacher"):
        parts.parse("t.pt", "teacher")


def test_a_directory_that_a_student_kind_knows_does_for_a_teacher_too(folder):
    (folder / "model").mkdir()
    (folder / "model" / "config.json").touch()
    assert read("model") == ("model", "", ("hf", "model"))


def test_a_dotted_name_is_something_of_ones_own():
    assert read("my_nets.small:make") == ("own", "my_nets.small:make")
    assert read("my_nets:Factory.make+exact") == ("committee", "", ("own", "my_nets:Factory.make"), ("exact", ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "teacher is '', but a teacher was expected here. Known: adversarial, "),
        ("nosy:0.3:mlp:8", "there is no teacher 'nosy'. Did you mean noisy?"),
        ("mlq:8", "Did you mean mlp?"),
        ("noisy", "noisy is written noisy:RATE:TEACHER, such as"),
        ("noisy:0.3", "noisy is written noisy:RATE:TEACHER"),
        ("noisy:0.3:", "noisy is written noisy:RATE:TEACHER"),
        ("noisy:0.3:mpl:8", r"there is no teacher 'mpl'. Did you mean mlp\? .*read: 'noisy:0.3:', left: 'mpl:8'"),
        ("view:a", "view is written view:NAME:TEACHER"),
        ("mlp:8+", "a teacher was expected here"),
        ("exact:boxed+onnx:8", "onnx takes no argument"),
        ("(mlp:8", r"'\)' was expected here"),
        ("exact)", r"more follows; .*left: '\)'"),
        ("gate(exact)", "',' was expected here"),
        ("missing.onnx", "there is no file or directory 'missing.onnx'"),
        ("runs/none", "there is no file or directory 'runs/none'"),
        ("adversarial:" * 30 + "mlp:8", "nested more than 20 deep"),
        ("m" * 20_000, "20000 characters"),
    ],
)
def test_a_mistake_names_the_field_the_spec_and_what_would_work(text, words):
    with pytest.raises(ConfigError, match=words) as raised:
        parts.parse(text, "teacher")
    assert str(raised.value).startswith("teacher ")


def test_only_one_student_can_be_given():
    with pytest.raises(ConfigError, match=r"learner is 'mlp:8.cnn:4', but a student is one part"):
        parts.parse("mlp:8+cnn:4", "student", field="learner")
    with pytest.raises(ConfigError, match=r"role is 'studnet', which is not known. Did you mean student\?"):
        parts.kinds("studnet")


def test_a_file_names_neither_code_nor_a_download_unless_the_user_names_it_again(folder):
    for text, name in (("os:abort", "os:abort"), ("noisy:0.1:hf:someone/model", "hf:someone/model")):
        parts.parse(text, "teacher")
        with pytest.raises(TrustError, match=f"^down asks to .* '{name}', .*: --trust {name} "), untrusted("down"):
            parts.parse(text, "teacher")
        with untrusted("down", [name]):
            assert parts.parse(text, "teacher").text == text
    (folder / "model").mkdir()
    with untrusted("down"):
        assert parts.parse("mlp:8", "teacher").text == "mlp:8"
        assert parts.parse("hf:model", "teacher").text == "hf:model"


def test_a_file_in_the_folder_is_a_kind_and_its_first_line_is_its_help(folder):
    path = folder.parent / "kinds" / "lucky.py"
    assert "lucky" not in parts.kinds("teacher")
    path.write_text(
        '"""Guesses.\n\nAlways."""\nEXAMPLE = "lucky:7"\nFORM = "lucky:NUMBER"\n'
        "\ndef build(spec, purpose: ForExamples | ForQuestions): 1\n"
    )
    kind = parts.find("teacher", "lucky")
    assert (kind.help, kind.example, kind.materials) == ("Guesses.", "lucky:7", ("examples", "questions"))
    assert read("lucky:7") == ("lucky", "7")


def test_reading_specs_does_not_import_torch():
    code = "import sys; from didact import parts; parts.parse('mlp:8', 'student'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
