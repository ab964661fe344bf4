"""Verifiers say what an answer is worth, and never crash over one."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch

from didact.errors import ConfigError, DataError, MissingExtraError, TeacherError
from didact.parts.verifier import verifier_of
from didact.teachers.verifiers import (
    FunctionVerifier,
    GatedVerifier,
    LengthPenalty,
    NumericVerifier,
    PythonVerifier,
    ReasoningVerifier,
    WeightedVerifier,
    answers,
    strength,
    try_verifier,
)
from didact.teachers.verifiers.python_tests import code_in
from didact.types import Batch, Question

quiet = pytest.mark.filterwarnings("ignore:The verifier:RuntimeWarning")


def question(answer=None, number=0, **data):
    return Question(id=number, prompt=f"question {number}", answer=answer, data=data)


def worth(verifier, text, asked=None, lengths=None):
    """The value of one answer, None where the verifier abstains."""
    reward = verifier.verify([text], [asked or question()], lengths)
    assert reward.value.dtype == reward.trust.dtype == torch.float32
    assert reward.value.shape == reward.trust.shape == (1,)
    return reward.value.item() if reward.trust.item() else None


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        ("exact", " 42\n", 1),
        ("exact", "42.", 0),
        ("exact", "", 0),
        ("exact:after:####", "6 * 7 = 41 #### 42", 1),
        ("exact:after:Answer:", "Answer: 41 Answer: 42 ", 1),
        ("exact:after:/Answer:/", "Answer: 42 Answer: 41", 0),
        ("exact:after:####", "42", 0),
        ("exact:boxed", r"\boxed{41} so \boxed{42}", 1),
        ("exact:boxed", "42", 0),
    ],
)
def test_exact_answers(spec, text, value):
    assert worth(verifier_of(spec), text, question("42")) == value


def test_boxed_answers_balance_their_braces():
    assert answers.last_boxed(r"\boxed{1} and \boxed{\frac{1}{2}} and more}") == r"\frac{1}{2}"
    assert answers.last_boxed(r"\boxed{1") is None and answers.last_boxed("1") is None


@pytest.fixture(scope="module")
def numeric():
    pytest.importorskip("math_verify")
    return NumericVerifier()


@pytest.mark.parametrize(
    ("answer", "text", "value"),
    [
        ("42", "It is 42.", 1),
        ("42", "It is 42, not 43", 1),
        ("43", "It is 42, not 43", 0),
        ("42", "-42", 0),
        ("-3", "x = -3", 1),
        ("-3", "\N{MINUS SIGN}3", 1),
        ("1234", "1,234", 1),
        ("1,234.50", "$1234.5$", 1),
        ("7", "3+4 = 7", 1),
        ("12", "1\n2", 0),
        ("12", "so 5 #### 12", 1),
        ("12", "The answer is 12. I like 13.", 1),
        ("13", "The answer is 12. I like 13.", 0),
        ("12", r"\boxed{12} or 13", 1),
        ("0.5", "1/2", 1),
        ("0.5", "1/3", 0),
        ("1/2", r"\boxed{\frac{2}{4}}", 1),
        (r"\frac{1}{3}", "1/3", 1),
        (r"\sqrt{8}", r"$2\sqrt{2}$", 1),
        ("8", "2^3", 1),
        ("x+1", "1+x", 1),
        ("x+1", "x+2", 0),
        ("x+1", r"Therefore the result is $1 + x$.", 1),
        ("0.5", "50%", 1),
        ("1/2", "I think it is 1/2.", 1),
        ("(1, 2]", r"$(1,2]$", 1),
        ("42", "", 0),
        ("42", "forty-two", 0),
        ("1/2", "", 0),
        ("42", "**42**", 1),
        ("42", r"\[42\]", 1),
        ("42", r"So \(x = 42\).", 1),
        ("42", "<answer>42</answer>", 1),
        ("42", "<think>It may be 41.</think> <answer>\n42\n</answer> of 50", 1),
        ("41", "<answer>41</answer> no, <answer>42</answer>", 0),
        ("42", "- 42", 1),
        ("42", "Two numbers:\n- 41\n- **42**\n", 1),
        ("-42", "x = - 42", 1),
        ("42", "42 is not the answer", 0),
        ("42", "42 isn't right", 0),
        ("42", r"$\boxed{42}$ is not the answer", 0),
        ("42", "The answer is not 42", 0),
        ("42", "The answer isn't 42.", 0),
        ("41", "The answer is 41. The answer is not 42.", 1),
        ("41", "42 is wrong, so it is 41", 1),
        ("7", "5 is not prime, so it is 7", 1),
        ("42", "42 is the answer, as 6 * 7 gives it in 2 ways", 1),
        ("42", "**Answer:** 42", 1),
        ("42", "**Final answer**: $42$ apples. There were 50.", 1),
        ("42", "### Answer\n\n42", 1),
        ("42", "The answer is:\n\n**42**\n\nI hope that these 3 lines help.", 1),
        ("42", "the answer is 6 * 7 = 42", 1),
        ("42", "Step **1** of *2*: the sum is 42 dollars", 1),
        ("42", "`42`", 1),
        ("24", "2 * 3 * 4", 1),
        ("1/2", r"\[\frac{1}{2}\]", 1),
        ("1/2", r"**$\frac{1}{2}$**", 1),
        ("1/2", r"$\frac{1}{2}$ is not the answer", 0),
        ("x+1", "**x + 1**", 1),
        ("3", "answer" * 5, 0),
    ],
)
def test_numbers_and_expressions(numeric, answer, text, value):
    assert worth(numeric, text, question(answer)) == value


@pytest.mark.parametrize(
    "piece",
    [
        "answer is ",
        "<answer>",
        "\\boxed{",
        "a",
        " ",
        "**a",
        "- ",
        "not ",
        " is not",
        "1,",
        "1 is not right ",
        "9",
        ".",
        "\n",
        "`",
    ],
)
def test_a_long_text_is_read_in_little_time(piece):
    start = time.monotonic()
    answers.last_number(answers.final_answer(piece * (200_000 // len(piece)))[0])
    assert time.monotonic() - start < 5  # each of them takes a tenth of a second or less; a quadratic one, minutes


def test_numbers_from_any_thread(numeric):
    found = []
    thread = threading.Thread(target=lambda: found.append(worth(numeric, r"\boxed{\frac{2}{4}}", question("1/2"))))
    thread.start()
    thread.join()
    assert found == [1.0]


@quiet
def test_a_number_that_takes_for_ever_is_an_abstention():
    pytest.importorskip("math_verify")
    verifier = NumericVerifier(seconds=1.0)
    worth(verifier, "1/2", question("1/2"))  # starts the process
    start = time.monotonic()
    assert worth(verifier, r"\boxed{(10^{10})! - 1/2}", question("1/2")) is None
    assert time.monotonic() - start < 10
    assert sum(verifier.abstentions.values()) == 1
    assert worth(verifier, "2/4", question("1/2")) == 1  # a new process has taken its place


@quiet
def test_patterns_and_what_they_cost():
    verifier = verifier_of("regex:(a+)+$")
    verifier._scorer.seconds = 0.5
    reward = verifier.verify(["xaa", "a" * 40 + "b", "b", "aa"], [question()] * 4)
    assert reward.value.tolist() == [1, 0, 0, 1] and reward.trust.tolist() == [1, 0, 1, 1]
    assert verifier.abstentions == Counter({"took too long": 1})
    with pytest.raises(ConfigError, match=r"\(a.*no regular expression"):
        verifier_of("regex:(a")


def test_json_that_fits_a_schema():
    pytest.importorskip("jsonschema")
    verifier = verifier_of("json_schema")
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}}
    texts = ['{"a": 1}', '{"a": 0}', '{"b": 1}', "{", "", 'Here:\n```json\n{"a": 3}\n```\n', "[" * 100000]
    reward = verifier.verify(texts, [question(schema=schema)] * len(texts))
    assert reward.value.tolist() == [1, 0, 0, 0, 0, 1, 0] and reward.trust.tolist() == [1] * 7
    with pytest.raises(DataError, match="question 5 is no JSON schema"):
        verifier.check([question(number=5, schema={"type": "nothing"})])
    with pytest.raises(DataError, match=r"Question 5 .*no 'schema' in its data.* it has tests"):
        verifier.check([question(number=5, tests="")])


@pytest.mark.slow
def test_reasoning_tasks_score_themselves(tmp_path):
    pytest.importorskip("reasoning_gym")
    verifier = ReasoningVerifier()
    metadata = {"source_dataset": "countdown", "numbers": [6, 61, 94, 4], "target": 309}
    asked = question("94*4 - 61 - 6", metadata=metadata)
    code = f"__import__('os').system('touch {tmp_path}/made')"
    reward = verifier.verify(["94*4 - 61 - 6", "94*4 - 6 - 61", "94", code], [asked] * 4)
    assert reward.value[:2].tolist() == [1, 1] and (reward.value[2:] < 0.1).all()
    if strength().strong:
        assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="source_dataset"):
        verifier.check([question("1", metadata={})])


@pytest.mark.skipif(not strength().strong, reason="the sandbox is weak here")
@quiet
def test_generated_python():
    verifier = verifier_of("python")
    asked = question(tests=["assert f(1) == 2", "assert f(2) == 3"])
    good, half = "def f(x):\n    return x + 1", "def f(x):\n    return 2"
    broken = question(tests="assert (")
    texts = [good, f"So:\n```python\n{good}\n```\nand\n```\n1 + 1 = 2\n```", f"A:\n```py\n{good}\n```", half, "", good]
    reward = verifier.verify(texts, [asked] * 5 + [broken])
    assert reward.value.tolist() == [1, 0, 1, 0, 0, 0] and reward.trust.tolist() == [1, 1, 1, 1, 1, 0]
    assert verifier.abstentions == Counter({"could not run the tests": 1}) and verifier.cost.teacher_calls == 6
    assert worth(verifier_of("python:share"), half, asked) == 0.5
    assert try_verifier(PythonVerifier(), [question(good, tests="assert f(1) == 2")]) == []


def test_code_is_found_in_a_text():
    assert code_in("a = 1") == "a = 1"
    assert code_in("```python\na\n```\ntext\n```Python\nb\n```\n```text\nc\n```") == "b\n"
    for tests in ("", [], None, [1], [{"input": "1"}]):
        with pytest.raises(DataError, match="tests of question 3"):
            PythonVerifier().check([question(number=3, tests=tests)])


def reward_of(text, asked):
    """A user's own reward, with all the ways in which those go wrong."""
    if text == "hangs":
        while True:
            try:
                time.sleep(0.001)
            except Exception:
                continue
    odd = {"nan": float("nan"), "infinite": float("inf"), "huge": 1e300, "none": None, "word": "good", "exit": None}
    if text == "exit":
        raise SystemExit(0)
    return odd[text] if text in odd else 1 / len(text)


