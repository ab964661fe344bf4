"""What the doctor finds."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

import didact
from blobs import DATA, QUICK, Oracle
from didact import sources
from didact.experiment import running
from didact.experiment.comparing import compare
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose
from didact.experiment.material import Objects

# ---- the doctor


def levels(checks):
    return {check.name: check.level for check in checks}


def test_a_sound_set_up():
    found = levels(diagnose(RunConfig.from_flags(method="distill", teacher="mlp:8", labels=12), Objects(data=DATA)))
    wanted = ("device", "data", "splits", "classes", "duplicates", "method", "student", "self-taught", "teacher")
    assert {name: found[name] for name in wanted} == dict.fromkeys(wanted, "pass")


def test_what_the_doctor_finds(tmp_path):
    x = torch.cat([DATA.tensors["x"], DATA.tensors["x"][:60]])
    label = torch.cat([DATA.tensors["label"], DATA.tensors["label"][:60]])
    twice = sources.from_tensors(x, label, ids=torch.arange(300))
    assert levels(diagnose(RunConfig.from_flags(method="supervised"), Objects(data=twice)))["duplicates"] == "warn"
    swapped = diagnose(RunConfig.from_flags(method="distill"), Objects(data=DATA, teacher=Oracle((1, 2, 0))))
    assert levels(swapped)["teacher"] == "fail"
    assert "would be right on" in swapped[-1].detail
    didact.run(method="supervised", directory=tmp_path / "run", **{**QUICK, "steps": 100})
    leaking = diagnose(
        RunConfig.from_flags(method="distill", teacher=str(tmp_path / "run"), seed=2), Objects(data=DATA)
    )
    assert levels(leaking)["leakage"] == "warn"
    assert levels(diagnose(RunConfig.from_flags(method="supervised", data="nowhere.csv")))["data"] == "fail"
    assert levels(diagnose(RunConfig.from_flags(method="supervised", device="gpu9")))["machine"] == "fail"
    broken = diagnose(RunConfig.from_flags(method="supervised"), Objects(data=DATA, student=Broken()))
    assert levels(broken)["student"] == "fail"
    useless = diagnose(RunConfig.from_flags(method="distill"), Objects(data=DATA, teacher=Oracle((3, 3, 3))))
    assert levels(useless)["teacher"] == "warn"


class Sure(Oracle):
    """Right about `blobs`, and sure of it."""

    def forward(self, x):
        return 100 * super().forward(x)


def suspected(data, teacher):
    found = diagnose(RunConfig.from_flags(method="distill"), Objects(data=data, teacher=teacher))
    return [check.detail for check in found if check.name == "labels" and check.level == "warn"]


def test_a_batch_that_cannot_be_cut_is_refused_before_a_teacher_is_trained():
    config = RunConfig.from_flags(method="relational", teacher="warm:100000:mlp:8", micro_batch=4)
    found = diagnose(config, Objects(data=DATA))[-1]
    assert (found.name, found.level) == ("method", "fail") and "Relational compares the examples" in found.detail


def test_equal_rows_with_different_labels_are_counted():
    x, label = DATA.tensors["x"], DATA.tensors["label"]
    x, label = torch.cat([x, x[:9]]), torch.cat([label, label[:6], (label[6:9] + 1) % 3])
    split = torch.zeros(len(label), dtype=torch.long)
    split[100:150], split[150:200] = 1, 2
    data = sources.from_tensors(x, label, ids=torch.arange(len(label)))
    data = dataclasses.replace(data, tensors={**data.tensors, "split": split})
    (detail,) = suspected(data, Oracle())
    first = sorted({int(label[6]), (int(label[6]) + 1) % 3})
    assert detail.startswith(f"6 of {len(label) - 100} labelled training examples have the same inputs as another")
    assert f"with another label, such as {first[0]} and {first[1]}. No student" in detail
    assert suspected(DATA, Oracle()) == []


def test_labels_that_a_sure_teacher_contradicts_are_counted():
    label = DATA.tensors["label"].clone()
    label[::20] = (label[::20] + 1) % 3
    split = torch.tensor([0, 1, 2, 0, 0]).repeat(len(label))[: len(label)]
    wrong = dataclasses.replace(DATA, tensors={**DATA.tensors, "label": label, "split": split})
    found = int((DATA.tensors["x"][:, :3].argmax(1) != label)[split == 0].sum())
    (detail,) = suspected(wrong, Sure())
    assert detail.startswith(f"{found} of {int((split == 0).sum())} training labels contradict a teacher")
    assert suspected(wrong, Sure((2, 0, 1))) == []


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, x):
        return self.net(x) / 0.0


def test_the_public_names_are_where_they_are_said_to_be():
    assert didact.run is running.run
    assert didact.compare is compare
    assert didact.RunConfig is RunConfig
    assert Path(didact.experiment.__file__).parent.name == "experiment"


class Doubtful(Oracle):
    """Right about `blobs`, with probabilities that are known."""

    def forward(self, x):
        return 2 * nn.functional.one_hot(super().forward(x).argmax(1), 3).float()


def targets(teacher, **settings):
    found = diagnose(RunConfig.from_flags(method="distill", **settings), Objects(data=DATA, teacher=teacher))
    return next(check for check in found if check.name == "teacher's targets")


def test_a_teacher_that_repeats_the_labels_is_told():
    """A sure teacher that is right has no entropy and no distance from labels: the closed form of one that is not."""
    told = targets(Sure())
    assert told.level == "warn"
    assert "(100% are above 0.999)" in told.detail
    assert "distillation is plain training here" in told.detail
    few = targets(Sure(), labels=12)
    assert few.level == "pass"
    assert "only examples without a label" in few.detail
    p = torch.tensor([2.0, 0, 0]).softmax(0)
    entropy, apart = float(-(p * p.log()).sum()), float(-p[0].log())
    doubtful = targets(Doubtful())
    assert doubtful.level == "pass"
    assert f"have {entropy:.2g} nats of entropy (0% are" in doubtful.detail
    assert f"and are {apart:.2g} nats away" in doubtful.detail
