"""Every kind of student and teacher: what it says of itself, that its example can be built, and what it refuses."""

import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

import tiny_language
from didact import parts
from didact.errors import ConfigError, TeacherError, TrustError
from didact.learners import CausalLearner, ModuleLearner, export, save_causal
from didact.memory import signal_store
from didact.parts import python, saved
from didact.parts.models import build, build_causal
from didact.parts.part import ForExamples, ForQuestions, Part, brought_by
from didact.parts.student import Student
from didact.parts.verifier import verifier_of
from didact.teachers import Committee, FrozenTeacher, LanguageTeacher, Verifier, identity
from didact.teachers.verifiers import ExactVerifier
from didact.trusting import untrusted
from didact.types import Batch, Examples, Question

CLASSES = ("a", "b", "c")
KINDS = [(role, name) for role in ("student", "teacher") for name in parts.kinds(role)]
EACH = [(role, name, material) for role, name in KINDS for material in parts.find(role, name).materials]


def images(count=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 3, 8, 8, generator=generator)
    label = torch.arange(count) % 3
    return Examples(
        tensors={
            "x": x,
            "privileged.x": torch.rand(count, 5, generator=generator),
            "style": label % 2,
            "label": label,
            "id": torch.arange(count),
        },
        task="classification",
        modality="image",
        classes=CLASSES,
    )


DATA = images()
EXAMPLES = ForExamples(examples=DATA, seed=3, student=build("cnn:4", DATA, seed=0))
SERIES = replace(EXAMPLES, examples=replace(DATA.with_tensors(x=DATA.tensors["x"].flatten(2)), modality="series"))
BAGS = replace(
    EXAMPLES, examples=replace(DATA.with_tensors(x=DATA.tensors["x"][:, None].repeat(1, 3, 1, 1, 1)), modality="table")
)
SCENES = replace(
    EXAMPLES,
    examples=replace(DATA.with_tensors(mask=torch.zeros(12, 8, 8, dtype=torch.int64)), task="segmentation"),
)
PAIRS = replace(
    SCENES,
    examples=replace(
        SCENES.examples.with_tensors(x=torch.rand(12, 2, 8, 8)), classes=tuple(str(place) for place in range(25))
    ),
)


def questions():
    return ForQuestions(seed=3, student=build_causal("decoder:1x32"))


@pytest.fixture(scope="module")
def examples_folder(tmp_path_factory):
    """A folder with the files that examples of kinds name; made once, as a graph takes seconds."""
    folder = tmp_path_factory.mktemp("examples")
    student = build("cnn:4", DATA, seed=1)
    saved.save(Student(learner=student, like=DATA, spec="cnn:4"), folder / "runs" / "NAME" / "student")
    forest = RandomForestClassifier(2, random_state=0)
    forest.fit(DATA.tensors["x"].flatten(1).numpy(), [CLASSES[i] for i in DATA.tensors["label"].tolist()])
    skops.io.dump(forest, folder / "forest.skops")
    export.export(student, folder / "model", to="onnx", examples=DATA)
    config = ViTConfig(
        image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label=dict(enumerate(CLASSES)),
    )  # fmt: skip
    path = folder / "EleutherAI" / "pythia-14m"
    ViTForImageClassification(config).save_pretrained(path)
    (path / "preprocessor_config.json").write_text(
        '{"do_resize": true, "size": {"height": 8, "width": 8}, "resample": 2, "do_rescale": true,'
        '"do_normalize": true, "rescale_factor": 0.00392156862745098, "image_mean": [0.5, 0.4, 0.3],'
        '"image_std": [0.5, 0.25, 0.2]}'
    )
    return folder


def make_cache(purpose):
    """An empty cache of the answers of runs/NAME."""
    known = {"unit": "token"}
    if isinstance(purpose, ForExamples):
        data = {"name": DATA.name, "fingerprint": ""}
        known = {"unit": "example", "task": DATA.task, "classes": list(CLASSES), "data": data}
    else:
        known["tokenizer"] = identity.of_tokenizer(purpose.student.tokenizer)
    weights = identity.of_teacher(purpose.open("runs/NAME", "teacher").model, [])
    teacher = {"spec": "runs/NAME", "weights": weights}
    signal_store.begin(Path("answers"), {**known, "teacher": teacher, "columns": {}, "form": {}})


