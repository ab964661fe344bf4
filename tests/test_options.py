"""Fields of dataclasses read from their source, and words turned into values."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.options import convert, read_options


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        ("3", int, 3),
        ("1e3", int, 1000),
        (500.0, int, 500),
        ("0.5", float, 0.5),
        (4, float, 4.0),
        ("yes", bool, True),
        ("False", bool, False),
        (True, bool, True),
        ("label", str, "label"),
        (3, str, "3"),
        ("kl", Literal["kl", "mse"], "kl"),
        ("2", Literal[1, 2], 2),
        ("none", int | None, None),
        (None, float | None, None),
        ("7", int | None, 7),
        ("a, b", tuple[str, ...], ("a", "b")),
        ("", tuple[str, ...], ()),
        ([1, 2], tuple[float, float], (1.0, 2.0)),
        ("1,2", list[int], [1, 2]),
        ({"a": 1}, Mapping[str, Any], {"a": 1}),
        ("0.9", float | Literal["auto"], 0.9),
        ("auto", float | Literal["auto"], "auto"),
    ],
)
def test_what_fits_an_annotation(value, annotation, wanted):
    found = convert("alpha", value, annotation)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "annotation", "remedy"),
    [
        ("2.5", int, "a whole number"),
        (True, int, "a whole number"),
        ("many", float, "a number"),
        (True, float, "a number"),
        ("inf", int, "a whole number"),
        ("perhaps", bool, "true or false"),
        (["a"], str, "a word"),
        ("k1", Literal["kl", "mse"], "Did you mean kl?"),
        ("1,2,3", tuple[int, int], "2 values"),
        (5, tuple[int, ...], "separated by commas"),
        ("x", Mapping[str, Any], "a table"),
        ("x", int | None, "a whole number"),
        ("x", float | Literal["auto"], "a number or"),
        ("x", object, "cannot be given in words"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(value, annotation, remedy):
    with pytest.raises(ConfigError) as caught:
        convert("alpha", value, annotation)
    assert str(caught.value).startswith(f"alpha is {value!r}")
    assert remedy in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_a_value_survives_being_written_out_and_read(value):
    assert convert("x", str(value), type(value)) == value


def test_options_are_read_from_the_source(tmp_path):
    path = tmp_path / "thing.py"
    path.write_text(
        "import missing_package\n"
        "class Config:\n"
        "    known: ClassVar[int] = 1\n"
        "    alpha: float  # how much\n"
        "    words: tuple[str, ...] = (\n"
        "        'a',\n"
        "        'b',\n"
        "    )  # several\n"
        "    plain: int = 3\n"
        "    name: str = '# no comment'  # a comment\n"
    )
    found = [(o.name, o.type, o.default, o.help) for o in read_options(path)]
    assert found == [
        ("alpha", "float", None, "how much"),
        ("words", "tuple[str, ...]", "('a', 'b')", "several"),
        ("plain", "int", "3", ""),
        ("name", "str", "'# no comment'", "a comment"),
    ]
    assert read_options(path, "Other") == ()
