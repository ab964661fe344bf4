"""The tests of generated Python are found in whatever way they are written, and what tests nothing is not counted."""

# ruff: noqa: E501 - programs are written as they are

from collections import Counter

import pytest

from didact.teachers.verifiers import PythonVerifier, Sandbox, strength, try_verifier
from didact.types import Question

pytestmark = pytest.mark.skipif(not strength().strong, reason=f"{strength()}")
quiet = pytest.mark.filterwarnings("ignore:The verifier:RuntimeWarning")
GOOD, BAD, HALF = "def f(x):\n    return x + 1", "def f(x):\n    return x + 2", "def f(x):\n    return 2"
# Long enough for pytest on a machine that is busy.
PATIENT = Sandbox(seconds=30)
VERIFIER, SHARE = PythonVerifier(sandbox=PATIENT), PythonVerifier(share=True, sandbox=PATIENT)


def worth(verifier, text, prompt="", **data):
    """The value of one answer, None where the verifier abstains."""
    reward = verifier.verify([text], [Question(id=0, prompt=prompt, data=data)])
    return reward.value.item() if reward.trust.item() else None


CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3"
LAYOUTS = {
    "assertions": {"tests": "assert f(1) == 2\nassert f(2) == 3"},
    "several": {"tests": ["assert f(1) == 2", "assert f(2) == 3"]},
    "check": {"tests": CHECK, "entry_point": "f"},
    "check that is called": {"tests": CHECK + "\ncheck(f)"},
    "check of a candidate": {"tests": CHECK + "\ncheck(candidate)", "entry_point": "f"},
    "functions": {"tests": "def test_one():\n    assert f(1) == 2\ndef test_two():\n    assert f(2) == 3"},
    "an import": {"tests": "from solution import f\ndef test_it():\n    assert f(1) == 2 and f(2) == 3"},
    "a module": {"tests": "import solution\nassert solution.f(1) == 2 and solution.f(2) == 3"},
    "a plain class": {"tests": "class TestF:\n    def setup_method(self): self.x = 2\n    def test_it(self):\n"
                      "        assert f(self.x) == 3"},
    "unittest": {"tests": "import unittest\nclass F(unittest.TestCase):\n    def setUp(self): self.x = 2\n"
                 "    def test_it(self): self.assertEqual(f(self.x), 3)"},
    "unittest with its own runner": {"tests": "import unittest\nclass F(unittest.TestCase):\n    def test_it(self):\n"
        "        for x in (1, 2):\n            with self.subTest(x=x): self.assertEqual(f(x), x + 1)\n"
        "if __name__ == '__main__':\n    unittest.main()"},
    "a block of __main__": {"tests": "def main():\n    assert f(2) == 3\nif __name__ == '__main__':\n    main()"},
    "a block that exits": {"tests": "import sys\nif __name__ == '__main__':\n    assert f(2) == 3\n    sys.exit(0)"},
    "examples": {"tests": "Some words.\n>>> f(1)\n2\n>>> [f(x) for x in (2, 3)]\n[3, 4]\n"},
    "examples in a docstring": {"tests": "def notes():\n    '''\n    >>> f(2)\n    3\n    '''"},
    "pytest": {"tests": "import pytest\n@pytest.mark.parametrize('x', [1, 2])\ndef test_it(x):\n    assert f(x) == x + 1"},
    "a fixture": {"tests": "def test_it(capsys):\n    print(f(2))\n    assert capsys.readouterr().out == '3\\n'"},
    "coroutines": {"tests": "async def test_it():\n    assert f(2) == 3"},
    "an exception raised by hand": {"tests": "if f(2) != 3:\n    raise ValueError(f(2))"},
    "set-up": {"tests": "assert f(x) == y", "setup": "x, y = 2, 3"},
    "set-up by means of the answer": {"tests": "assert y == 3", "setup": "y = f(2)"},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tests_are_found_and_run(layout):
    for verifier in (VERIFIER, SHARE):
        assert worth(verifier, GOOD, **LAYOUTS[layout]) == 1
        assert worth(verifier, BAD, **LAYOUTS[layout]) == 0
        assert worth(verifier, "", **LAYOUTS[layout]) == 0


NOTHING = {
    "a check without an entry point": CHECK,
    "comments": "# assert f(1) == 2\n",
    "definitions": "import math\nx = 3\nclass Helper:\n    pass\ndef helper():\n    assert f(1) == 2",
    "a loop over nothing": "for x in []:\n    assert f(x) == 2",
    "a test that an empty answer passes": "def test_it():\n    try:\n        f(1)\n    except Exception:\n        pass",
    "a test that is skipped": "import unittest\nclass F(unittest.TestCase):\n    @unittest.skip('later')\n"
    "    def test_it(self): self.assertEqual(f(1), 2)",
}


@quiet
@pytest.mark.parametrize("name", NOTHING)
def test_what_tests_nothing_is_an_abstention(name):
    verifier = PythonVerifier()
    for text in (GOOD, BAD, "", "def f("):
        assert worth(verifier, text, tests=NOTHING[name]) is None
    assert verifier.abstentions == Counter({"found no test": 4})


def test_the_share_counts_tests_and_not_their_sources():
    tests = [
        "import math\ndef test_one(): assert f(1) == 2\ndef test_two(): assert f(2) == 3",
        "# nothing",
        "assert f(3) == 4",
    ]
    assert worth(SHARE, GOOD, tests=tests) == 1
    assert worth(SHARE, HALF, tests=tests) == pytest.approx(1 / 3)
    assert (
        worth(SHARE, "", tests=tests) == worth(SHARE, "x = 1", tests=tests) == worth(SHARE, "def f(", tests=tests) == 0
    )
    easy = ["try:\n    assert f(1) == 2\nexcept NameError:\n    pass", "assert f(2) == 3"]  # an empty answer passes one
    assert (
        worth(SHARE, "", tests=easy) == 0
        and worth(SHARE, HALF, tests=easy) == 0
        and worth(SHARE, GOOD, tests=easy) == 1
    )


def test_an_answer_goes_on_with_its_prompt():
    prompt = 'import math\ndef twice(x):\n    return 2 * x\n\ndef f(x):\n    """Twice the root of x."""\n'
    data = {"tests": "def check(candidate):\n    assert candidate(9) == twice(3)", "entry_point": "f", "prompt": prompt}
    assert worth(VERIFIER, "    return twice(math.sqrt(x))\n", **data) == 1
    assert worth(VERIFIER, "```python\nimport math\ndef f(x):\n    return twice(math.sqrt(x))\n```", **data) == 1
    assert worth(VERIFIER, "    return math.sqrt(x)\n", **data) == 0
    assert worth(VERIFIER, "", **data) == 0
    # What the prompt defines for the tests is not the answer's to change.
    assert worth(VERIFIER, "def twice(x): return 1\ndef f(x): return 1", **data) == 0


def test_nodes_of_the_set_up_are_there_for_the_answer_too():
    setup = "from typing import *\nclass ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n" \
        "def made(xs):\n    head = None\n    for x in reversed(xs): head = ListNode(x, head)\n    return head\n" \
        "def items(n):\n    found = []\n    while n: found.append(n.val); n = n.next\n    return found"  # fmt: skip
    tests = "assert items(Solution().merge(made([1, 4]), made([2]))) == [1, 2, 4]"
    answer = """
class Solution:
    def merge(self, a: Optional[ListNode], b: Optional[ListNode]) -> Optional[ListNode]:
        here = head = ListNode()
        while a and b:
            if a.val < b.val: here.next, a = a, a.next
            else: here.next, b = b, b.next
            here = here.next
        here.next = a or b
        return head.next
"""
    assert worth(VERIFIER, answer, tests=tests, setup=setup) == 1
    assert worth(VERIFIER, answer.replace("a.val < b.val", "True"), tests=tests, setup=setup) == 0


@pytest.mark.slow
@quiet
def test_what_the_pipe_is_in_the_way_of_is_an_abstention_and_never_a_failure():
    tests = "import random\nrandom.seed(3)\na = f()\nrandom.seed(3)\nassert a == f() == random.Random(3).random()"
    right = "import random\ndef f(): return random.random()"
    assert worth(VERIFIER, right, tests=tests) is None
    assert worth(VERIFIER, right.replace("random.random()", "3"), tests=tests) == 0
    shared = {
        "identity": ("assert get() is get()", "kept = []\ndef get(): return kept"),
        "a list of its own": ("get().append(3)\nassert get() == [3]", "kept = []\ndef get(): return kept"),
        "a variable": ("add(2)\nadd(3)\nassert total == 5", "total = 0\ndef add(n):\n    global total\n    total += n"),
        "rows of a table": ("x = [[1], [2]]\nrow = x[0]\nadd(x)\nassert row == [1, 0]", "def add(x):\n    for r in x: r.append(0)"),
        "a queue": ("from collections import deque\nq = deque([1, 2])\nadd(q)\nassert list(q) == [2]", "def add(q): q.popleft()"),
        "an array": ("import numpy as np\nx = np.zeros(2)\nadd(x)\nassert x.sum() == 2", "def add(x): x += 1"),
        "an environment": ("import os\nos.environ['K'] = 'v'\nassert get() == 'v'", "import os\ndef get(): return os.environ.get('K')"),
        "a patched clock": ("from unittest.mock import patch\nwith patch('time.time', return_value=5):\n    assert get() == 5",
                            "import time\ndef get(): return time.time()"),
    }  # fmt: skip
    for name, (tests, solution) in shared.items():
        assert worth(VERIFIER, solution, tests=tests) in (1, None), name
        assert worth(VERIFIER, "def get(): return []\ndef add(*x): pass\ntotal = 7", tests=tests) == 0, name
    slow = "n = 0\nfor i in range(200_000): n = f(n)\nassert n == 200_000"
    assert worth(PythonVerifier(sandbox=Sandbox(seconds=2)), "def f(n): return n + 1", tests=slow) is None
    assert worth(PythonVerifier(sandbox=Sandbox(seconds=1)), "def f(n):\n    while True: pass", tests=slow) == 0


def test_tests_that_need_what_is_not_there_are_not_the_answers_fault():
    with pytest.warns(RuntimeWarning, match="could not run the tests .*pandas"):
        assert worth(PythonVerifier(), GOOD, tests="assert f(1) == 2", setup="import pandas") is None


def questions(tests, n=3):
    return [Question(id=k, prompt="", completion=f"def f{k}(x):\n    return x + {k}", data={"tests": tests(k)})
            for k in range(n)]  # fmt: skip


@quiet
def test_the_doctor_finds_what_pays_for_nothing():
    good = questions(lambda k: f"assert f{k}(1) == {k + 1} and f{k}(2) == {k + 2}")
    assert try_verifier(PythonVerifier(), good) == []
    weak = questions(lambda k: f"assert f{k}(1) is None or f{k}(1)")
    found = [complaint for complaint in try_verifier(PythonVerifier(), weak) if complaint.grave]
    assert len(found) == 1 and "3 of 3 constant completions as good as good ones" in str(found[0])
    none = try_verifier(PythonVerifier(), questions(lambda k: f"def check(candidate):\n    assert candidate(1) == {k}"))
    assert "found no test" in str(none[0])