@pytest.fixture
def place(examples_folder, tmp_path, monkeypatch):
    """A folder in which whatever the examples name is there, for examples."""
    shutil.copytree(examples_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    nets = types.ModuleType("nets")
    nets.make_net = lambda shape, outputs: nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * 64, outputs))
    nets.make_teacher = nets.make_net
    for name in ("my_package.nets", "my_package.teachers"):
        monkeypatch.setitem(sys.modules, name, nets)
    return tmp_path


@pytest.fixture
def language_place(tmp_path, monkeypatch, request):
    """A folder in which whatever the examples name is there, for questions."""
    monkeypatch.chdir(tmp_path)
    nets = types.ModuleType("nets")
    nets.make_net = nets.make_teacher = lambda: build_causal("decoder:1x32")
    for name in ("my_package.nets", "my_package.teachers"):
        monkeypatch.setitem(sys.modules, name, nets)
    tiny_language.save_model(tmp_path / "EleutherAI" / "pythia-14m")
    if request.node.callspec.params.get("name") == "gguf":
        tiny_language.save_gguf(tmp_path / "SmolLM2-135M-Instruct.gguf")
    (tmp_path / "runs" / "NAME").mkdir(parents=True)
    (tmp_path / "runs" / "NAME" / "metrics.jsonl").touch()
    save_causal(build_causal("decoder:1x32"), tmp_path / "runs" / "NAME" / "student")
    return tmp_path


@pytest.mark.parametrize(("role", "name"), KINDS)
def test_a_kind_says_in_a_line_what_it_is_and_how_it_is_written(role, name):
    kind = parts.find(role, name)
    assert kind.help.endswith((".", ":")) is True
    assert len(kind.help) <= 120
    assert kind.materials
    assert kind.form
    assert kind.example


@pytest.mark.parametrize(("role", "name", "material"), EACH)
def test_the_example_of_a_kind_is_read_as_that_kind_and_can_be_built(role, name, material, request):
    kind = parts.find(role, name)
    request.getfixturevalue("place" if material == "examples" else "language_place")
    text = _for(kind, material)
    spec = parts.parse(text, role)
    assert spec.kind == name
    bags = {"bag": BAGS, "query_bag": BAGS, "transport_bag": BAGS}
    own = {"cnn1d": SERIES, "fcn": SCENES, "matcher": PAIRS, **bags}.get(name, EXAMPLES)
    purpose = own if material == "examples" else questions()
    if name in ("cache", "cached"):
        make_cache(purpose)
    part = purpose.build(spec)
    assert isinstance(part, Part)
    assert (part.spec == text) is (name != "auto")
    if role == "teacher":
        assert hasattr(part.model, "signal")
        assert part.control is (name in ("random", "noisy", "adversarial"))
    else:
        assert isinstance(part.model, ModuleLearner if material == "examples" else CausalLearner)
        assert part.rate > 0


@pytest.mark.parametrize("name", parts.kinds("verifier"))
def test_the_example_of_a_verifier_is_read_as_that_kind_and_can_be_built(name, language_place, monkeypatch):
    rewards = types.ModuleType("rewards")
    rewards.reward = lambda text, question: 1.0
    monkeypatch.setitem(sys.modules, "my_package.rewards", rewards)
    kind = parts.find("verifier", name)
    assert (kind.help.endswith("."), len(kind.help) <= 120) == (True, True)
    assert parts.parse(kind.example, "verifier").kind == name
    verifier = verifier_of(kind.example)
    assert isinstance(verifier, Verifier)
    assert str(verifier_of(str(verifier))) == str(verifier)


def test_a_verifier_of_ones_own_is_a_function_or_a_verifier_by_a_name_with_dots(monkeypatch):
    rewards = types.ModuleType("rewards")
    rewards.Set = type("Set", (), {"short": staticmethod(lambda text, question: -len(text)), "exact": ExactVerifier()})
    monkeypatch.setitem(sys.modules, "my_package.rewards", rewards)
    question = Question(id=0, prompt="", answer="abc")
    summed = verifier_of("2*my_package.rewards:Set.exact+0.5*my_package.rewards:Set.short")
    assert summed.verify(["abc", "ab"], [question] * 2).value.tolist() == [2 - 1.5, -1.0]
    with pytest.raises(TrustError, match=r"asks to run the code 'my_package\.rewards:Set\.short'"), untrusted("down"):
        verifier_of("gate(exact,my_package.rewards:Set.short)")


