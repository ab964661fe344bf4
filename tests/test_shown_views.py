"""Examples in the views of a run, as a report shows them."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from didact.cli import main
from didact.evaluation import report
from didact.materials.examples import shown_views

HOSTILE = "<b>&"


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 6, 4), (4, 5, 5), (3, 200, 300)])
def test_an_image_is_the_same_in_its_file(shape):
    image = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = np.asarray(Image.open(io.BytesIO(shown_views.png(image))))
    step = 4 if max(shape) > 96 else 1
    expected = image[: 3 if shape[0] == 3 else 1, ::step, ::step].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_what_a_text_lost_and_got_is_marked():
    plain, seen = [list("the café".encode()), list("he crafé".encode())]
    found = shown_views._difference([b + 4 for b in plain], [b + 4 for b in seen], None)
    assert found == [["removed", "t"], ["same", "he c"], ["added", "r"], ["same", "afé"]]


def written(tmp_path, *words):
    out = tmp_path / "run"
    run = ["run", "mean_teacher", "--steps", "2", "--no-progress", "--out", str(out), *words]
    assert main(run) == 0
    return json.loads((out / "views.json").read_text()), (out / "report.html").read_text()


def test_the_report_of_a_table_marks_the_cells_that_changed(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"{i}.5,{HOSTILE if i % 2 else 'plain'},{'xy'[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["number,word,label", *lines]))
    views = ("--views", "first=corrupt,second=none")
    found, page = written(tmp_path, "--data", str(path), "--target", "label", "--student", "mlp:4", *views)
    assert found["columns"] == ["plain", "first: corrupt", "second: none"]
    changed = 0
    for row in found["rows"]:
        plain, corrupt, none = row["cells"]
        number = float(plain[0][1])
        assert plain[1][1] == (HOSTILE if int(number) % 2 else "plain")
        assert row["name"] == "xy"[int(number) % 2]
        assert none == plain
        assert [cell[2] for cell in plain] == [False, False]
        for was, cell in zip(plain, corrupt, strict=True):
            assert cell[2] == (cell[1] != was[1])
            changed += cell[2]
    assert page.count('class="changed"') == changed
    assert "<b>" not in page


def test_series_and_images_are_drawn_and_plain_runs_have_none(tmp_path):
    views = ("--views", "first=none,second=jitter", "--student", "mlp:4")
    found, page = written(tmp_path, "--data", "mnist1d", *views)
    assert found["modality"] == "series"
    for row in found["rows"]:
        plain, none, jitter = np.array(row["cells"])
        np.testing.assert_array_equal(plain, none)
        assert 0 < np.abs(jitter - plain).max() < 0.2
    assert page.count("<polyline") >= len(found["rows"]) * 3
    plain_run = tmp_path / "plain"
    words = ["--data", "mnist1d", "--student", "mlp:4", "--steps", "2", "--no-progress", "--out", str(plain_run)]
    assert main(["run", "supervised", *words]) == 0
    assert not (plain_run / "views.json").exists()
    assert report.read_run(plain_run)["views"] is None
    assert "Views of some" not in (plain_run / "report.html").read_text()
