"""What each kind of column becomes, against arithmetic in plain Python."""

import datetime
import json
import math

import numpy as np
import pandas as pd
import pytest

from didact.errors import ConfigError, DataError
from didact.preprocessing import Category, Date, Dropped, Number, TableOptions, find_kinds, fit_table, parse


def encode(train, new=None, **options):
    """The fitted columns, and a new table (or the training rows) as a list of rows."""
    fitted = fit_table(pd.DataFrame(train), TableOptions(**options))
    return fitted, fitted.encode(pd.DataFrame(train if new is None else new))


def kinds(frame, **options):
    return {name: kind for name, (kind, _) in find_kinds(pd.DataFrame(frame), TableOptions(**options)).kinds.items()}


def test_numbers_are_taken_as_they_are_and_gaps_are_filled_and_marked():
    fitted, found = encode(
        {"a": [1.0, 5.0, None, 2.5], "b": [1, 2, 3, 4]}, {"b": [7, 8], "a": [None, 9.0], "c": [0, 0]}
    )
    assert fitted.columns == (Number(name="a", fill=2.5, marked=True), Number(name="b", fill=2.5))
    assert found.tensors["x"].tolist() == [[2.5, 1, 7], [9, 0, 8]]
    assert (dict(found.missing), dict(found.unknown)) == ({"a": 1}, {})


@pytest.mark.parametrize(("impute", "value"), [("mean", 8 / 3), ("median", 2.0), ("most_frequent", 1.0)])
def test_what_fills_a_gap_is_learned_from_training_rows(impute, value):
    fitted, found = encode({"a": [1.0, 5.0, 2.0, None]}, {"a": [None, 1e6]}, impute=impute)
    assert found.tensors["x"][0].tolist() == [pytest.approx(value), 1]
    assert fitted.columns[0] == Number(name="a", fill=value, marked=True)


def test_most_frequent_is_the_smallest_of_several():
    assert encode({"a": [3.0, 2.0, 3.0, 2.0, 9.0]}, impute="most_frequent")[0].columns[0] == Number(name="a", fill=2.0)


def test_numbers_far_from_zero_keep_what_tells_them_apart():
    stamps = [1_700_000_000.0 + second for second in range(7)]
    x = encode({"t": stamps})[1].tensors["x"][:, 0].tolist()
    assert x == [-3, -2, -1, 0, 1, 2, 3]
    # As 32-bit numbers they would all be the same.
    assert len(set(np.float32(stamps).tolist())) == 1


def test_gaps_far_from_zero_are_filled_exactly():
    x = encode({"t": [1.7e9, 1.7e9 + 4, None, 1.7e9 + 8]})[1].tensors["x"].tolist()
    assert x == [[-4, 0], [0, 0], [0, 1], [4, 0]]


def test_numerals_may_have_thousands_separators_but_no_leading_zeros():
    frame = {"n": ["1,000.50", "2", "-3e2", "1,234,567"], "code": ["01186", "75001", "75001", "01186"]}
    fitted, found = encode(frame)
    assert kinds(frame) == {"n": "number", "code": "category"}
    assert found.tensors["x"].tolist() == [[1000.5, 1, 0], [2, 0, 1], [-300, 0, 1], [1234567, 1, 0]]
    assert fitted.columns[1] == Category(
        name="code", values=("01186", "75001"), places=(0, 1), width=2, unknown=-1, missing=0
    )


def test_words_that_can_only_mean_missing_do_so_among_numbers_and_dates_alone():
    frame = {
        "n": ["1", "NA", "3", "5"],
        "c": ["EU", "NA", "NA", "APAC"],
        "d": ["2020-01-01", "2020-01-03", "null", "2020-01-02"],
    }
    fitted, found = encode(frame)
    assert dict(found.missing) == {"n": 1, "d": 1}
    assert fitted.columns[1] == Category(
        name="c", values=("APAC", "EU", "NA"), places=(0, 1, 2), width=3, unknown=-1, missing=2
    )


def test_the_user_says_what_else_is_missing():
    frame = {"n": [1.0, -999.0, 3.0], "c": ["a", "unknown", "b"], "w": ["1", "5", "-999"]}
    fitted, found = encode(frame, missing=("unknown", "-999"))
    assert dict(found.missing) == {"n": 1, "c": 1, "w": 1}
    assert found.tensors["x"].tolist() == [[1, 0, 1, 0, 0, 1, 0], [2, 1, 0, 0, 1, 5, 0], [3, 0, 0, 1, 0, 3, 1]]
    assert parse(json.loads(json.dumps(fitted.describe()))).encode(pd.DataFrame(frame)).missing == found.missing


def test_a_category_that_was_never_seen_is_none_of_those_known_and_is_counted():
    fitted, found = encode({"c": ["b", "a", "b"]}, {"c": ["a", "new", None]})
    # Without gaps in training a missing one is the most frequent.
    assert found.tensors["x"].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert (dict(found.unknown), dict(found.missing)) == ({"c": 1}, {"c": 1})
    assert fitted.shape == (2,)