def _for(kind, material):
    """The example of a kind, with a student of the material nested in it."""
    small = {"examples": "cnn:4", "questions": "decoder:1x32"}[material]
    if not kind.nested and kind.name not in ("model", "committee"):
        return kind.example
    if kind.name in ("route", "cached", "cascade"):
        return kind.example
    spec = parts.parse(kind.example, kind.role)
    words = [kind.name, spec.argument] if spec.argument else [kind.name]
    if kind.name == "committee":
        return f"{small}+{small}"
    if kind.name == "lora":
        return kind.example
    inner = "mlp:8" if kind.name in ("view", "shifted") else small
    return inner if kind.name == "model" else ":".join([*words, inner])


def test_one_seed_gives_one_student_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, again = (EXAMPLES.open("cnn:4,8", "student").model for _ in range(2))
    other = replace(EXAMPLES, seed=4).open("cnn:4,8", "student").model
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_auto_is_what_suits_the_data():
    assert EXAMPLES.open("auto", "student").spec == "cnn:16,32"
    assert ForQuestions().open("auto", "student").spec == "decoder:4x128"


def test_a_teacher_of_a_students_kind_learns_first_and_is_frozen_then():
    part = EXAMPLES.open("cnn:4,8", "teacher")
    (first,) = part.warm_starts
    assert isinstance(part.model, FrozenTeacher)
    assert part.model.learner is first.model
    assert (first.steps, first.goal, first.inputs, first.label, first.freeze) == (0, 0.0, "", "", True)
    assert (first.rate, part.rate) == (3e-3, 3e-3)


def test_what_is_warmed_up_is_told_for_both_materials_and_in_whatever_it_is_nested():
    first = EXAMPLES.open("warm:200:cnn:4", "student").warm_starts[0]
    assert (first.spec, first.steps, first.goal, first.freeze) == ("warm:200:cnn:4", 200, 0.0, False)
    part = questions().open("noisy:0.3:warm:90%:decoder:2x64", "teacher")
    (first,) = part.warm_starts
    assert (first.spec, first.steps, first.goal, first.freeze) == ("warm:90%:decoder:2x64", 0, 0.9, True)
    assert part.control
    assert part.model.teacher.learner is first.model
    assert part.model.rate == 0.3
    assert [w.rate for w in (first, *questions().open("warm:9:decoder:1x32", "student").warm_starts)] == [2e-3, 3e-3]


def test_a_language_model_teaches_as_it_is():
    part = questions().open("decoder:1x32", "teacher")
    assert part.warm_starts == ()
    assert isinstance(part.model, LanguageTeacher)
    assert part.tokenizer is part.model.learner.tokenizer


def test_a_committee_holds_its_members_by_their_weights_and_draws_each_by_a_seed_of_its_own():
    part = EXAMPLES.open("0.75*cnn:4+0.25*cnn:4", "teacher")
    assert isinstance(part.model, Committee)
    assert list(part.model.weights) == [0.75, 0.25]
    assert [one.spec for one in part.members] == ["cnn:4", "cnn:4"]
    assert [one.model for one in part.members] == list(part.model.teachers)
    a, b = (first.model for first in part.warm_starts)
    assert not torch.equal(next(a.module[1].parameters()), next(b.module[1].parameters()))
    assert part.members[1].warm_starts[0].seed == EXAMPLES.member(1).seed
    logit = EXAMPLES.open("committee:logit:cnn:4+mlp:8", "teacher")
    assert (logit.model.space, len(logit.model.teachers), logit.members) == ("logit", 2, ())
    certain = EXAMPLES.open("committee:confidence:(cnn:4+mlp:8)", "teacher")
    assert certain.model.weights == "confidence"
    both = EXAMPLES.open("committee:agreement,logit,0.5:cnn:4+mlp:8", "teacher").model
    assert (both.weights, both.space, both.most_conflict, both.names) == ("agreement", "logit", 0.5, ("cnn:4", "mlp:8"))
    measured = replace(EXAMPLES, validation=lambda: DATA)
    for how in ("skill", "learned"):
        part = measured.open(f"noisy:0.1:committee:{how}:cnn:4+mlp:8", "teacher")
        (settle,) = part.settles
        cost = settle(torch.device("cpu"))
        assert (cost.labels, cost.teacher_calls) == (DATA.size, 2 * DATA.size)
        measured_one = part.model.teacher
        assert measured_one.gate is not None if how == "learned" else len(measured_one.accuracies) == 2
        with pytest.raises(ConfigError, match=f"{how} is measured on validation examples.*and there are none"):
            EXAMPLES.open(f"committee:{how}:cnn:4+mlp:8", "teacher")
    for how in ("learned", "agreement"):
        with pytest.raises(ConfigError, match="is for examples with labels"):
            questions().open(f"committee:{how}:decoder:1x32+decoder:1x32", "teacher")
    with pytest.raises(ConfigError, match="says twice how"):
        measured.open("committee:skill,learned:cnn:4+mlp:8", "teacher")
    with pytest.raises(ConfigError, match=r"how, in teacher='committee:mean:.*is 'mean', which is not known"):
        EXAMPLES.open("committee:mean:cnn:4+cnn:4", "teacher")
    with pytest.raises(ConfigError, match="weighted by confidence take no weights"):
        EXAMPLES.open("committee:confidence:2*cnn:4+cnn:4", "teacher")


