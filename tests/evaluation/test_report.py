"""The report holds what it should, escaped, in one small file; its charts show the numbers at their places."""

import json
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch

from didact.errors import DataError, MissingExtraError
from didact.evaluation import ArmResult, Predictions, charts, compare, diagnostics, drawing, metrics, report, sections
from didact.types import Cost, Verdict

HOSTILE = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """The words, tags and charts of a page."""

    def __init__(self, path):
        super().__init__()
        self.html, self.words, self.tags, self._inside = path.read_text(), [], [], None
        self.charts = [Drawn(found) for found in re.findall(r'<svg class="chart".*?</svg>', self.html, re.DOTALL)]
        self.feed(re.sub(r"<svg.*?</svg>", "", self.html, flags=re.DOTALL))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data.strip())


class Drawn:
    """A chart read as a person reads it: the place of a mark is compared with the ticks on both of its sides."""

    def __init__(self, svg):
        self.svg = ElementTree.fromstring(svg)
        texts = list(self.svg.iter("text"))
        self.titles = [text.text for text in texts if text.get("class") == "x title"]
        self.x = [(float(text.get("x")), text.text) for text in texts if text.get("class") == "x"]
        self.y = [(float(text.get("y")) - 4, text.text) for text in texts if text.get("class") == "y"]

    def dots(self, kind="dots"):
        """The dots of each group of a kind: x, y and words."""
        groups = [group for group in self.svg.iter("g") if group.get("class") == kind]
        return [[self._dot(circle) for circle in group.iter("circle")] for group in groups]

    def _dot(self, circle):
        return self.across(float(circle.get("cx"))), self.upwards(float(circle.get("cy"))), circle.find("title").text

    def lines(self):
        """The points of each line."""
        for line in self.svg.iter("polyline"):
            pairs = (pair.split(",") for pair in line.get("points").split())
            yield [(self.across(float(x)), self.upwards(float(y))) for x, y in pairs]

    def across(self, place):
        return between(self.x, place)

    def upwards(self, place):
        return between(self.y, place) if is_number(self.y[0][1]) else place


def is_number(text):
    return re.fullmatch(r"-?[\d,.]+(e-?\d+)?", text) is not None


def between(ticks, place):
    """The value at a place, from the first and the last tick of a linear axis."""
    (low, first), (high, last) = ticks[0], ticks[-1]
    first, last = (float(text.replace(",", "")) for text in (first, last))
    return first + (place - low) / (high - low) * (last - first)


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
    for words in ("better", "reference", "undecided", "Cost", "Learning curves", "Calibration", "Confusion"):
        assert words in page.text
    assert "loss_spike" in page.text and "2 times" in page.text and "It is NaN." in page.text
    assert page.text.index("non_finite") < page.text.index("loss_spike")
    assert "distill" in page.text and "deep.er" in page.text and "1, 2" in page.text
    assert "Every arm used 100 labels and 200 steps." in page.text
    assert len(page.charts) == 5


def test_what_a_user_wrote_is_escaped_everywhere(tmp_path):
    path = report.write_comparison_report(
        tmp_path / "r.html", comparison(classes=("cat", HOSTILE, "owl")), config=CONFIG
    )
    page = Page(path)
    assert "<script>alert" not in page.html
    assert page.text.count(HOSTILE) > 4
    assert "".join(text for _, text in page.charts[0].y[2:]) == HOSTILE
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1


def test_the_file_is_alone_and_not_large(tmp_path):
    path = report.write_comparison_report(tmp_path / "r.html", comparison())
    page = Page(path)
    assert path.stat().st_size < 60_000
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "base")]
    assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
    assert "http" not in page.html and "@import" not in page.html and "url(" not in page.html


def test_a_large_comparison_stays_below_a_megabyte(tmp_path):
    arms = {f"arm_{i}": lambda s, i=i: ArmResult({"loss": i + s / 100}, Cost()) for i in range(8)}
    found = compare(arms, range(40), reference="arm_0", metric="loss")
    record = [{"step": step, "loss/total": 1 / step, "eval/loss": 2 / step} for step in range(1, 1001)]
    path = report.write_comparison_report(tmp_path / "r.html", found, curves={arm: [record] * 40 for arm in arms})
    assert len(Page(path).charts) == 4
    assert path.stat().st_size < 1e6


def test_one_seed_claims_nothing(tmp_path):
    page = Page(report.write_comparison_report(tmp_path / "r.html", comparison(seeds=(3,))))
    assert "no verdict" in page.text and "±" not in page.text and "one seed" in page.text


def test_bare_results_make_a_shorter_report(tmp_path):
    arms = {"alone": lambda s: ArmResult({"score": s}, Cost()), "taught": lambda s: ArmResult({"score": 2 * s}, Cost())}
    found = compare(arms, [1, 2], reference="alone", metric="score")
    page = Page(report.write_comparison_report(tmp_path / "r.html", found))
    for words in ("Calibration", "Confusion", "Learning curves", "monitors", "Configuration", "All metrics", "Cost"):
        assert words not in page.text
    assert len(page.charts) == 2


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
    titles = [chart.titles[1] for chart in page.charts]
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
    assert "student teacher accuracy (%) 91.0 97.0 negative log-likelihood (nats) 0.400 \u2013" in text
    assert "with the teacher on 93.1% of the test examples; its divergence from the teacher is 0.123 nats." in text
    assert "Mind the gap." in text and "1,210 parameters" in text
    assert "the student 100 10 the teacher 1,400 0" in text


