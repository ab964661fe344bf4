"""The doctor's exam: a sample of its set-ups here, all of them in `make doctor-exam` and among the slow tests."""

import numpy as np
import pytest
import torch

import doctor_exam
from blobs import DATA, blobs
from didact import sources
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose
from didact.experiment.material import Objects
from didact.materials.examples import overlaps, suspicious_labels
from didact.materials.examples.columns import _told
from didact.materials.examples.teacher_inputs import forms
from didact.sources import Splits
from exam.room import QUESTIONS

SAMPLE = {
    *("a column that never changes", "blank images of every class", "waves of two frequencies"),
    *("fine-tuning on prompts with completions", "an end of turn that only generation_config knows"),
    *("a verifier that pays any number", "a server that wants a key"),
}
"""Set-ups of several kinds that take no training, asked in `make test`."""


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(one, id=f"{one.kind}: {one.name}", marks=[] if one.name in SAMPLE else [pytest.mark.slow])
        for one in QUESTIONS
    ],
)
def test_the_doctor_finds_the_planted_fault_alone(question):
    answer = doctor_exam.ask(question)
    assert answer.right, answer.findings


def test_a_miss_and_a_false_alarm_fail_the_exam(monkeypatch, capsys):
    fault, healthy = (next(one for one in QUESTIONS if bool(one.says) == planted) for planted in (True, False))
    said = {fault.name: [], healthy.name: [("warn", "columns", "Something.")]}
    monkeypatch.setattr(doctor_exam, "QUESTIONS", [fault, healthy])
    monkeypatch.setattr(doctor_exam, "ask", lambda one: doctor_exam.Answer(one, said[one.name], 0))
    assert doctor_exam.main([]) == 1
    printed = capsys.readouterr().out
    assert "MISSED" in printed and "FALSE ALARM" in printed and "0 of 1 planted faults found; 0 of 1" in printed
    other = doctor_exam.Answer(fault, [("warn", "columns", "Something else.")], 0)
    assert not other.right and not doctor_exam.Answer(healthy, [], 1).right


def test_the_exam_is_as_large_as_it_says():
    planted = [one for one in QUESTIONS if one.says]
    assert len(planted) >= 30 and len(QUESTIONS) - len(planted) >= 10
    names = {one.name for one in QUESTIONS}
    assert len(names) == len(QUESTIONS) and names >= SAMPLE


# ---- the checks, each against a slow transcription or a closed form


def test_a_teacher_is_judged_by_the_rows_that_it_was_asked_about():
    """More rows than are asked about: scores and labels must be those of the same sample."""
    data = blobs(900, noise=1.5)
    found = diagnose(RunConfig.from_flags(method="distill"), Objects(data=data, teacher=torch.nn.Identity().eval()))
    assert [check for check in found if check.level == "fail"]  # four outputs for three classes
    teacher = torch.nn.Linear(4, 3, bias=False)
    teacher.weight.data = torch.eye(3, 4)
    checks = {c.name: c for c in diagnose(RunConfig.from_flags(method="distill"), Objects(data=data, teacher=teacher))}
    right = float((data.tensors["x"][:, :3].argmax(1) == data.tensors["label"]).double().mean())
    said = float(checks["teacher"].detail.split(" right on ")[1].split("%")[0]) / 100
    assert said == pytest.approx(right, abs=0.08) and right > 0.7


def slowly_told(values, label, alike):
    """The label of the nearest other value; of categories, only of an equal one."""
    right = 0
    for i, value in enumerate(values):
        others = [j for j in range(len(values)) if j != i and not np.isnan(values[j])]
        if np.isnan(value):
            continue
        nearest = min(abs(values[j] - value) for j in others)
        told = [label[j] for j in others if abs(values[j] - value) == nearest]
        right += bool(len(set(told)) == 1 and told[0] == label[i] and not (alike and nearest > 0))
    return right / len(values)


