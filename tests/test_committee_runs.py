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
from didact.materials.questions import worth as token_worth
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


SUMS = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(6)]
LANGUAGE = {"method": "gkd", "student": "decoder:1x16:32", "sampling": "max_new_tokens=2", "batch_size": 8, "steps": 2}
LANGUAGE |= {"progress": False, "seed": 1}


def test_the_worth_of_language_models_is_the_likelihood_that_is_lost_without_them():
    config = RunConfig.from_flags(**LANGUAGE, data="<sums>", teacher="0.7*decoder:1x16:32+0.3*decoder:1x8:32")
    run = prepare(config, Objects(data=SUMS), teach=False)
    found = token_worth.describe(run)
    references = token_worth.references(run)
    assert found["rows"] == sum(batch.size for batch in references) == len(run.data.validation)
    probs = [[], []]
    for batch in references:
        for member, own in zip(run.teachers[0].model.teachers, probs, strict=True):
            answers = member.signal(batch).log_softmax().exp()
            for row, place in batch["completion_mask"].nonzero().tolist():
                own.append(float(answers[row, place - 1, batch["input_ids"][row, place]]))
    first, second = map(np.array, probs)
    loss = lambda p: -np.log(p).mean()  # noqa: E731
    assert found["committee"] == pytest.approx(loss(0.7 * first + 0.3 * second), rel=1e-4)
    for member, alone, other in zip(found["members"], (first, second), (second, first), strict=True):
        assert member["alone"] == pytest.approx(loss(alone), rel=1e-4)
        assert member["without"] == pytest.approx(loss(other), rel=1e-4)
        assert member["worth"] == pytest.approx(member["without"] - found["committee"])


def test_language_models_are_weighed_by_skill(tmp_path):
    teacher = "committee:skill:warm:60:decoder:1x32:32+random"
    result = didact.run(**LANGUAGE, data=SUMS, teacher=teacher, directory=tmp_path / "run")
    good, bad = result.committee["members"]
    assert good["weight"] > 0.8
    assert good["weight"] + bad["weight"] == pytest.approx(1.0)
    assert good["worth"] > 0.5 > bad["worth"]
    assert result.teacher_cost.labels >= result.committee["rows"]
    assert any("mixture" in note and "random" in note for note in result.notes)
    assert "nats" in sections.committee_table(result.committee)["columns"][-3]
    with pytest.raises(ConfigError, match="completions of validation questions, but none"):
        unanswered = [{"prompt": row["prompt"]} for row in SUMS]
        didact.run(**LANGUAGE, data=unanswered, teacher=teacher, directory=tmp_path / "other")
