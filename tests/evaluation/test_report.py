"""The report holds what it should, escaped, in one file; its charts are figures that plotly accepts."""

import json
import re
import sys
from html.parser import HTMLParser

import pytest
import torch

from didact.errors import DataError, MissingExtraError
from didact.evaluation import ArmResult, Predictions, charts, compare, diagnostics, metrics, report, sections
from didact.types import Cost, Verdict

HOSTILE = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """The words, tags and chart data of a page; the last two scripts are code."""

    def __init__(self, path):
        super().__init__()
        self.html, self.words, self.tags, self.figures, self._inside = path.read_text(), [], [], [], None
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = (tag, dict(attributes))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside and self._inside[0] == "script":
            if self._inside[1].get("type") == "application/json":
                self.figures.append(json.loads(data))
        elif not (self._inside and self._inside[0] == "style"):
            self.words.append(data.strip())


def predictions(seed, sharpness=3.0, classes=("cat", "dog", "owl"), count=90):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(classes)
    logits = torch.randn(count, len(classes), generator=generator)
    logits[torch.arange(count), labels] += sharpness
    return Predictions(logits=logits, labels=labels, task="classification", classes=classes)


def arm(sharpness, **options):
    def run(seed):
        found = predictions(seed, sharpness, **options)
        return ArmResult(metrics(found), Cost(labels=100, steps=200, seconds=3.0), diagnostics(found))

    return run


def history(shift=0.0, steps=600):
    for step in range(10, steps + 1, 10):
        yield {"step": step, "loss/total": 2.0 / step + shift, "loss/hard": 1.0 / step, "lr": 1e-3, "grad_norm": None}
    yield {"step": steps, "eval/accuracy": 0.9 - shift, "eval/nll": 0.3, "eval/ece": float("nan")}


def comparison(seeds=(0, 1, 2, 3), **options):
    arms = {"alone": arm(1.0, **options), "taught": arm(3.0, **options), HOSTILE: arm(1.0, **options)}
    return compare(arms, seeds, reference="alone", metric="accuracy")


CONFIG = {"method": "distill", "note": HOSTILE, "versions": {"torch": "2.9", "deep": {"er": [1, 2]}}, "empty": None}


def test_a_comparison_is_told_from_the_verdict_to_the_configuration(tmp_path):
    found = comparison()
    verdicts = {
        "alone": [{"step": 50, "level": "warn", "monitor": "loss_spike", "figure": 9.0, "reason": f"High. {HOSTILE}"}]
        * 2,
        "taught": [(70, Verdict("stop", "non_finite", 1.0, "It is NaN."))],
    }
    curves = {name: [list(history(0.01 * i)) for i in range(4)] for name in ("alone", "taught")}
    path = report.write_comparison_report(
        tmp_path / "deep" / "report.html", found, config=CONFIG, curves=curves, verdicts=verdicts
    )
    page = Page(path)
    first, _, rest = found.sentence().partition(". ")
    assert f"{first}." in page.text and " ".join(rest.split()) in page.text
    for words in ("better", "reference", "no difference shown", "Cost", "Learning curves", "Calibration", "Confusion"):
        assert words in page.text
    assert "loss_spike" in page.text and "2 times" in page.text and "It is NaN." in page.text
    assert page.text.index("non_finite") < page.text.index("loss_spike")
    assert "distill" in page.text and "deep.er" in page.text and "1, 2" in page.text
    assert "Every arm used 100 labels and 200 steps." in page.text
    assert len(page.figures) == 5


def test_what_a_user_wrote_is_escaped_everywhere(tmp_path):
    path = report.write_comparison_report(
        tmp_path / "r.html", comparison(classes=("cat", HOSTILE, "owl")), config=CONFIG
    )
    page = Page(path)
    assert "<script>alert" not in page.html
    assert page.text.count(HOSTILE) > 4
    for figure in page.figures:
        assert "<script" not in json.dumps(figure)
    assert "&lt;script&gt;" in json.dumps(page.figures[0])
    codes = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len([one for one in codes if one.get("type") != "application/json"]) == 2


