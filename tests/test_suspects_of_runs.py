"""The file of suspicious labels that a run leaves."""

import csv
import sys
import types

import numpy as np
import pytest

import didact

SETTINGS = {"steps": 40, "student": "mlp:16", "lr": 0.02, "progress": False, "batch_size": 32}
SIZE = 300


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three classes by two columns, with wrong labels in known rows; the path, the labels and the wrong rows."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    true = random.integers(3, size=SIZE)
    x = np.eye(3)[true][:, :2] * 4 + random.normal(size=(SIZE, 2)) * 0.4
    wrong = np.sort(random.choice(SIZE, 30, replace=False))
    given = true.copy()
    given[wrong] = (given[wrong] + random.integers(1, 3, size=30)) % 3
    path = tmp_path_factory.mktemp("data") / "noisy.csv"
    words = np.array(["ant", "bee", "cat"])
    pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": words[given]}).to_csv(path, index=False)
    return path, words[true], words[given], set(wrong.tolist())


def suspects(run):
    with (run / "suspects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_elr_lists_the_wrong_labels_first_with_their_rows_in_the_file(table, tmp_path):
    path, true, given, wrong = table
    result = didact.run("elr", data=str(path), target="label", directory=tmp_path / "run", **SETTINGS)
    found = suspects(tmp_path / "run")
    assert [int(line["rank"]) for line in found] == list(range(1, len(found) + 1))
    rows = [int(line["row"]) for line in found]
    assert 0.65 * SIZE < len(set(rows)) == len(rows) < 0.75 * SIZE
    assert all(line["given"] == given[row] for line, row in zip(found, rows, strict=True))
    there = wrong & set(rows)
    assert set(rows[: len(there)]) == there
    assert all(line["suggested"] == true[int(line["row"])] for line in found[: len(there)])
    confidence = [float(line["self_confidence"]) for line in found]
    assert confidence == sorted(confidence)
    marked = [line["suspect"] == "yes" for line in found]
    assert sum(marked[: len(there)]) > 0.8 * len(there)
    note = f"{sum(marked)} of {len(rows)} training labels are suspects, by confident learning on the running average"
    assert sum(one.startswith(note) for one in result.notes) == 1
    assert "cleanlab_rank" not in found[0] or "cleanlab" in sys.modules


def test_the_label_before_it_was_redrawn_is_told(tmp_path):
    didact.run("elr", data="wine", redraw_labels=0.5, directory=tmp_path / "run", **SETTINGS)
    found = suspects(tmp_path / "run")
    truth = didact.worlds.load("wine")
    names = [truth.classes[label] for label in truth.tensors["label"].tolist()]
    assert all(line["in_data"] == names[int(line["row"])] for line in found)
    assert 0.1 < np.mean([line["in_data"] != line["given"] for line in found]) < 0.6


def test_cleanlabs_ranks_stand_beside_ours_where_it_is_installed(tmp_path, monkeypatch):
    """Its function is called on the same labels and probabilities; here another one stands for it."""
    asked = []

    def find_label_issues(labels, probs, **settings):
        asked.append((labels, probs, settings))
        return np.argsort(probs[np.arange(len(labels)), labels])[:5]

    package = types.ModuleType("cleanlab")
    package.__spec__ = types.SimpleNamespace(name="cleanlab")
    module = types.ModuleType("cleanlab.filter")
    module.find_label_issues = find_label_issues
    monkeypatch.setitem(sys.modules, "cleanlab", package)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", module)
    didact.run("elr", data="wine", directory=tmp_path / "run", **SETTINGS)
    ((labels, probs, settings),) = asked
    assert settings == {"return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    assert probs.shape == (len(labels), 3)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    assert [line["cleanlab_rank"] for line in suspects(tmp_path / "run")][:6] == ["1", "2", "3", "4", "5", ""]


def test_other_methods_list_none(tmp_path):
    didact.run("supervised", data="wine", directory=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run" / "suspects.csv").exists()