def test_rare_categories_share_a_column_with_those_never_seen():
    train = {"c": ["a"] * 6000 + ["b"] * 3999 + ["rare", None]}
    fitted, found = encode(train, {"c": ["a", "b", "rare", "new", None]})
    assert found.tensors["x"].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert fitted.columns[0].values == ("a", "b")


def test_of_many_categories_the_most_frequent_have_their_own_column_and_the_others_share():
    names = [f"city {number:03}" for number in range(250)]
    words = [name for number, name in enumerate(names) for _ in range(2 + (number % 5 == 0) * 3)]
    _, found = encode({"c": words}, {"c": names})
    x = found.tensors["x"]
    assert x.shape == (250, 100 + 32)
    assert x.sum(1).tolist() == [1.0] * 250
    frequent = [number for number in range(250) if number % 5 == 0]
    own = {int(x[number].argmax()) for number in frequent}
    assert len(own) == 50
    assert max(own) < 100
    assert x[:, :100].sum().item() == 100
    assert x[:, 100:].sum(0).max().item() < 20


def test_dates_become_years_and_angles():
    days = ["2020-02-29", "2021-12-31T18:30:00Z", "1969-07-20 20:17:40.5+02:00", "2020-02-29"]
    fitted, found = encode({"d": days})
    stamps = [datetime.datetime.fromisoformat(day[:19]) for day in days]
    epoch = datetime.datetime(1970, 1, 1)
    since = [(stamp - epoch).total_seconds() / 86400 for stamp in stamps]
    expected = [
        [
            (day - sum(since) / 4) / 365.25,
            *(f(2 * math.pi * (stamp.month - 1) / 12) for f in (math.sin, math.cos)),
            *(f(2 * math.pi * stamp.weekday() / 7) for f in (math.sin, math.cos)),
            *(f(2 * math.pi * (day % 1)) for f in (math.sin, math.cos)),
        ]
        for day, stamp in zip(since, stamps, strict=True)
    ]
    np.testing.assert_allclose(found.tensors["x"].numpy(), expected, atol=1e-6)
    assert fitted.columns == (Date(name="d", offset=fitted.columns[0].offset, clock=True),)
    assert fitted.columns[0].offset == pytest.approx(sum(since) / 4)


def test_dates_of_every_type_are_the_same():
    stamps = pd.Series(pd.to_datetime(["2020-02-29", "2021-12-31", None, "1999-01-01"]))
    columns = [
        stamps,
        stamps.dt.tz_localize("Asia/Tokyo"),
        stamps.dt.strftime("%Y-%m-%d"),
        stamps.dt.date.astype(object),
        stamps.astype("datetime64[s]"),
    ]
    first = encode({"d": columns[0]})[1]
    assert first.tensors["x"].shape == (4, 6)
    assert first.tensors["x"][2].tolist() == [0, 0, 0, 0, 0, 1]
    for column in columns[1:]:
        assert encode({"d": column})[1].tensors["x"].equal(first.tensors["x"]), column.dtype


def test_columns_that_say_nothing_are_left_out_with_a_reason():
    frame = {
        "customer_id": [4, 9, 2, 7],
        "name": ["ann", "bob", "cy", "dee"],
        "empty": [None] * 4,
        "same": [3, 3, 3, 3],
        "said": ["it is a nice day", "it is a grey day", "what a nice day", "no day at all"],
        "x": [1, 2, 3, 5],
    }
    fitted, found = encode(frame)
    reasons = {column.name: column.reason for column in fitted.columns if isinstance(column, Dropped)}
    assert list(reasons) == ["customer_id", "name", "empty", "same", "said"]
    assert [
        next(
            word
            for word in ("different number", "different word", "no value", "'3' in every", "prose")
            if word in reason
        )
        for reason in reasons.values()
    ] == ["different number", "different word", "no value", "'3' in every", "prose"]
    assert found.tensors["x"].tolist() == [[1], [2], [3], [5]]
    assert [column.value for column in fitted.columns if column.name == "same"] == ["3"]


def test_roles_can_be_forced():
    frame = {
        "customer_id": [4, 9, 2, 7],
        "zip": [10, 20, 10, 20],
        "when": ["2020-01-01", "2021-01-01"] * 2,
        "x": [1, 2, 3, 4],
    }
    assert kinds(frame) == {"customer_id": "dropped", "zip": "number", "when": "date", "x": "number"}
    forced = {"numeric": ("customer_id",), "categorical": ("zip", "when"), "drop": ("x",)}
    assert kinds(frame, **forced) == {"customer_id": "number", "zip": "category", "when": "category", "x": "dropped"}
    fitted, _ = encode(frame, **forced)
    assert fitted.columns[1] == Category(name="zip", values=("10", "20"), places=(0, 1), width=2, unknown=-1, missing=0)


