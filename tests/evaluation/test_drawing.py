"""Charts hold what they say."""

import re

import pytest

from didact.evaluation.drawing import Plot, linear_axis


@pytest.mark.parametrize(
    ("title", "squeezed"), [("accuracy (%)", False), ("likeliest tokens shared with the teacher (%)", True)]
)
def test_a_long_title_of_the_vertical_axis_is_squeezed_into_its_height(title, squeezed):
    drawn = Plot(linear_axis([0, 1], "steps"), linear_axis([0, 1], title), height=270).svg("a chart")
    (attributes,) = re.findall(rf"<text([^>]*)>{re.escape(title)}</text>", drawn)
    length = re.search(r'textLength="([\d.]+)"', attributes)
    assert (length is not None) == squeezed
    if length:
        middle = float(re.search(r' y="([\d.]+)"', attributes)[1])
        assert middle - float(length[1]) / 2 >= 0 and middle + float(length[1]) / 2 <= 270
