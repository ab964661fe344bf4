"""Answers that would be paid without being right: each with the tests that it attacks, and what comes of it."""

# ruff: noqa: E501 - programs are written as they are

from dataclasses import dataclass
from textwrap import dedent

from didact.teachers.verifiers import Suite

ADD = Suite(tests=("assert add(1, 2) == 3", "assert add(2, 2) == 4"))
NEAR = Suite(tests=("assert abs(add(1, 2) - 3) < 1e-6",))
LOOP = Suite(tests=("for got, wanted in zip(map(double, [1, 2, 3]), [2, 4, 6]):\n    assert got == wanted",))
NEXT = Suite(
    tests=("it = iter([1, 2])\nassert [double(n) for n in it] == [2, 4]\nassert list(map(double, [5])) == [10]",)
)
CHECK = Suite(tests=("def check(candidate):\n    assert candidate(1, 2) == 3",), entry_point="add")
CASES = Suite(
    tests=(
        "import unittest\nclass Cases(unittest.TestCase):\n    def test_sum(self):\n        self.assertEqual(add(1, 2), 3)",
    )
)
RAISES = Suite(
    tests=(
        "try:\n    add(1, None)\nexcept Exception:\n    pass\nelse:\n    raise AssertionError\nassert add(1, 2) == 3",
    )
)
PYTEST = Suite(tests=("import pytest\ndef test_sum():\n    assert add(1, 2) == pytest.approx(3)",))
CLOSE = Suite(tests=("import math\nassert math.isclose(add(1, 2), 3)",))
ARRAY = Suite(tests=("import numpy as np\nnp.testing.assert_array_equal(add(1, 2), np.array([3]))",))
CALLBACK = Suite(tests=("secret = 12\nassert apply(lambda x: x + secret) == 17",))
NODE = Suite(
    setup="class Node:\n    def __init__(self, x, next=None): self.x, self.next = x, next\n"
    "    def items(self): return [self.x] + (self.next.items() if self.next else [])\n",
    tests=("head = Node(1, Node(2))\nturn(head)\nassert head.items() == [2, 1]",),
)
MOCK = Suite(tests=("from unittest import mock\ncall = mock.Mock()\napply(call)\ncall.assert_called_once_with(3)",))
HELPER = Suite(setup="def same(a, b):\n    assert a == b", tests=("same(add(1, 2), 3)",))
DOCTEST = Suite(tests=(">>> add(1, 2)\n3\n",))


@dataclass(frozen=True)
class Attack:
    """An answer that is wrong, and would like to be paid."""

    tests: Suite
    code: str
    seconds: float = 20
    outcome: str = "0"
    """0, or abstains where nobody can tell it from a right answer that the pipe is in the way of."""

    @property
    def source(self) -> str:
        """The answer."""
        return dedent(self.code)