def test_a_teacher_with_a_view_of_its_own_looks_at_it_and_a_shifted_one_only_learns_from_it():
    batch = DATA.batch(slice(0, 4))
    seeing = EXAMPLES.open("view:privileged:mlp:8", "teacher")
    assert seeing.model.learner.inputs == ("privileged.x",)
    assert seeing.model.signal(batch).logits.shape == (4, 3)
    assert seeing.warm_starts[0].inputs == ""
    shifted = EXAMPLES.open("shifted:privileged:mlp:8", "teacher")
    assert shifted.model.learner.inputs is None
    assert shifted.warm_starts[0].inputs == "privileged.x"
    assert shifted.warm_starts[0].spec == "shifted:privileged:mlp:8"
    with pytest.raises(TeacherError, match=r"no view 'privilged'. Did you mean privileged\?"):
        EXAMPLES.open("view:privilged:mlp:8", "teacher")
    with pytest.raises(ConfigError, match="view takes a teacher that is trained here, such as view:privileged:mlp"):
        EXAMPLES.open("view:privileged:random", "teacher")


def test_a_teacher_may_tell_another_tensor_of_the_data():
    part = EXAMPLES.open("target:style:cnn:4", "teacher")
    assert (part.target, part.warm_starts[0].label) == ("style", "style")
    assert part.model.signal(DATA.batch(slice(0, 4))).logits.shape == (4, 2)