def test_a_function_is_a_verifier_and_its_failures_are_counted():
    verifier = FunctionVerifier(reward_of, seconds=0.2)
    texts = ["ab", "", "nan", "infinite", "huge", "none", "word", "hangs", "exit", "abcd"]
    with pytest.warns(RuntimeWarning) as warned:
        reward = verifier.verify(texts, [question()] * len(texts))
    np.testing.assert_array_equal(reward.value, [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.25])
    np.testing.assert_array_equal(reward.trust, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    counts = {
        "raised ZeroDivisionError": 1,
        "returned NaN": 1,
        "returned infinity": 2,
        "returned NoneType, which is no number": 1,
        "returned str, which is no number": 1,
        "took too long": 1,
        "raised SystemExit": 1,
    }
    assert verifier.abstentions == Counter(counts)
    assert len(warned) == len(counts)  # each reason once
    verifier.verify([""], [question()])  # not a second time: warnings are errors here
    assert verifier.abstentions["raised ZeroDivisionError"] == 2
    assert verifier.cost.teacher_calls == 11


def test_a_warning_that_is_an_error_does_not_stop_training():
    assert worth(FunctionVerifier(reward_of), "nan") is None  # warnings are errors here


def test_what_hangs_leaves_no_thread():
    before = threading.active_count()
    verifier = FunctionVerifier(reward_of, seconds=0.05)
    assert worth(verifier, "hangs") is None and worth(verifier, "ab") == 0.5
    del verifier
    for _ in range(200):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_sums_and_gates():
    half = FunctionVerifier(lambda text, asked: len(text) / 2)
    exact = verifier_of("exact")
    asked = [question("ab"), question("abc"), question("")]
    both = WeightedVerifier([(1.0, exact), (-0.5, half)])
    np.testing.assert_allclose(both.verify(["ab", "ab", ""], asked).value, [1 - 0.5, -0.5, 1.0])
    gated = GatedVerifier(exact, half)
    np.testing.assert_allclose(gated.verify(["ab", "ab", ""], asked).value, [1, 0, 0])
    assert both.cost.teacher_calls == 3 and exact.cost.teacher_calls == 6


@quiet
def test_a_whole_is_trusted_where_all_its_parts_are():
    odd = FunctionVerifier(reward_of)
    for whole in (
        WeightedVerifier([(1.0, verifier_of("exact")), (0.1, odd)]),
        GatedVerifier(verifier_of("exact"), odd),
    ):
        reward = whole.verify(["nan", "ab"], [question("nan"), question("ab")])
        assert reward.trust.tolist() == [0, 1] and reward.value[0] == 0
    assert sum(whole.abstentions.values()) == 2 and all("returned NaN" in reason for reason in whole.abstentions)
    huge = WeightedVerifier([(1e30, FunctionVerifier(lambda text, asked: 1e30))])
    assert worth(huge, "") is None and huge.abstentions == Counter({"returned infinity": 1})


@pytest.mark.parametrize(("longest", "cache"), [(20480, 4096), (10, 10), (10, 1), (100, 33)])
def test_the_soft_overlong_punishment(longest, cache):
    def slowly(length):  # DAPO, equation 13
        if length <= longest - cache:
            return 0.0
        if length <= longest:
            return ((longest - cache) - length) / cache
        return -1.0

    lengths = sorted({0, 1, longest - cache, longest - cache + 1, longest - cache // 2, longest, longest + 1, 10**6})
    reward = LengthPenalty(longest, cache=cache).verify([""] * len(lengths), [question()] * len(lengths), lengths)
    np.testing.assert_allclose(reward.value, [slowly(length) for length in lengths], rtol=1e-6)
    assert LengthPenalty(20480).cache == 4096


def test_lengths_in_characters_and_in_tokens():
    assert worth(verifier_of("characters:4:2"), "abc") == -0.5
    assert worth(verifier_of("length:4:2"), "a" * 99, lengths=[3]) == -0.5
    with pytest.raises(TeacherError, match="pass lengths, or use characters:4"):
        worth(verifier_of("length:4:2"), "abc")
    with pytest.raises(ConfigError, match="cache"):
        verifier_of("length:4:5")


SPECS = {
    "numeric+0.1*regex:a+b": "numeric+0.1*regex:/a+b/",
    "gate(exact:after:/####/, 2*numeric + length:100)": "gate(exact:after:/####/,2.0*numeric+length:100:20)",
    "0.5*(exact+numeric)+exact:boxed": "0.5*(exact+numeric)+exact:boxed",
    r"regex:/a\/b\d\\/+-1*python:share": r"regex:/a\/b\d\\/+-1.0*python:share",
    "python:weak:share": "python:share:weak",
    "characters:500": "characters:500:100",
    "exact:after:Final answer:": "exact:after:/Final answer:/",
    "json_schema+reasoning_gym": "json_schema+reasoning_gym",
    "math:sqrt": "math:sqrt",
    "gate(gate(exact,exact),os.path:join)": "gate(gate(exact,exact),os.path:join)",
}


@pytest.mark.parametrize("spec", SPECS)
def test_specs_go_round(spec):
    for package in ("math_verify", "jsonschema", "reasoning_gym"):
        pytest.importorskip(package)
    assert str(verifier_of(spec)) == SPECS[spec]
    assert str(verifier_of(SPECS[spec])) == SPECS[spec]


def test_quoted_patterns_mean_what_they_say():
    for pattern in ("a/b", r"a\/b", r"\d+\\", "(a|b),c*"):
        again = verifier_of(f"2*exact+{verifier_of('regex:' + pattern)}").parts[1].pattern
        assert again.replace("\\/", "/") == pattern.replace("\\/", "/")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "a verifier was expected here"),
        ("numerc+exact", "Did you mean numeric"),
        ("gate(numeric", "',' was expected"),
        ("gate(exact,exact", "'\\)' was expected"),
        ("gate(regex:a,exact)", "In parentheses, the slashes are needed"),
        ("regex", "regex is written regex:/PATTERN/, such as"),
        ("length", "length is written length:MAX or length:MAX:CACHE, such as"),
        ("length:-1", "length is written length:MAX or"),
        ("exact:boxd", "no option 'boxd'. Did you mean boxed"),
        ("python:shar", "Did you mean share"),
        ("exact exact", "more follows"),
        ("exact-exact", "no verifier 'exact-exact'. Did you mean exact"),
        ("numeric:3", "numeric takes no argument"),
        ("os.path:joi.x", "'os.path' has no 'joi.x'. Did you mean join"),
        ("math:sqr", "Did you mean sqrt"),
        ("no_such_module:f", "'no_such_module' cannot be imported"),
        ("math:pi", "must be a function"),
        ("+exact", "a verifier was expected"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said(spec, words):
    with pytest.raises(ConfigError, match=words):
        verifier_of(spec)


def test_questions_without_answers_are_refused_before_anything_is_judged():
    called = []
    verifier = GatedVerifier(FunctionVerifier(lambda text, asked: called.append(text) or 1.0), verifier_of("exact"))
    with pytest.raises(DataError, match=r"Question 7 .'question 7'. has no answer, which the verifier exact"):
        verifier.check([question("1"), question(number=7)])
    with pytest.raises(DataError, match="2 texts for 1 questions"):
        verifier_of("exact").verify(["a", "b"], [question("a")])
    assert called == []


def test_tensors_are_refused_with_what_to_use():
    with pytest.raises(TeacherError, match=r"verify\(texts, questions\)"):
        verifier_of("exact").signal(Batch({"id": torch.arange(2)}))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(answers.importlib.util, "find_spec", lambda name: None)
    for spec in ("numeric", "json_schema", "reasoning_gym"):
        with pytest.raises(MissingExtraError, match=r"didact\[verify\]"):
            verifier_of(spec)


def test_nothing_is_judged_of_nothing():
    reward = verifier_of("exact+characters:5").verify([], [])
    assert reward.value.shape == reward.trust.shape == (0,)


@quiet
def test_a_verifier_is_tried_on_known_answers():
    asked = [question(str(n), n) for n in range(4)]
    assert try_verifier(verifier_of("exact"), asked) == []

    def says(function, given=asked):
        return " ".join(map(str, try_verifier(FunctionVerifier(function, name="mine"), given)))

    assert "accepts everything" in says(lambda text, q: 1.0)
    assert "accepts nothing" in says(lambda text, q: 0.0)
    assert "accepts nothing" in says(lambda text, q: -float(text == q.answer))
    assert "finds 4 of 4 empty completions as good" in says(lambda text, q: text in ("", q.answer))
    assert "finds 4 of 4 other questions' completions as good" in says(lambda text, q: text.isdigit())
    assert "refuses 1 of 4" in says(lambda text, q: text == q.answer and text != "3")
    assert "could not score 16 of 16" in says(lambda text, q: float("nan"))
    assert "bad completions alone" in says(lambda text, q: 0.0, [question()])
    shown = [Question(id=1, prompt="", answer="4", completion="2 + 2 #### 4")]
    assert try_verifier(verifier_of("exact:after:####"), shown) == []