def test_a_run_without_an_end_is_told_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    page = Page(report.write_run_report(tmp_path / "r.html", **report.read_run(tmp_path)))
    assert "distill has no final figures." in page.text
    assert page.charts == []
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
    (chart,) = page.charts
    (dots,) = chart.dots()
    assert len(dots) == 400
    assert min(x for x, _, _ in dots) == pytest.approx(min(diagnostics(found)["actual"]), abs=0.02)
    assert [y - x for x, y, _ in dots] == pytest.approx([0.1] * 400, abs=0.03)


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
    chart = Drawn(charts.arms_curve("loss/total", {"alone": histories}, {"alone": "red"}, "loss").svg)
    first, second, mean = chart.lines()
    assert [pair for line in (first, second) for pair in line] == near(
        [(1, 1), (2, 2), (3, 3), (2, 12), (3, 13), (4, 14)]
    )
    assert mean == near([(2, 7), (3, 8)])
    assert [words for _, _, words in chart.dots("hits")[0]] == ["step 2: 7", "step 3: 8"]


def near(pairs):
    return [pytest.approx(pair, abs=0.1) for pair in pairs]


def test_long_names_take_several_lines_in_a_chart():
    names = ("alone", "a_rather_long_name_of_an_arm<", "x" * 30)
    arms = {name: lambda s: ArmResult({"m": s}, Cost()) for name in names}
    chart = Drawn(charts.seeds_chart(compare(arms, [1, 2], reference="alone", metric="m")).svg)
    labels = ["alone", "a_rather_long_", "name_of_an_arm<", "x" * 17, "x" * 13]
    assert [text for _, text in chart.y] == labels
    places = [place for place, _ in chart.y]
    assert places == sorted(places)
    second, third = (places[1] + places[2]) / 2, (places[3] + places[4]) / 2
    assert third - second == pytest.approx(second - places[0], abs=0.2)


def test_long_curves_are_thinned_and_keep_their_ends():
    pairs = charts.series([{"step": s, "v": float(s)} for s in range(10_001)], "v")
    assert len(pairs) <= 302 and pairs[0] == (0, 0.0) and pairs[-1] == (10_000, 10_000.0)


def test_seeds_means_and_intervals_are_drawn_at_their_values():
    found = comparison()
    seeds, differences = (Drawn(one(found).svg) for one in (charts.seeds_chart, charts.differences_chart))
    dots = seeds.dots()
    assert [x for x, _, _ in dots[0]] == pytest.approx([100 * v for v in found.summary("alone").values], abs=0.1)
    assert [words.partition(":")[0] for _, _, words in dots[0]] == ["seed 0", "seed 1", "seed 2", "seed 3"]
    for row, arm in enumerate(found.arms):
        one = found.summary(arm)
        (mean,) = dots[2 * row + 1]
        assert mean[0] == pytest.approx(100 * one.mean, abs=0.1)
        assert [x for x, _ in list(seeds.lines())[row]] == pytest.approx([100 * one.low, 100 * one.high], abs=0.1)
    zero, taught, _ = differences.lines()
    one = found.difference("taught")
    assert [x for x, _ in zero] == pytest.approx([0, 0], abs=0.1)
    assert [x for x, _ in taught] == pytest.approx([100 * one.low, 100 * one.high], abs=0.1)
    assert differences.titles == ["difference to alone (points)"]


def test_calibration_is_drawn_with_dots_by_their_share():
    bins = {
        "a": [{"confidence": 0.3, "accuracy": 0.25, "count": 90}, {"confidence": 0.8, "accuracy": 0.9, "count": 10}]
    }
    chart = Drawn(charts.calibration_chart(bins, {"a": "red"}).svg)
    diagonal, line = chart.lines()
    assert diagonal == near([(0, 0), (100, 100)]) and line == near([(30, 25), (80, 90)])
    radii = [float(circle.get("r")) for circle in chart.svg.iter("circle")]
    assert [(radius - 2.5) ** 2 for radius in radii] == pytest.approx([0.9 * 7.5**2, 0.1 * 7.5**2], rel=0.05)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 100], "0 20 40 60 80 100"),
        ([0.1, 0.3], "0.1 0.15 0.2 0.25 0.3"),
        ([-3, 4], "-2 0 2 4"),
        ([200_000, 900_000], "200,000 400,000 600,000 800,000"),
        ([5, 5], "4.6 4.8 5 5.2 5.4"),
        ([0, 0], "-1 -0.5 0 0.5 1"),
        ([1e-5, 3e-5], "1e-05 1.5e-05 2e-05 2.5e-05 3e-05"),
    ],
)
def test_ticks_are_round_numbers(values, ticks):
    axis = drawing.linear_axis(values, "")
    assert " ".join(text for _, text in axis.ticks) == ticks
    assert axis.low < min(values) <= max(values) < axis.high


def test_a_logarithmic_axis_has_equal_room_for_equal_factors():
    axis = drawing.log_axis([0.01, 1], "")
    assert [text for _, text in axis.ticks] == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]
    assert axis.share(0.1) - axis.share(0.01) == pytest.approx(axis.share(1) - axis.share(0.1))
    assert drawing.log_axis([1, 9], "") is None and drawing.log_axis([0, 100], "") is None


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    report._template.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "jinja2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"'jinja2'.*didact\[report\]"):
        report.write_comparison_report(tmp_path / "r.html", comparison(seeds=(0, 1)))
