"""Runs with a committee: what its members taught, what they cost, and what each is worth."""

import numpy as np
import pytest
import torch

import didact
from blobs import DATA
from didact.errors import ConfigError
from didact.evaluation import sections
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.experiment.preparing import prepare
from didact.materials.examples import worth
from didact.teachers import Committee

QUICK = {"method": "distill", "student": "mlp:4", "steps": 4, "progress": False, "seed": 1}
NOISE = 0.4 * torch.randn(DATA.size, 4, generator=torch.Generator().manual_seed(5))
HARD = DATA.with_tensors(x=DATA.tensors["x"] / 3 + NOISE)


def first(x):
    """Logits of a member that knows the first two classes better."""
    return x[:, [0, 1, 2]] * torch.tensor([4.0, 3.0, 0.5])


def second(x):
    """Logits of one that knows the last class."""
    return x[:, [0, 1, 2]] * torch.tensor([0.3, 0.4, 4.0])


def probabilities(scores):
    exps = np.exp(scores - scores.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def test_worth_is_the_accuracy_that_is_lost_without_a_member():
    run = prepare(
        RunConfig.from_flags(**QUICK, data="<blobs>"), Objects(data=HARD, teacher=[first, second]), teach=False
    )
    found = worth.describe(run)
    rows = run.data.splits.validation
    x, label = rows.tensors["x"], rows.tensors["label"].numpy()
    p = [probabilities(one(x).numpy()) for one in (first, second)]
    right = lambda scores: float((scores.argmax(1) == label).mean())  # noqa: E731
    loss = lambda scores: float(-np.log(scores[np.arange(len(label)), label]).mean())  # noqa: E731
    mean = (p[0] + p[1]) / 2
    assert found["rows"] == len(label)
    assert found["committee"] == pytest.approx(right(mean))
    assert 0 < found["disagreement"] == pytest.approx(float((p[0].argmax(1) != p[1].argmax(1)).mean()))
    answer = mean.argmax(1)
    own = np.stack([one[np.arange(len(label)), answer] for one in p])
    for number, member in enumerate(found["members"]):
        assert member["alone"] == pytest.approx(right(p[number]))
        assert member["without"] == pytest.approx(right(p[1 - number]))
        assert member["worth"] == pytest.approx(right(mean) - right(p[1 - number]))
        assert member["nll_worth"] == pytest.approx(loss(p[1 - number]) - loss(mean), rel=1e-4)
        share = own[number] / own.sum(0)
        assert member["share"] == pytest.approx(share.mean(), rel=1e-4)
        by_class = [share[answer == c].mean() if (answer == c).any() else 0.0 for c in range(3)]
        assert member["most_for"] == HARD.classes[int(np.argmax(by_class))]
        assert member["share_there"] == pytest.approx(max(by_class), rel=1e-4)


@pytest.mark.parametrize("how", ["skill", "learned", "agreement", "confidence"])
def test_a_run_says_who_taught_what_at_what_cost(how, tmp_path):
    result = didact.run(
        data=HARD, teacher=f"committee:{how}:warm:150:mlp:8+random", directory=tmp_path / "run", **QUICK
    )
    (good, bad), shown = result.committee["members"], sections.committee_table(result.committee)
    assert [row[0] for row in shown["rows"]] == ["warm:150:mlp:8", "random"]
    # The members are charged apart, for the rows that were seen; what they were asked for figures costs nothing.
    assert good["spent"] == bad["spent"] == result.spent["teacher.0"] == result.spent["teacher.1"]
    assert result.cost.teacher_calls == 2 * good["spent"]["teacher_calls"]
    assert good["worth"] > bad["worth"]
    measured = len(HARD.tensors["id"]) // 10 if how in ("skill", "learned") else 0
    assert result.teacher_cost.teacher_calls == 2 * measured
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Teachers</h2>" in page
    assert "worth (nats)" in page
    assert any("by leaving it out: warm:150:mlp:8" in note for note in result.notes)


def test_a_regression_has_worth_too():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 3, generator=generator)
    y = x.sum(1) + 0.1 * torch.randn(90, generator=generator)
    members = [lambda rows: rows.sum(1), lambda rows: 0.2 * rows[:, 0]]
    result = didact.run(data=(x.numpy(), y.numpy()), teacher=members, **QUICK)
    good, bad = result.committee["members"]
    assert result.committee["metric"] == "r2"
    assert "share" not in good
    assert good["worth"] > 0 > bad["worth"]
    assert "worth (nats)" not in sections.committee_table(result.committee)["columns"]
    assert sections.committee_table({}) is None


def test_one_teacher_is_no_committee():
    result = didact.run(data=HARD, teacher=first, **QUICK)
    assert result.committee == {}


def test_weights_by_labels_need_a_method_that_reads_them():
    with pytest.raises(
        ConfigError, match="a committee that weighs its members by labels, but the method 'retain_while_acquiring'"
    ):
        didact.run(
            **{**QUICK, "method": "retain_while_acquiring"}, data=HARD, teacher="committee:agreement:mlp:4+mlp:4"
        )


def test_labels_by_which_a_teacher_is_scored_are_not_shown_to_it():
    """A committee that weighs by labels would look perfect on the test rows otherwise."""
    right_or_wrong = [lambda x: x[:, [0, 1, 2]] * 9, lambda x: x[:, [1, 2, 0]] * 9]
    plain = didact.run(
        data=DATA, teacher=Committee([_Net(one) for one in right_or_wrong], weights="agreement"), **QUICK
    )
    equal = didact.run(data=DATA, teacher=Committee([_Net(one) for one in right_or_wrong]), **QUICK)
    assert plain.teacher["nll"] == equal.teacher["nll"]


class _Net:
    """A teacher of a function of `x`."""

    def __init__(self, function):
        self.function = function

    def signal(self, batch):
        return didact.types.Logits(logits=self.function(batch["x"]))