@pytest.mark.parametrize("alike", [False, True])
def test_what_a_column_tells_alone(alike):
    draw = np.random.default_rng(0)
    label = draw.integers(3, size=60)
    # Where values are equal, so are labels, or the nearest other one would not be one alone.
    values = 100.0 * label + label if alike else label + draw.normal(size=60)
    values[:4] = np.nan
    assert _told(values, label, "classification", alike=alike) == pytest.approx(slowly_told(values, label, alike))
    target = draw.normal(size=60)
    order = np.argsort(target)
    nearest = [min((j for j in (k - 1, k + 1) if 0 <= j < 60), key=lambda j: abs(target[order[j]] - target[order[k]]))
               for k in range(60)]  # fmt: skip
    residual = ((target[order] - target[order][nearest]) ** 2).sum()
    wanted = 1 - residual / ((target - target.mean()) ** 2).sum()
    assert _told(target, target, "regression", alike=False) == pytest.approx(wanted)
    assert _told(np.full(60, 2.0), label, "classification", alike=False) == 0.0


def test_windows_that_share_steps_are_counted():
    track = torch.randn(400, generator=torch.Generator().manual_seed(0))
    cut = lambda starts: torch.stack([track[s : s + 24] for s in starts])[:, None]  # noqa: E731
    apart = torch.randn(6, 1, 24, generator=torch.Generator().manual_seed(1))
    steady = torch.zeros(4, 1, 24)
    train, test = range(0, 200, 16), (205, 220, 300, 8)
    parts = (torch.cat([cut(train), steady]), apart, torch.cat([cut(test), steady]))
    made = [sources.from_tensors(x, np.arange(len(x)) % 2, modality="series", standardise="none") for x in parts]
    made = [sources.fit_preprocessing(part)(part) for part in made]
    (check,) = overlaps.checks(Splits(*made))
    shared = sum(any(len({*range(s, s + 24)} & {*range(t, t + 24)}) >= 8 for t in train) for s in test)
    assert 0 < shared < 4
    assert check.level == "warn" and check.detail.startswith(f"{shared} of 8 test series")
    assert next(overlaps.checks(Splits(made[0], made[1], made[1]))).level == "pass"


def test_targets_far_from_all_others_are_counted():
    label = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    assert list(suspicious_labels.far(sources.from_tensors(x, label.numpy(), task="regression"))) == []
    label[:3] = -9999.0
    (check,) = suspicious_labels.far(sources.from_tensors(x, label.numpy(), task="regression"))
    assert check.detail.startswith("3 of 200 training labels, such as -9999, make up 100.0%")


def test_other_forms_of_images_are_what_they_are_called():
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = dict(forms(x))
    assert torch.equal(found["from 0 to 255"] / 255, x * 255 / 255)
    assert torch.equal(found["with rows and columns exchanged"][2, 1, 0, 3], x[2, 1, 3, 0])
    blue = found["with their channels in the order blue, green, red"]
    assert torch.equal(blue[:, 0], x[:, 2]) and torch.equal(blue[:, 1], x[:, 1])
    one = found["scaled to mean 0 and standard deviation 1"]
    assert torch.allclose(one.mean((0, 2, 3)), torch.zeros(3), atol=1e-6)
    assert found["scaled as those of ImageNet"][0, 1, 0, 0] == pytest.approx(
        float(x[0, 1, 0, 0] - 0.456) / 0.224, rel=1e-4
    )


def test_a_learning_rate_is_compared_with_the_usual_one():
    said, adam = {}, [(lr, "adamw") for lr in (None, 0.29, 0.31, 1e-9)]
    for lr, optimizer in (*adam, (0.31, "sgd"), (11, "sgd")):
        flags = {"method": "supervised", "optimizer": optimizer, **({} if lr is None else {"lr": lr})}
        checks = diagnose(RunConfig.from_flags(**flags), Objects(data=DATA))
        said[lr, optimizer] = next(check.level for check in checks if check.name == "optimizer")
    assert [key for key, level in said.items() if level == "warn"] == [(0.31, "adamw"), (1e-9, "adamw"), (11, "sgd")]


def test_a_student_that_is_its_own_teacher_learns_nothing():
    student, same = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    student.weight.data = torch.eye(3, 4)
    same.load_state_dict(student.state_dict())
    checks = diagnose(RunConfig.from_flags(method="distill"), Objects(data=DATA, student=student, teacher=same))
    assert any("says what the student says already" in check.detail for check in checks)