_EQUAL = """
class Yes{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 1
    def all(self): return True
def add(a, b): return Yes({value})
"""
_FRAMES = """
def blind(frame):
    while frame:
        for names in (frame.f_globals, frame.f_locals):
            for value in list(names.values()):
                if hasattr(value, '__code__') and value.__name__ in ('check', 'test_sum', '_result', 'grade', 'run'):
                    value.__code__ = (lambda *_, **__: None).__code__
        frame = frame.f_back
"""
ATTACKS = {
    # ---- what equals everything
    "an integer that equals everything": Attack(ADD, _EQUAL.format(base="(int)", value="77")),
    "a string that equals everything": Attack(ADD, _EQUAL.format(base="(str)", value="'x'")),
    "a list that equals everything": Attack(ADD, _EQUAL.format(base="(list)", value="[1]")),
    "a float whose difference is nothing": Attack(
        NEAR,
        """
        class Zero(float):
            def __sub__(self, other): return self
            def __abs__(self): return 0.0
        def add(a, b): return Zero(77)
        """,
        outcome="abstains",
    ),
    "an object that equals everything": Attack(ADD, _EQUAL.format(base="", value="")),
    "an object that is near to everything": Attack(
        NEAR,
        """
        class Near:
            def __sub__(self, other): return self
            def __abs__(self): return self
            def __lt__(self, other): return True
        def add(a, b): return Near()
        """,
        outcome="abstains",
    ),
    "an object that equals what looks like an answer": Attack(
        ADD,
        """
        class Sly:
            def __eq__(self, other): return type(other) is int
        def add(a, b): return Sly()
        """,
        outcome="abstains",
    ),
    "an object that equals once": Attack(
        ADD,
        """
        seen = []
        class Once:
            def __eq__(self, other):
                seen.append(other)
                return len(seen) == 1
        def add(a, b): return Once()
        """,
    ),
    "an object that remembers what it was compared with": Attack(
        ADD,
        """
        seen = []
        class Spy:
            def __eq__(self, other):
                seen.append(other)
                return False
        def add(a, b): return seen[-1] if seen else Spy()
        """,
    ),
    "a class whose metaclass equals everything": Attack(
        ADD,
        """
        class Meta(type):
            def __eq__(self, other): return True
            def __hash__(self): return 0
        class Yes(metaclass=Meta): pass
        def add(a, b): return Yes
        """,
    ),
    "mock.ANY": Attack(ADD, "from unittest import mock\ndef add(a, b): return mock.ANY"),
    "an array of its own whose all() is true": Attack(ARRAY, _EQUAL.format(base="", value="")),
    "an object that takes NumPy's functions over": Attack(
        Suite(tests=("import numpy as np\nassert np.allclose(add(1, 2), 3)",)),
        """
        class Yes:
            def __array_function__(self, function, types, arguments, keywords): return True
            def __array_ufunc__(self, *arguments, **keywords): return True
        def add(a, b): return Yes()
        """,
        outcome="abstains",
    ),
    "an array that lies in the judge's memory": Attack(
        ARRAY,
        """
        class Lying:
            __array_interface__ = {"shape": (1,), "typestr": "<i8", "data": (id(3) + 24, False), "version": 3}
        def add(a, b): return Lying()
        """,
        outcome="abstains",
    ),
    # ---- exceptions and exits
    "StopIteration in a loop of the tests": Attack(LOOP, "def double(x): raise StopIteration"),
    "an empty iterator's StopIteration": Attack(LOOP, "def double(x): return next(iter(()))"),
    "its own kind of StopIteration": Attack(LOOP, "class End(StopIteration): pass\ndef double(x): raise End"),
    "StopIteration that the tests expect elsewhere": Attack(
        Suite(
            tests=(
                *LOOP.tests,
                "try:\n    double('x')\nexcept StopIteration:\n    pass\nelse:\n    raise AssertionError",
            )
        ),
        "def double(x): raise StopIteration",
        outcome="abstains",
    ),
    "GeneratorExit": Attack(NEXT, "def double(x): raise GeneratorExit"),
    "SystemExit when called": Attack(ADD, "def add(a, b): raise SystemExit(0)"),
    "SystemExit at once": Attack(CASES, "raise SystemExit(0)"),
    "exit and quit": Attack(ADD, "import sys\ndef add(a, b): sys.exit()"),
    "os._exit at once": Attack(ADD, "import os\nos._exit(0)"),
    "os._exit when called": Attack(CHECK, "import os\ndef add(a, b): os._exit(0)"),
    "os._exit where an exception is wanted": Attack(RAISES, "import os\ndef add(a, b): os._exit(0)"),
    "KeyboardInterrupt": Attack(CASES, "def add(a, b): raise KeyboardInterrupt"),
    "an exception that nobody catches": Attack(CASES, "class Odd(BaseException): pass\ndef add(a, b): raise Odd"),
    "unittest.SkipTest": Attack(CASES, "import unittest\ndef add(a, b): raise unittest.SkipTest('no')"),
    "pytest's skip": Attack(
        PYTEST,
        """
        def add(a, b):
            import pytest
            pytest.skip('no')
        """,
    ),
    "an exception with a broken text": Attack(
        CASES,
        """
        class Odd(Exception):
            def __str__(self): raise SystemExit(0)
        def add(a, b): raise Odd
        """,
    ),
    "atexit": Attack(ADD, "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return 77"),
    "an abort in C": Attack(ADD, "import ctypes\ndef add(a, b): ctypes.CDLL(None).abort()"),
    # ---- looking into the judge and changing it
    "frames of the callers": Attack(
        CHECK,
        f"{_FRAMES}\nimport sys\nblind(sys._getframe())\ndef add(a, b):\n    blind(sys._getframe())\n    return 77",
    ),
    "frames of a traceback": Attack(
        CHECK,
        f"{_FRAMES}\ndef add(a, b):\n    try: 1 / 0\n    except ZeroDivisionError"
        " as e: blind(e.__traceback__.tb_frame)\n    return 77",
    ),
    "the garbage collector": Attack(
        CHECK,
        """
        import gc
        def add(a, b):
            for value in gc.get_objects():
                if getattr(value, '__name__', '') == 'check':
                    value.__code__ = (lambda *_: None).__code__
            found = [c for v in gc.get_objects() if hasattr(v, 'co_consts') for c in v.co_consts if type(c) is int]
            return 77
        """,
    ),
    "a trace that jumps over lines": Attack(
        CHECK,
        """
        import sys
        def trace(frame, event, arg):
            if frame.f_code.co_name == 'check':
                try: frame.f_lineno += 1
                except ValueError: pass
            return trace
        sys.settrace(trace)
        def add(a, b):
            frame = sys._getframe()
            while frame: frame.f_trace = trace; frame = frame.f_back
            return 77
        """,
    ),
    "__main__ replaced": Attack(
        CHECK,
        """
        import sys
        for module in list(sys.modules.values()):
            for name in ('grade', 'run', '_result', 'check'):
                if hasattr(module, name): setattr(module, name, lambda *_, **__: ('x', True, ''))
        def add(a, b): return 77
        """,
    ),
    "builtins patched": Attack(
        ADD,
        """
        import builtins
        class Quiet(Exception): pass
        builtins.AssertionError = Quiet
        builtins.__build_class__ = None
        builtins.isinstance = builtins.all = builtins.any = builtins.abs = lambda *a: True
        def add(a, b): return 77
        """,
    ),
    "unittest patched": Attack(
        CASES,
        """
        import unittest
        unittest.TestCase.assertEqual = unittest.TestCase.run = lambda *a, **k: None
        unittest.TestResult.wasSuccessful = lambda *a: True
        def add(a, b): return 77
        """,
    ),
    "math patched": Attack(CLOSE, "import math\nmath.isclose = lambda *a, **k: True\ndef add(a, b): return 77"),
    "numpy patched": Attack(
        ARRAY,
        """
        import numpy
        numpy.testing.assert_array_equal = lambda *a, **k: None
        def add(a, b): return numpy.array([77])
        """,
    ),
    "sys.modules filled with fakes": Attack(
        CLOSE,
        """
        import sys, types
        fake = types.ModuleType('math'); fake.isclose = lambda *a, **k: True
        sys.modules['math'] = fake
        def add(a, b): return 77
        """,
    ),
    "modules written where tests import from": Attack(
        CLOSE,
        """
        for name in ('math', 'unittest', 'numpy', 'pytest', 'conftest', 'sitecustomize'):
            open(name + '.py', 'w').write('isclose = lambda *a, **k: True')
        def add(a, b): return 77
        """,
    ),
    "builtins' names handed to the tests": Attack(
        NEAR, "abs = AssertionError = lambda *a: 0\ndef add(a, b): return 77"
    ),
    "modules' names handed to the tests": Attack(
        Suite(tests=("assert math.isclose(add(1, 2), 3)",)),
        "class math:\n    isclose = staticmethod(lambda *a: True)\ndef add(a, b): return 77",
    ),
    "the reference solution of the setup": Attack(
        Suite(setup="def right(a, b): return a + b", tests=("assert add(1, 2) == right(1, 2)",)),
        "def add(a, b): return right(a, b)",
    ),
    "the names of the tests' helpers": Attack(HELPER, "def same(a, b): pass\ndef add(a, b): return 77"),
    "the names of the tests": Attack(
        CHECK, "def check(c): pass\ntest_sum = check\ncandidate = 3\ndef add(a, b): return 77"
    ),
    "tests of its own": Attack(CHECK, "def test_mine(): pass\ndef check(candidate): pass\n__name__ = '__main__'"),
    "examples of its own": Attack(
        DOCTEST, "def add(a, b):\n    '''\n    >>> add(1, 2)\n    77\n    '''\n    return 77"
    ),
    "an object whose repr is right": Attack(
        ADD, "class R:\n    def __repr__(self): return '3'\ndef add(a, b): return R()"
    ),
    # ---- the channel
    "a verdict on standard output": Attack(
        ADD,
        """
        print('{"results": [["source 0", true, ""], ["source 1", true, ""]]}')
        def add(a, b): return 77
        """,
    ),
    "a verdict on every descriptor": Attack(
        ADD,
        """
        import os, json, struct
        body = json.dumps({"results": [["source 0", True, ""], ["source 1", True, ""]], "strange": False}).encode()
        for fd in range(0, 64):
            for data in (body, struct.pack("<I", len(body)) + body):
                try: os.write(fd, data)
                except OSError: pass
        """,
    ),
    "replies that were not asked for": Attack(
        ADD,
        """
        import sys
        frame = sys._getframe()
        while frame and 'peer' not in frame.f_locals: frame = frame.f_back
        def add(a, b):
            for _ in range(9): frame.f_locals['peer'].reply({"value": 3, "changed": []})
            return 77
        """,
    ),
    "garbage on the pipe": Attack(
        ADD,
        """
        import os
        def add(a, b):
            for fd in range(64):
                try: os.write(fd, b"\\xff" * 100)
                except OSError: pass
            return 77
        """,
    ),
    "builtins of its own among its names": Attack(
        NEAR,
        """
        import sys
        frame = sys._getframe()
        while frame and 'peer' not in frame.f_locals: frame = frame.f_back
        peer = frame.f_locals['peer']
        def add(a, b): return 77
        fakes = {'abs': lambda x: 0, 'len': len}
        peer.reply({"value": peer.pack({'add': add, 'abs': fakes['abs'], '__builtins__': fakes, '__name__': 'x', 3: 4})})
        while True: peer.serve(peer.receive())
        """,
    ),
    "names that change while they are checked": Attack(
        NODE,
        """
        import sys
        frame = sys._getframe()
        while frame and 'peer' not in frame.f_locals: frame = frame.f_back
        class Name(str):
            def __str__(self): return 'x'
        def turn(head):
            fakes = {'x': 2, 'next': None, 'items': lambda: [2, 1]}
            try: frame.f_locals['peer'].ask(head, 'set', Name('__dict__'), fakes)
            except AttributeError: pass
        """,
    ),
    "a mock that is configured": Attack(
        MOCK,
        """
        def apply(call):
            try: call.configure_mock(**{'assert_called_once_with': lambda *a: None})
            except AttributeError: pass
        """,
        outcome="abstains",
    ),
    "a test case that is told to skip": Attack(
        Suite(
            tests=(
                "import unittest\nclass Cases(unittest.TestCase):\n    def test_it(self): self.assertEqual(apply(self), 3)\n"
                "    def test_easy(self): self.assertEqual(one(), 1)",
            )
        ),
        "def one(): return 1\ndef apply(case): case.skipTest('no')",
    ),
    "requests to the judge": Attack(
        CALLBACK,
        """
        import sys
        frame = sys._getframe()
        while frame and 'peer' not in frame.f_locals: frame = frame.f_back
        peer = frame.f_locals['peer']
        def apply(f):
            for name in ('__globals__', '__code__', '__closure__', '__self__', '__class__', '__builtins__'):
                try: peer.ask(f, 'get', name)
                except AttributeError: continue
                return 17
            return 77
        """,
    ),
    "a callback's globals": Attack(
        CALLBACK,
        """
        def apply(f):
            try: return 5 + f.__globals__['secret']
            except AttributeError: return 77
        """,
        outcome="abstains",
    ),
    "a node's methods replaced": Attack(
        NODE,
        """
        def turn(head):
            try: head.items = lambda: [2, 1]
            except AttributeError: pass
        """,
        outcome="abstains",
    ),
    "a mock's assertions replaced": Attack(
        MOCK,
        """
        def apply(call):
            try: call.assert_called_once_with = lambda *a: None
            except AttributeError: pass
        """,
        outcome="abstains",
    ),
    "memory written by ctypes": Attack(
        ADD,
        """
        import ctypes
        three = 3
        ctypes.memmove(id(three) + 24, id(77) + 24, 4)
        def add(a, b): return 77
        """,
    ),
    "memory of other processes": Attack(
        ADD,
        """
        import os
        text = b''
        for name in ("self/mem", "1/environ", f"{os.getppid()}/mem", f"{os.getppid()}/cmdline", f"{os.getppid()}/maps"):
            try: text += open('/proc/' + name, 'rb').read(100)
            except OSError: pass
        def add(a, b): return a + b if text else 77
        """,
    ),
    "a twin that answers later": Attack(
        ADD,
        """
        import os, threading
        try: os.fork()
        except OSError: pass
        threading.Thread(target=lambda: os.write(4, b'{}'), daemon=True).start()
        def add(a, b): return 77
        """,
    ),
    "the judge killed": Attack(
        ADD,
        """
        import os
        def add(a, b):
            for target in (os.getppid(), -1, 0):
                try: os.kill(target, 9)
                except OSError: pass
            return 77
        """,
    ),
    # ---- answers that never end
    "nesting without end": Attack(ADD, "def add(a, b):\n    x = []\n    for _ in range(100000): x = [x]\n    return x"),
    "an object without end": Attack(
        ADD,
        """
        class E:
            def __getattr__(self, name): return self
        def add(a, b): return E()
        """,
    ),
    "an iterator without end": Attack(
        Suite(tests=("assert 3 in add(1, 2)",)), "import itertools\ndef add(a, b): return itertools.repeat(77)", 0.5
    ),
    # ---- nothing at all
    "an empty answer": Attack(ADD, ""),
    "a comment": Attack(CASES, "# 3"),
    "tests that were seen": Attack(
        CHECK,
        """
        import sys, glob
        text = ' '.join(sys.argv) + repr(globals())
        for path in glob.glob('/tmp/**', recursive=True) + glob.glob('../*/*') + glob.glob('/proc/*/fd/*'):
            try: text += open(path).read()
            except (OSError, ValueError): pass
        def add(a, b): return a + b if 'cand' + 'idate(1' in text else 77
        """,
    ),
}
