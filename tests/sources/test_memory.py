"""What reading costs in memory: slopes over two sizes, not figures of one."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.peak import MIB, peak_of

from didact import sources
from didact.preprocessing import TableOptions
from didact.sources.objects import from_object

SIDE = 1200
ORIGINAL = SIDE * SIDE * 3 / MIB
"""MiB of one image before it is resized."""


@pytest.mark.slow
def test_one_original_image_at_a_time_is_in_memory(tmp_path):
    Image.fromarray(np.zeros((SIDE, SIDE, 3), dtype=np.uint8)).save(tmp_path / "original.png")
    for folder, count in (("few", 2), ("many", 10)):
        for number in range(count):
            path = tmp_path / folder / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.hardlink_to(tmp_path / "original.png")
    costs = [peak_of(lambda name=name: sources.load(tmp_path / name, image_size=16)) for name in ("few", "few", "many")]
    assert costs[2] - costs[1] < 2 * ORIGINAL


def write_rows(path, width, count=2_000):
    rows = [{"c": f"w{row % 7}" if row else "x" * width, "n": row, "y": "ab"[row % 2]} for row in range(count)]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "options"), [("csv", {}), ("jsonl", {"group_column": "c"})])
def test_one_long_cell_costs_a_few_times_itself(tmp_path, suffix, options):
    def work(width):
        path = write_rows(tmp_path / f"{width}.{suffix}", width)
        return lambda: sources.fit_preprocessing(sources.load(path, **options))

    small, large = peak_of(work(MIB // 2)), peak_of(work(2 * MIB))
    # As words of one width, 2,000 rows would take 4 bytes for each of its letters: 12,000 MiB more.
    assert large - small < 1.5 * 20


def test_words_from_python_have_no_width_of_their_own():
    words = ["x" * MIB, *("ab" * 500)]
    reading = {"target": None, "task": "classification", "columns": TableOptions()}
    pair = (np.arange(len(words), dtype=np.float32)[:, None], words)
    assert peak_of(lambda: from_object(pair, reading)) < 100  # in words of one width, 4,000