@pytest.mark.parametrize(
    ("role", "text", "purpose", "match"),
    [
        (
            "student",
            "mlp:8",
            ForQuestions(),
            "mlp is for examples; here it is to be for questions, and can be auto",
        ),
        (
            "student",
            "decoder:1x32",
            EXAMPLES,
            "decoder is for questions; here it is to be for examples, and can be",
        ),
        ("teacher", "noisy:0.3:mlp:8", ForQuestions(), "mlp is for examples"),
        ("teacher", "skops:a.skops", ForQuestions(), "skops is for examples"),
        ("teacher", "noisy:much:mlp:8", EXAMPLES, "the rate in teacher='noisy:much:mlp:8' is 'much', .* a number"),
        ("teacher", "noisy:1.5:mlp:8", EXAMPLES, "rate is 1.5"),
        ("teacher", "random:3", EXAMPLES, "random takes no argument"),
        ("teacher", "random", ForQuestions(), "there is no student"),
        ("student", "warm:0:mlp:8", EXAMPLES, "must be at least 1"),
        ("student", "warm:101%:mlp:8", EXAMPLES, "in percent, is 101, but must be at least 1 and at most 100"),
        ("student", "warm:x:mlp:8", EXAMPLES, "warm is written warm:STEPS:STUDENT or warm:SHARE%:STUDENT"),
        ("student", "decoder:0x8", ForQuestions(), "decoder is written decoder:LAYERSxWIDTH or"),
        ("student", "lora:8:decoder:1x32", ForQuestions(), "lora is written"),
        *(
            ("student", text, purpose, f"student is '{text}', but that is a net that cannot be made here: ")
            for text, purpose in (
                ("mlp:99999999999999999999", EXAMPLES),
                ("cnn:99999999999999999999", EXAMPLES),
                ("transformer:1x99999999999999999999", EXAMPLES),
                ("decoder:1x99999999999999999968", ForQuestions()),
            )
        ),
        ("student", "hf", ForQuestions(), "hf is written hf:NAME or hf:DIRECTORY"),
        ("student", "collections:Counter", EXAMPLES, "must return an nn.Module"),
        ("student", "collections:Counter", ForQuestions(), "must return a CausalLearner"),
        ("student", "collections:OrderedDict", EXAMPLES, "no function or class with a known signature"),
        ("student", "nowhere.at_all:net", EXAMPLES, "cannot be imported"),
        ("teacher", "collections:Counter", EXAMPLES, "Counter, which cannot teach"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(role, text, purpose, match):
    with pytest.raises((ConfigError, TeacherError), match=match):
        purpose.open(text, role)


def test_a_control_is_about_classes():
    regression = Examples(
        tensors={"x": torch.rand(4, 2), "label": torch.rand(4), "id": torch.arange(4)},
        task="regression",
        modality="table",
    )
    with pytest.raises(ConfigError, match=r"noisy:0.3:mlp:8', but it needs classes, and the data are a regression"):
        ForExamples(examples=regression).open("noisy:0.3:mlp:8", "teacher")


def test_a_run_is_taught_further_and_teaches_with_its_weights(place):
    kept = build("cnn:4", DATA, seed=1).state_dict()
    student, teacher = EXAMPLES.open("runs/NAME", "student"), EXAMPLES.open("run:runs/NAME", "teacher")
    for model in (student.model, teacher.model.learner):
        assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    assert [str(path) for path in (*student.origin, *teacher.origin)] == ["runs/NAME"] * 2
    assert EXAMPLES.open("runs/NAME/student", "teacher").origin == (Path("runs/NAME"),)
    other = Examples(
        tensors={"x": torch.rand(4, 2), "label": torch.arange(4) % 3, "id": torch.arange(4)},
        task="classification",
        modality="table",
        classes=CLASSES,
    )
    with pytest.raises(TeacherError, match="whose kind of data was 'image', but these data have 'table'"):
        ForExamples(examples=other).open("runs/NAME", "teacher")
    with pytest.raises(ConfigError, match="it was taught on image of 3x8x8"):
        ForExamples(examples=other).open("runs/NAME", "student")


def test_a_file_that_names_code_is_not_opened(place):
    export.export(build("cnn:4", DATA), "bad.safetensors", to="safetensors", examples=DATA, spec="os:abort")
    with pytest.raises(TrustError, match=r"bad.safetensors asks to run the code 'os:abort'"):
        EXAMPLES.open("bad.safetensors", "teacher")


def test_whatever_is_given_from_python_can_teach_or_be_taught():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    part = python.student_of(module, EXAMPLES)
    assert (part.model.module, part.spec, part.rate) == (module, "<Sequential>", 1e-3)
    assert python.student_of(lambda: module, EXAMPLES).model.module is module
    with pytest.raises(ConfigError, match="student gives int, but must be a spec, Module, or a function"):
        python.student_of(lambda: 3, EXAMPLES)

    class Oracle:
        def signal(self, batch: Batch):
            return None

    oracle = Oracle()
    for purpose in (EXAMPLES, questions()):
        assert python.teacher_of(oracle, purpose).model is oracle
    several = python.teacher_of([oracle, module], EXAMPLES)
    assert isinstance(several.model, Committee)
    assert [one.spec for one in several.members] == ["<Oracle>", "<Sequential>"]
    model = build_causal("decoder:1x32")
    assert python.teacher_of(model, questions()).model.learner is model
    assert python.student_of(model, questions()).rate == 1e-3
    with pytest.raises(TeacherError, match="Sequential, which cannot teach; give a spec, a CausalLearner, or"):
        python.teacher_of(module, questions())


def test_a_spawn_draws_each_student_by_a_seed_of_its_own():
    spawn = python.Spawn("mlp:4", EXAMPLES)
    first, second = spawn(), spawn()
    assert not torch.equal(first.module[2].weight, second.module[2].weight)
    again = build("mlp:4", DATA, seed=EXAMPLES.member(2).seed)
    assert torch.equal(again.module[2].weight, second.module[2].weight)
    assert spawn("cnn:4").module[1].conv.weight.shape == (4, 3, 3, 3)
    given = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    made = python.Spawn(given, EXAMPLES)().module[1].weight
    assert made.shape == given[1].weight.shape
    assert not torch.equal(made, given[1].weight)
    odd = nn.Module()
    odd.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match="a module 'Module' that cannot be reinitialised"):
        python.Spawn(odd, EXAMPLES)()


def test_the_tokenizer_of_a_student_is_known_before_the_data_are_read():
    assert brought_by(parts.parse("warm:5:mlp:8", "student"), 16) == (None, None)


def test_models_alone_are_not_trained():
    with pytest.raises(ConfigError, match="whose warm start needs a run"):
        build_causal("warm:5:decoder:1x32")