def test_booleans_and_native_categories():
    frame = pd.DataFrame({"b": [True, False, True], "c": pd.Series([3, 1, 3]).astype("category")})
    assert kinds(frame) == {"b": "number", "c": "category"}
    assert encode(frame)[1].tensors["x"].tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_whatever_is_wrong_is_told_at_once():
    frame = pd.DataFrame(
        {
            "n": ["1", "2", "oops"],
            "d": ["2020-01-01", "2020-02-30", "2020-03-01"],
            "l": [[1], [2], [3]],
            "big": [1.0, 1e39, np.inf],
            "x": [1, 2, 3],
        }
    )
    with pytest.raises(DataError) as error:
        fit_table(frame, name="t.csv")
    told = str(error.value).splitlines()
    assert told[0] == "t.csv cannot be learned from yet, for 4 reasons:"
    for line, words in zip(
        told[1:],
        [
            "1 of its 3 cells hold something else (row 3: 'oops')",
            "row 2: '2020-02-30'",
            "lists or objects",
            "in 2 cells (row 2: '1e+39', row 3: 'inf')",
        ],
        strict=True,
    ):
        assert words in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ("a",), "date": ("a",)}, "'a' is named by drop and date"),
        ({"impute": "zero"}, "impute is 'zero'"),
    ],
)
def test_options_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TableOptions(**options)


def test_unknown_columns_and_tables_without_any_are_refused():
    with pytest.raises(DataError, match=r"no column 'ag', to which a role is given. Did you mean age\?"):
        encode({"age": [1, 2], "x": [1, 2]}, categorical=("ag",))
    with pytest.raises(DataError, match=r"no column to learn from .*'x': it is '1' in every training row"):
        encode({"x": [1, 1]})


def test_new_rows_that_do_not_fit_are_refused_in_a_sentence():
    fitted, _ = encode({"a": [1.0, 2.0], "c": ["x", "y"]})
    with pytest.raises(DataError, match=r"no column 'c', which the student was taught with. .*cc"):
        fitted.encode(pd.DataFrame({"a": [1.0], "cc": ["x"]}))
    with pytest.raises(DataError, match=r"'a' holds numbers, but 1 of its 2 cells .*row 2: 'oops'"):
        fitted.encode(pd.DataFrame({"a": ["1", "oops"], "c": ["x", "x"]}))


def test_rows_can_be_told_from_their_numbers():
    frame = {
        "n": [1.7e9, 1.7e9 + 2, None, 1.7e9 + 6],
        "c": ["a", None, "b", "a"],
        "d": ["2020-01-01", "2020-06-01", None, "2021-01-01"],
        "same": ["s"] * 4,
    }
    fitted, found = encode(frame)
    rows = fitted.decode(found.tensors["x"].numpy())
    np.testing.assert_array_equal(rows["n"], [1.7e9, 1.7e9 + 2, np.nan, 1.7e9 + 6])
    assert rows["c"].tolist() == frame["c"]
    assert [str(date)[:10] for date in rows["d"]] == ["2020-01-01", "2020-06-01", "NaT", "2021-01-01"]
    assert rows["same"].tolist() == frame["same"]


def test_what_is_read_back_is_what_was_written():
    frame = {"n": [1.5, None, 2], "c": ["a", "b", None], "d": ["2020-01-01T05:00", "2020-06-01", None], "same": [1] * 3}
    fitted, found = encode(frame, missing=("?",))
    again = parse(json.loads(json.dumps(fitted.describe())))
    assert again == fitted
    assert again.encode(pd.DataFrame(frame)).tensors["x"].equal(found.tensors["x"])


def altered(change):
    """A description of preprocessing, after `change` was made to it."""
    document = encode({"n": [1.5, None, 2], "c": ["a", "b", None]})[0].describe()
    change(document, *document["columns"])
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda whole, n, c: whole.update(kind="pickle"),
        lambda whole, n, c: whole.pop("missing"),
        lambda whole, n, c: whole.update(columns={}),
        lambda whole, n, c: whole.update(columns=[]),
        lambda whole, n, c: whole.update(columns=[n, n]),
        lambda whole, n, c: n.update(kind="code"),
        lambda whole, n, c: n.update(more=1),
        lambda whole, n, c: n.update(fill="1"),
        lambda whole, n, c: n.update(fill=float("nan")),
        lambda whole, n, c: n.update(fill=10**400),
        lambda whole, n, c: n.update(marked=1),
        lambda whole, n, c: n.update(name="n" * 100_000),
        lambda whole, n, c: whole.update(missing="?"),
        lambda whole, n, c: c.update(values="ab"),
        lambda whole, n, c: c.update(values=["b", "a"]),
        lambda whole, n, c: c.update(places=[0, 3]),
        lambda whole, n, c: c.update(places=[0]),
        lambda whole, n, c: c.update(unknown=-2),
        lambda whole, n, c: c.update(width=10**9),
        lambda whole, n, c: c.update(missing=True),
    ],
)
def test_a_description_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError):
        parse(json.loads(json.dumps(altered(change))))