def test_the_file_is_alone_and_not_large(tmp_path):
    path = report.write_comparison_report(tmp_path / "r.html", comparison())
    page = Page(path)
    assert path.stat().st_size < 5.5e6
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "base")]
    assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
    own = page.html.replace(report_script(), "")
    assert "http" not in own and "@import" not in own and "url(" not in own


def report_script():
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def test_one_seed_claims_nothing(tmp_path):
    page = Page(report.write_comparison_report(tmp_path / "r.html", comparison(seeds=(3,))))
    assert "no verdict" in page.text and "±" not in page.text and "one seed" in page.text


def test_bare_results_make_a_shorter_report(tmp_path):
    arms = {"alone": lambda s: ArmResult({"score": s}, Cost()), "taught": lambda s: ArmResult({"score": 2 * s}, Cost())}
    found = compare(arms, [1, 2], reference="alone", metric="score")
    page = Page(report.write_comparison_report(tmp_path / "r.html", found))
    for words in ("Calibration", "Confusion", "Learning curves", "monitors", "Configuration", "All metrics", "Cost"):
        assert words not in page.text
    assert len(page.figures) == 2


def test_a_run_is_told_from_its_files(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(CONFIG))
    lines = [json.dumps(record) for record in history()]
    (run / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 610, "loss/to')
    found = predictions(0)
    result = {"status": "done", "reason": "The budget of 600 steps was used up.", "metrics": metrics(found)}
    (run / "result.json").write_text(json.dumps({**result, "cost": Cost(steps=600, labels=90).as_dict()}))
    read = report.read_run(run)
    assert len(read["metrics_history"]) == len(lines) and read["verdicts"] == [] and read["diagnostics"] is None
    page = Page(report.write_run_report(run / "report.html", **{**read, "diagnostics": found}))
    accuracy = f"{100 * metrics(found)['accuracy']:.1f}%"
    assert f"distill reaches {accuracy} accuracy on the test examples after 600 steps." in page.text
    assert "The budget of 600 steps was used up." in page.text
    assert "no monitor objected" in page.text and "macro F1" in page.text and "teacher" not in page.text
    titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in page.figures]
    assert titles == ["loss", "accuracy (%)", "negative log-likelihood (nats)", "learning rate", "accuracy (%)"]


def test_a_run_shows_its_teacher_and_notes(tmp_path):
    result = {
        "metrics": {"accuracy": 0.91, "nll": 0.4},
        "teacher": {"accuracy": 0.97, "teacher_agreement": 0.931, "teacher_kl": 0.123},
        "cost": Cost(steps=10, labels=100).as_dict(),
        "teacher_cost": Cost(labels=1400).as_dict(),
        "parameters": 1210,
        "notes": ["Mind the gap."],
    }
    path = report.write_run_report(tmp_path / "r.html", config={}, metrics_history=[], verdicts=[], result=result)
    text = Page(path).text
    assert "student 91.0 0.400 teacher 97.0 \u2013" in text
    assert "with the teacher on 93.1% of the test examples; its divergence from the teacher is 0.123 nats." in text
    assert "Mind the gap." in text and "1,210 parameters" in text
    assert "the student 100 10 the teacher 1,400 0" in text


def test_a_run_without_an_end_is_told_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    page = Page(report.write_run_report(tmp_path / "r.html", **report.read_run(tmp_path)))
    assert "distill has no final figures." in page.text
    assert page.figures == []
    with pytest.raises(DataError, match=r"no config\.json"):
        report.read_run(tmp_path / "elsewhere")


def test_a_regression_shows_predicted_and_actual_values(tmp_path):
    labels = torch.randn(700, generator=torch.Generator().manual_seed(0))
    found = Predictions(logits=labels[:, None] + 0.1, labels=labels, task="regression")
    result = {"metrics": metrics(found), "cost": {"steps": 5}}
    path = report.write_run_report(
        tmp_path / "r.html", config={}, metrics_history=[], verdicts=[], result=result, diagnostics=found
    )
    page = Page(path)
    assert "R\u00b2 on the test examples after 5 steps" in page.text and "Predicted and actual" in page.text
    (figure,) = page.figures
    points = figure["data"][1]
    assert len(points["x"]) == 400
    assert [y - x for x, y in zip(points["x"], points["y"], strict=True)] == pytest.approx([0.1] * 400, abs=1e-5)


