"""Answers that are right are paid, however they are written, and their wrong twins are not."""

# ruff: noqa: E501 - programs are written as they are

from textwrap import dedent

import pytest

from didact.teachers.verifiers import PythonVerifier, Sandbox, strength
from didact.types import Question

pytestmark = pytest.mark.skipif(not strength().strong, reason=f"{strength()}")
VERIFIER = PythonVerifier(sandbox=Sandbox(seconds=30))

# name: tests, a right answer, what in it is replaced, and by what, to make it wrong.
RIGHT = {
    "its own equality": (
        "assert P(1, 2) == P(1, 2)\nassert P(1, 2) != P(2, 1)\nassert P(1, 2) in [P(1, 2)]\nassert len({P(1, 2), P(1, 2)}) == 1",
        """
        class P:
            def __init__(self, x, y): self.x, self.y = x, y
            def __eq__(self, other): return isinstance(other, P) and (self.x, self.y) == (other.x, other.y)
            def __hash__(self): return hash((self.x, self.y))
        """,
        ("(self.x, self.y) == (other.x, other.y)", "{self.x, self.y} == {other.x, other.y}"),
    ),
    "arithmetic of its own": (
        "a, b = V(1, 2), V(3, 4)\nassert a + b == V(4, 6) and 2 * a == V(2, 4) and -a == V(-1, -2)\nassert abs(V(3, 4)) == 5\n"
        "a += b\nassert (a.x, a.y) == (4, 6) and V(1, 1) < V(2, 2) and sorted([b, V(0, 0)])[0] == V(0, 0)",
        """
        class V:
            def __init__(self, x, y): self.x, self.y = x, y
            def __eq__(self, o): return (self.x, self.y) == (o.x, o.y)
            def __add__(self, o): return V(self.x + o.x, self.y + o.y)
            def __rmul__(self, k): return V(k * self.x, k * self.y)
            def __neg__(self): return V(-self.x, -self.y)
            def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
            def __lt__(self, o): return abs(self) < abs(o)
        """,
        ("self.y + o.y", "self.y - o.y"),
    ),
    "a dataclass": (
        "p = Point(1, y=2)\nassert p == Point(1, 2) and p.x == 1 and repr(p) == 'Point(x=1, y=2)'\np.x = 5\nassert p.x == 5 and p.far() == 7",
        "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int = 0\n    def far(self): return self.x + self.y",
        ("self.x + self.y", "self.x"),
    ),
    "a frozen dataclass": (
        "import dataclasses\ntry:\n    Point(1).x = 2\nexcept dataclasses.FrozenInstanceError:\n    pass\nelse:\n    raise AssertionError",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Point:\n    x: int",
        ("(frozen=True)", ""),
    ),
    "an enumeration": (
        "assert Color.RED.value == 1 and Color['RED'] is Color.RED and Color(2) == Color.BLUE\n"
        "assert [c.name for c in Color] == ['RED', 'BLUE'] and isinstance(Color.RED, Color) and len(Color) == 2\n"
        "assert mix(Color.RED) is Color.BLUE",
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 2\ndef mix(c): return Color.BLUE if c is Color.RED else Color.RED",
        ("Color.BLUE if", "Color.RED if"),
    ),
    "an enumeration of numbers": (
        "assert level('high') == 3 and level('high') > Level.LOW and Level.HIGH == 3 and level('low') is Level.LOW",
        "from enum import IntEnum\nclass Level(IntEnum):\n    LOW = 1\n    HIGH = 3\ndef level(name): return Level[name.upper()]",
        ("HIGH = 3", "HIGH = 4"),
    ),
    "decimals": (
        "from decimal import Decimal\nassert tax(Decimal('10.10')) == Decimal('2.02') and isinstance(tax(Decimal(1)), Decimal)",
        "from decimal import Decimal\ndef tax(x): return x * Decimal('0.2')",
        ("'0.2'", "'0.3'"),
    ),
    "fractions": (
        "from fractions import Fraction\nassert half(Fraction(1, 3)) == Fraction(1, 6) == half(Fraction(2, 6))",
        "def half(x): return x / 2",
        ("/ 2", "* 2"),
    ),
    "dates": (
        "from datetime import date, datetime, timedelta, timezone\nassert after(date(2024, 2, 28), 2) == date(2024, 3, 1)\n"
        "assert after(datetime(2024, 1, 1, 5, tzinfo=timezone.utc), 1).hour == 5 and gap(date(2024, 1, 2), date(2024, 1, 1)) == timedelta(days=1)",
        "from datetime import timedelta\ndef after(d, n): return d + timedelta(days=n)\ndef gap(a, b): return a - b",
        ("days=n", "days=n + 1"),
    ),
    "generators": (
        "import itertools, types\ng = squares()\nassert next(g) == 0 and list(itertools.islice(g, 3)) == [1, 4, 9]\n"
        "assert isinstance(squares(), types.GeneratorType) and list(itertools.islice(squares(), 500))[-1] == 499 ** 2",
        "def squares():\n    n = 0\n    while True:\n        yield n * n\n        n += 1",
        ("n * n", "n + n"),
    ),
    "a generator that is sent values": (
        "g = total()\nnext(g)\nassert g.send(3) == 3 and g.send(4) == 7\ng.close()\ntry:\n    next(g)\nexcept StopIteration:\n    pass\nelse:\n    raise AssertionError",
        "def total():\n    s = 0\n    while True:\n        s += yield s",
        ("s += yield s", "s = yield s"),
    ),
    "an iterator of its own": (
        "assert list(Down(3)) == [3, 2, 1] and sum(Down(4)) == 10 and [x for x in zip(Down(2), 'ab')] == [(2, 'a'), (1, 'b')]",
        """
        class Down:
            def __init__(self, n): self.n = n
            def __iter__(self): return self
            def __next__(self):
                if self.n <= 0: raise StopIteration
                self.n -= 1
                return self.n + 1
        """,
        ("self.n + 1", "self.n"),
    ),
    "JSON's error as a ValueError": (
        "import json\nassert read('[1]') == [1]\nfor kind in (ValueError, json.JSONDecodeError):\n    try:\n        read('[')\n    except kind:\n        pass\n    else:\n        raise AssertionError",
        "import json\ndef read(text): return json.loads(text)",
        ("return json.loads(text)", "return json.loads(text) if text != '[' else None"),
    ),
    "exceptions of its own": (
        "try:\n    take(0)\nexcept Empty as error:\n    assert isinstance(error, LookupError) and error.code == 7 and str(error) == 'nothing' and error.args == ('nothing',)\n"
        "else:\n    raise AssertionError\nassert issubclass(Empty, LookupError)\ntry:\n    take(0)\nexcept LookupError:\n    pass",
        """
        class Empty(LookupError):
            def __init__(self, words, code):
                super().__init__(words)
                self.code = code
        def take(n):
            if n == 0: raise Empty('nothing', 7)
        """,
        ("'nothing', 7", "'nothing', 8"),
    ),
    "an exit that the tests expect": (
        "try:\n    main([])\nexcept SystemExit as end:\n    assert end.code == 3\nelse:\n    raise AssertionError\nassert main([1]) == 1",
        "import sys\ndef main(args): return len(args) or sys.exit(3)",
        ("sys.exit(3)", "sys.exit(4)"),
    ),
    "callbacks": (
        "seen = []\ndef note(x):\n    seen.append(x)\n    return x % 2\nassert keep(note, [1, 2, 3]) == [1, 3] and seen == [1, 2, 3]\nassert keep(lambda x: x > 1, [1, 2]) == [2] and keep(str.isdigit, ['1', 'a']) == ['1']",
        "def keep(f, xs): return [x for x in xs if f(x)]",
        ("if f(x)", "if not f(x)"),
    ),
    "exceptions through callbacks": (
        "def bad(): raise KeyError('k')\nassert safe(bad) == \"'k'\" and safe(lambda: 5) == 5",
        "def safe(f):\n    try: return f()\n    except KeyError as e: return str(e)",
        ("str(e)", "repr(e)"),
    ),
    "a decorator": (
        "calls = []\n@memo\ndef slow(n):\n    calls.append(n)\n    return n * 2\nassert slow(2) == slow(2) == 4 and calls == [2] and slow.__name__ == 'slow'",
        "import functools\ndef memo(f):\n    kept = {}\n    @functools.wraps(f)\n    def g(n):\n        if n not in kept: kept[n] = f(n)\n        return kept[n]\n    return g",
        ("if n not in kept: ", ""),
    ),
    "functions that make functions": (
        "assert adder(2)(3) == 5 and compose(adder(1), lambda x: x * 2)(5) == 11 and [f(1) for f in map(adder, [1, 2])] == [2, 3]",
        "def adder(n): return lambda x: x + n\ndef compose(f, g): return lambda x: f(g(x))",
        ("f(g(x))", "g(f(x))"),
    ),
    "nodes of the tests": (
        "class Node:\n    def __init__(self, val, next=None): self.val, self.next = val, next\n"
        "head = turn(Node(1, Node(2, Node(3))))\nseen = []\nwhile head:\n    seen.append(head.val)\n    head = head.next\nassert seen == [3, 2, 1]",
        "def turn(head):\n    last = None\n    while head: head.next, last, head = last, head, head.next\n    return last",
        ("return last", "return head"),
    ),
    "a tree of its own": (
        "t = Tree()\nfor n in (5, 2, 8, 1): t.insert(n)\nassert list(t) == [1, 2, 5, 8] and t.root.left.value == 2 and 8 in t and 3 not in t and t.root.right.left is None",
        """
        class Node:
            def __init__(self, value): self.value, self.left, self.right = value, None, None
        class Tree:
            def __init__(self): self.root = None
            def insert(self, value):
                if self.root is None: self.root = Node(value); return
                here = self.root
                while True:
                    side = 'left' if value < here.value else 'right'
                    if getattr(here, side) is None: setattr(here, side, Node(value)); return
                    here = getattr(here, side)
            def __iter__(self): yield from self._walk(self.root)
            def _walk(self, node):
                if node: yield from self._walk(node.left); yield node.value; yield from self._walk(node.right)
            def __contains__(self, value): return value in list(self)
        """,
        ("value < here.value", "value > here.value"),
    ),
    "a class and its heirs": (
        "assert isinstance(Dog(), Animal) and issubclass(Dog, Animal) and Dog().speak() == 'woof' and type(Dog()).__name__ == 'Dog' and Dog.legs == 4\nassert Dog.born() == 1 and Dog.born() == 2 and Dog.is_pet(3) is True",
        """
        class Animal:
            legs = 4
            count = 0
            def speak(self): return self.sound
            @classmethod
            def born(cls): cls.count += 1; return cls.count
            @staticmethod
            def is_pet(x): return True
        class Dog(Animal):
            sound = 'woof'
        """,
        ("'woof'", "'miau'"),
    ),
    "properties that refuse": (
        "t = Heat(10)\nassert t.fahrenheit == 50\nt.celsius = 20\nassert t.fahrenheit == 68\ntry:\n    t.celsius = -300\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError",
        """
        class Heat:
            def __init__(self, c): self.celsius = c
            @property
            def celsius(self): return self._c
            @celsius.setter
            def celsius(self, c):
                if c < -273.15: raise ValueError(c)
                self._c = c
            @property
            def fahrenheit(self): return self._c * 9 / 5 + 32
        """,
        ("if c < -273.15: raise ValueError(c)", "pass"),
    ),
    "a context": (
        "log = []\nwith Timer(log) as t:\n    assert t.open\nassert not t.open and t.log == []\nwith Timer(log):\n    raise KeyError",
        """
        class Timer:
            def __init__(self, log): self.open, self.log = False, log
            def __enter__(self): self.open = True; return self
            def __exit__(self, *error): self.open = False; return True
        """,
        ("return True", "return False"),
    ),
    "a named tuple": (
        "r = split(7)\nassert r == (3, 1) and r.whole == 3 and tuple(r) == (3, 1) and r._replace(rest=0).rest == 0 and isinstance(r, tuple)\na, b = r\nassert a == 3",
        "from collections import namedtuple\nR = namedtuple('R', 'whole rest')\ndef split(n): return R(*divmod(n, 2))",
        ("divmod(n, 2)", "divmod(n, 3)"),
    ),
    "a stack that is a list": (
        "s = Stack()\ns.push(1)\ns.push(2)\nassert s == [1, 2] and len(s) == 2 and s.top() == 2 and isinstance(s, list) and s[0] == 1",
        "class Stack(list):\n    def push(self, x): self.append(x)\n    def top(self): return self[-1]",
        ("self[-1]", "self[0]"),
    ),
    "counters and queues": (
        "from collections import Counter, OrderedDict, defaultdict, deque\nassert count('aab') == Counter('aab') and count('aab').most_common(1) == [('a', 2)]\n"
        "assert last(deque([1, 2, 3])) == deque([2, 3]) and group(['ab', 'ac'])['a'] == ['ab', 'ac'] and group([])['z'] == []",
        "from collections import Counter, defaultdict, deque\ndef count(s): return Counter(s)\ndef last(d): return deque(list(d)[1:])\ndef group(ws):\n    d = defaultdict(list)\n    for w in ws: d[w[0]].append(w)\n    return d",
        ("list(d)[1:]", "list(d)[2:]"),
    ),
    "NumPy in the tests": (
        "import numpy as np\nnp.testing.assert_allclose(scale([1, 2], 3), [3, 6])\nassert np.mean(scale([1, 3], 1)) == 2",
        "def scale(xs, k): return [k * x for x in xs]",
        ("k * x", "k + x"),
    ),
    "NumPy in both": (
        "import numpy as np\na = unit(np.array([3.0, 4.0]))\nassert a.shape == (2,) and np.allclose(a, [0.6, 0.8]) and unit(np.ones((2, 2))).dtype == np.float64",
        "import numpy as np\ndef unit(v): return v / np.linalg.norm(v)",
        ("np.linalg.norm(v)", "v.sum()"),
    ),
    "pytest's helpers": (
        "import pytest\n@pytest.mark.parametrize('n,want', [(0, 1), (3, 6)])\ndef test_many(n, want):\n    assert fact(n) == want\n"
        "def test_bad():\n    with pytest.raises(ValueError, match='negative'):\n        fact(-1)\n@pytest.fixture\ndef five(): return 5\nclass TestIt:\n    def test_five(self, five): assert fact(five) == pytest.approx(120)",
        "def fact(n):\n    if n < 0: raise ValueError('negative')\n    return 1 if n == 0 else n * fact(n - 1)",
        ("ValueError('negative')", "ValueError('bad')"),
    ),
    "what is printed": (
        "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    greet('Ann')\nassert out.getvalue() == 'Hello Ann\\n'",
        "def greet(name): print('Hello', name)",
        ("'Hello'", "'Bye'"),
    ),
    "what is typed": (
        "from unittest import mock\nwith mock.patch('builtins.input', side_effect=['3', '4']):\n    assert ask() == 7",
        "def ask(): return int(input('a? ')) + int(input('b? '))",
        ("+ int", "- int"),
    ),
    "coroutines": (
        "import asyncio\nassert asyncio.run(slow(2)) == 4\nasync def both(): return await asyncio.gather(slow(1), slow(2))\nassert asyncio.run(both()) == [2, 4]",
        "import asyncio\nasync def slow(n):\n    await asyncio.sleep(0)\n    return n * 2",
        ("n * 2", "n * 3"),
    ),
    "arguments changed in place": (
        "x = [3, 1, 2]\nassert sort(x) is None and x == [1, 2, 3]\nd = {'a': 1}\nassert put(d, 'b') is d and d == {'a': 1, 'b': 0}",
        "def sort(x): x.sort()\ndef put(d, k):\n    d[k] = 0\n    return d",
        ("d[k] = 0", "d = {**d, k: 0}"),
    ),
    "sets, bytes and numbers of all kinds": (
        "assert odd() == ({1, 2}, frozenset({3}), b'x', 1j, True, None, 2 ** 20000, float('inf')) and odd()[5] is None and odd()[4] is True",
        "def odd(): return ({1, 2}, frozenset({3}), b'x', 1j, True, None, 2 ** 20000, float('inf'))",
        ("b'x'", "b'y'"),
    ),
    "matches of patterns": (
        "m = find('a1b22')\nassert m.group() == '1' and m.start() == 1 and find('abc') is None",
        "import re\ndef find(s): return re.search(r'\\d+', s)",
        ("d+", "d{2}"),
    ),
    "deep recursion": (
        "assert depth(900) == 900",
        "def depth(n): return 0 if n == 0 else 1 + depth(n - 1)",
        ("1 + depth", "2 + depth"),
    ),
    "copies": (
        "import copy\na = Bag([1])\nb = copy.deepcopy(a)\nb.add(3)\nassert a.size() == 1 and b.size() == 2",
        "class Bag:\n    def __init__(self, items): self.items = list(items)\n    def add(self, x): self.items.append(x)\n    def size(self): return len(self.items)",
        ("self.items.append(x)", "pass"),
    ),
    "the file of its own": (
        "save('x.txt', 'abc')\nassert load('x.txt') == 'abc'",
        "def save(p, t): open(p, 'w').write(t)\ndef load(p): return open(p).read()",
        (".read()", ".read(2)"),
    ),
}


def worth(verifier, text, **data):
    """The value of one answer, None where the verifier abstains."""
    reward = verifier.verify([dedent(text)], [Question(id=0, prompt=data.pop("prompt", ""), data=data)])
    return reward.value.item() if reward.trust.item() else None


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_paid(name):
    tests, answer, _ = RIGHT[name]
    assert worth(VERIFIER, answer, tests=tests) == 1


@pytest.mark.parametrize("name", RIGHT)
def test_its_wrong_twin_is_not(name):
    tests, answer, (old, new) = RIGHT[name]
    assert dedent(answer).count(old)
    assert worth(VERIFIER, dedent(answer).replace(old, new), tests=tests) == 0