def test_many_classes_are_listed_by_what_is_confused_most():
    counts = [[10 if i == j else 0 for j in range(30)] for i in range(30)]
    counts[4][9], counts[2][3] = 5, 2
    table = sections.confusion_table("x", {"confusion": counts, "classes": [str(i) for i in range(30)]})
    assert "rows" not in table
    assert table["pairs"] == [
        {"label": "4", "answer": "9", "count": 5, "share": "33%"},
        {"label": "2", "answer": "3", "count": 2, "share": "17%"},
    ]


def test_arms_that_spent_differently_are_told_apart():
    arms = {
        "alone": lambda s: ArmResult({"m": s}, Cost(labels=100)),
        "more": lambda s: ArmResult({"m": s}, Cost(labels=1400)),
    }
    found = compare(arms, [1, 2], reference="alone", metric="m")
    assert sections.budget_note(found) == "The arms did not use the same number of labels (100 to 1,400)."
    arms["more"] = lambda s: ArmResult({"m": s}, Cost(labels=100, steps=7))
    found = compare(arms, [1, 2], reference="alone", metric="m")
    assert sections.budget_note(found) == "Every arm used 100 labels. Those that used steps used 7 each."


def test_a_mean_curve_is_the_mean_where_all_seeds_have_a_value():
    histories = [
        [{"step": s, "loss/total": base + s} for s in steps] for base, steps in ((0, (1, 2, 3)), (10, (2, 3, 4)))
    ]
    figure = charts.arms_curve("loss/total", {"alone": histories}, {"alone": "red"}, "loss")
    mean = figure["data"][-1]
    assert (mean["x"], mean["y"]) == ([2, 3], [7.0, 8.0])


def test_long_names_take_several_lines_in_a_chart():
    arms = {
        name: lambda s: ArmResult({"m": s}, Cost()) for name in ("alone", "a_rather_long_name_of_an_arm<", "x" * 30)
    }
    figure = charts.seeds_chart(compare(arms, [1, 2], reference="alone", metric="m"))
    assert figure["layout"]["yaxis"]["ticktext"] == ["alone", "a_rather_long_<br>name_of_an_arm&lt;", "x" * 30]


def test_long_curves_are_thinned_and_keep_their_ends():
    pairs = charts.series([{"step": s, "v": float(s)} for s in range(10_001)], "v")
    assert len(pairs) <= 302 and pairs[0] == (0, 0.0) and pairs[-1] == (10_000, 10_000.0)


def test_every_chart_is_one_that_plotly_accepts(tmp_path):
    go = pytest.importorskip("plotly.graph_objects")
    found = comparison()
    curves = {name: [list(history()), list(history(0.1))] for name in found.arms}
    labels = torch.linspace(-1, 1, 20)
    regression = diagnostics(Predictions(logits=labels[:, None], labels=labels, task="regression"))
    figures = [
        charts.seeds_chart(found),
        charts.differences_chart(found),
        charts.arms_curve("loss/total", curves, charts.arm_colours(found), "loss", log=True),
        charts.run_curve(["loss/total", "loss/hard"], list(history()), "loss", log=True),
        charts.calibration_chart({"a": diagnostics(predictions(0))["reliability"]}, {"a": charts.colour(1)}),
        charts.scatter_chart({"a": regression}, {"a": charts.colour(1)}),
    ]
    for figure in figures:
        text = re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(figure))
        go.Figure(json.loads(text))
    rows = figures[0]["data"]
    assert rows[1]["x"] == [100 * found.mean("alone")]
    assert rows[1]["error_x"]["array"] == [100 * found.summary("alone").half]
    assert figures[1]["data"][1]["x"] == [100 * found.difference("taught").mean]


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*didact\[report\]"):
        report.write_comparison_report(tmp_path / "r.html", comparison(seeds=(0, 1)))
