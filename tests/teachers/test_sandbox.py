"""An answer cannot get out, hang on, look in, or talk its judge round."""

import ast
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from didact.errors import ConfigError, TeacherError
from didact.teachers.verifiers import Sandbox, Strength, Suite, sandbox, strength
from didact.teachers.verifiers.jail import syscalls, walls, wire

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are Linux's")
strong = pytest.mark.skipif(not strength().strong, reason=f"{strength()}")
ADD = Suite(tests=("assert add(1, 2) == 3", "assert add(2, 2) == 4"))
GOOD = "def add(a, b):\n    return a + b\n"


def run(source, tests=ADD, **limits):
    return Sandbox(**{"seconds": 5, **limits}).run(textwrap.dedent(source), tests)


def says(expression, setup="", **limits):
    """What an expression gives inside, or the name of the exception; run in the answer's process."""
    body = f"""
        {setup}
        def report():
            try:
                return repr({expression})
            except BaseException as error:
                return type(error).__name__
        """
    outcome = run(body, Suite(tests=("print(report())\nraise KeyError(report())",)), **limits)
    assert outcome.graded and outcome.reason.startswith("KeyError: "), outcome
    return ast.literal_eval(outcome.reason.removeprefix("KeyError: "))


@strong
def test_right_and_wrong_answers():
    assert run(GOOD).passed == run(GOOD).total == 2
    assert run("def add(a, b):\n    return 3").passed == 1
    for wrong in ("", "def add(a, b", "raise ValueError", "def add(a, b):\n    raise ValueError", "add = 3"):
        outcome = run(wrong)
        assert outcome.graded and outcome.passed == 0 and outcome.total == 2


@strong
def test_the_forms_of_tests():
    check = "def check(candidate):\n    assert candidate([3, 1]) == [1, 3]"
    assert run("def f(x):\n    return sorted(x)", Suite(tests=(check,), entry_point="f")).passed == 1
    assert run("def f(x):\n    return x", Suite(tests=(check,), entry_point="f")).passed == 0
    functions = "from solution import add\ndef test_one():\n    assert add(1, 1) == 2\n"
    functions += "def test_two():\n    assert add(1, 1) == 3"
    outcome = run(GOOD, Suite(tests=(functions,)))
    assert outcome.tests == {"source 0: test_one": True, "source 0: test_two": False}
    cases = """
        import unittest
        class Cases(unittest.TestCase):
            def test_sum(self):
                self.assertEqual(add(1, 1), 2)
            def test_error(self):
                with self.assertRaises(TypeError):
                    add(1, "1")
            def test_wrong(self):
                self.assertEqual(add(1, 1), 3)
        """
    outcome = run(GOOD, Suite(tests=(textwrap.dedent(cases),)))
    assert (outcome.passed, outcome.total) == (2, 3) and not outcome.tests["source 0: Cases.test_wrong"]


@strong
def test_programs_read_and_write():
    cases = ({"input": "3\n4", "output": "7\n"}, {"input": "1\n1\n", "output": "2"})
    assert run("print(int(input()) + int(input()))", Suite(tests=cases)).passed == 2
    assert run("print(7)", Suite(tests=cases)).passed == 1
    exits = "import sys\nprint(sum(map(int, sys.stdin)))\nsys.exit(1)"
    assert run(exits, Suite(tests=cases)).passed == 2
    assert run("import os\nos._exit(0)", Suite(tests=cases)).passed == 0
    read = "data = open(0).read().split()\nif __name__ == '__main__': print(int(data[0]) + int(data[1]))"
    assert run(read, Suite(tests=cases)).passed == 2
    long = ({"input": "1 " * 500_000, "output": "500000"}, {"input": "2 " * 500_000, "output": "1000000"})
    assert run("print(sum(map(int, input().split())))", Suite(tests=long)).passed == 2
    assert run("print(500000)", Suite(tests=long)).passed == 1


@strong
def test_objects_generators_exceptions_and_arguments_in_place():
    source = """
        class Stack:
            def __init__(self): self.items = []
            def push(self, x): self.items.append(x); return self
            def pop(self): return self.items.pop()
            def __len__(self): return len(self.items)
            def __getitem__(self, i): return self.items[i]
        def up(n):
            yield from range(n)
        def sort(x): x.sort()
        def mixed(): return {"a": (1, 2.5, None), 3: {1, 2}, "b": [b"x", 1j, True, frozenset({4})]}
        N = 5
        """
    tests = (
        "s = Stack(); s.push(1).push(2)\nassert len(s) == 2 and s[0] == 1 and s.pop() == 2 and s.items == [1]",
        "assert list(up(3)) == [0, 1, 2] and sum(up(4)) == 6",
        "x = [3, 1, 2]; sort(x)\nassert x == [1, 2, 3]",
        "assert mixed() == {'a': (1, 2.5, None), 3: {1, 2}, 'b': [b'x', 1j, True, frozenset({4})]}",
        "assert N == 5 and math.isclose(N, 5.0)",
        "try:\n    Stack().pop()\nexcept IndexError:\n    pass\nelse:\n    raise AssertionError",
    )
    outcome = run(source, Suite(tests=tests))
    assert outcome.passed == outcome.total == 6, outcome


@strong
def test_broken_tests_are_the_tests_fault():
    for tests in (
        Suite(tests=("assert add(",)),
        Suite(tests=ADD.tests, setup="1 / 0"),
        Suite(tests=("import os; os._exit(0)",)),
    ):
        assert not run(GOOD, tests).graded


HANGS = {
    "loops": "def add(a, b):\n    while True: pass",
    "loops at once": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "ignores signals": """
        import signal, time
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: time.sleep(1)
        """,
    "waits at exit": "import atexit, time\natexit.register(lambda: time.sleep(1000))\nraise SystemExit",
}


@linux
@pytest.mark.parametrize("name", HANGS)
@strong
def test_what_hangs_is_ended_and_has_failed(name):
    start = time.monotonic()
    outcome = run(HANGS[name], seconds=1)
    assert outcome.graded and outcome.passed == 0
    assert time.monotonic() - start < 1 + sandbox.GRACE / 2


@strong
def test_a_memory_bomb_fails_alone():
    outcome = run("def add(a, b):\n    return a + b if len(bytearray(10**10)) else 0", megabytes=256)
    assert outcome.graded and outcome.passed == 0 and "MemoryError" in outcome.reason
    assert run("x = [0]\nwhile True: x = x * 2", megabytes=256).passed == 0


@strong
def test_huge_output_goes_nowhere():
    source = "def add(a, b):\n    for _ in range(300): print('x' * 100000)\n    return a + b"
    assert run(source).passed == 2
    flood = Suite(tests=({"input": "", "output": "x"},))
    assert run("while True: print('x' * 100000)", flood).passed == 0
    assert run("def add(a, b): return 'x' * (64 << 20)").passed == 0


@strong
def test_no_process_is_started():
    assert says("os.fork()", "import os") == "PermissionError"
    assert says("subprocess.run(['/bin/true'])", "import subprocess") in ("PermissionError", "BlockingIOError")
    assert says("os.execv('/bin/true', ['true'])", "import os") == "PermissionError"
    assert says("os.posix_spawn('/bin/true', ['true'], {})", "import os") == "PermissionError"
    assert says("os.setsid()", "import os") == "PermissionError"
    bomb = "import os\ndef add(a, b):\n    while True:\n        try: os.fork()\n        except OSError: return a + b"
    assert run(bomb).passed == 2
    program = Suite(tests=({"input": "", "output": "PermissionError"},))
    fork = "import os\ntry: os.fork()\nexcept OSError as error: print(type(error).__name__)"
    assert run(fork, program).passed == 1


@strong
def test_threads_work_and_do_not_outlive_the_answer():
    source = "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\n" + GOOD
    start = time.monotonic()
    assert run(source, seconds=10).passed == 2
    assert time.monotonic() - start < 8


@strong
def test_no_other_process_is_touched():
    for call in ("os.kill(os.getppid(), 9)", "os.kill(-1, 9)", "os.kill(os.getpid(), 0)", "os.killpg(0, 9)"):
        assert says(call, "import os") in ("PermissionError", "ProcessLookupError")
    assert says(f"os.kill({os.getpid()}, 9)", "import os") in ("PermissionError", "ProcessLookupError")
    assert says(f"resource.prlimit({os.getpid()}, 7)", "import resource") in ("PermissionError", "ProcessLookupError")
    raw = "ctypes.get_errno() if libc.kill(os.getppid(), 9) else 'killed'"
    assert says(raw, "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)") == "1"
    owner = "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())"
    assert says(owner, "import fcntl, os") == "PermissionError"


@strong
def test_no_socket_is_made():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert says(f"socket.create_connection({address!r}, 1)", "import socket") == "PermissionError"
        assert says("socket.socket(socket.AF_UNIX)", "import socket") == "PermissionError"
        assert says("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "import socket") == "PermissionError"
        raw = "ctypes.get_errno() if libc.syscall(41, 2, 1, 0) < 0 and libc.socket(2, 1, 0) < 0 else 'made'"
        assert says(raw, "import ctypes; libc = ctypes.CDLL(None, use_errno=True)") == "1"


@strong
def test_nothing_outside_is_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("42")
    paths = [str(secret), "/etc/passwd", "/proc/self/environ", "/proc/self/maps", "/proc/1/cmdline", "/etc/hostname"]
    for path in paths:
        assert says(f"open({path!r}).read()") in ("PermissionError", "FileNotFoundError")
    assert says(f"os.listdir({str(tmp_path)!r})", "import os") == "PermissionError"
    assert says("os.listdir(os.path.expanduser('~'))", "import os") in ("PermissionError", "FileNotFoundError")
    assert says("os.listdir('..')", "import os") == "PermissionError"
    linked = f"(os.symlink({str(secret)!r}, 'link'), open('link').read())"
    assert says(linked, "import os") == "PermissionError"
    assert says(f"os.link({str(secret)!r}, 'hard')", "import os") in ("PermissionError", "OSError")
    assert says("dict(os.environ).keys() - {'PYTHONHASHSEED', 'LC_CTYPE'}", "import os") == "set()"


@strong
def test_nothing_outside_is_changed(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("42")
    kept.chmod(0o666)
    tmp_path.chmod(0o777)
    before = kept.stat()
    path = str(kept)
    changes = [
        f"open({path!r}, 'w')",
        f"open({path!r}, 'a')",
        f"os.truncate({path!r}, 0)",
        f"os.close(os.open({path!r}, os.O_RDONLY | os.O_TRUNC))",
        f"os.remove({path!r})",
        f"os.rename({path!r}, 'mine')",
        f"os.chmod({path!r}, 0)",
        f"os.utime({path!r}, (0, 0))",
        f"os.chown({path!r}, 1, 1)",
        f"os.setxattr({path!r}, 'user.x', b'1')",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"os.mkdir({str(tmp_path / 'new')!r})",
        "open('/tmp/didact-test-outside', 'w')",
        "open('/dev/shm/didact-test-outside', 'w')",
        "open('../outside', 'w')",
    ]
    for change in changes:
        assert says(change, "import os") in ("PermissionError", "OSError", "FileNotFoundError"), change
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and kept.read_text() == "42"
    after = kept.stat()
    assert (before.st_mode, before.st_mtime, before.st_uid) == (after.st_mode, after.st_mtime, after.st_uid)
    assert not Path("/tmp/didact-test-outside").exists()


@strong
def test_the_working_directory_is_usable_bounded_and_removed():
    assert says("(open('x', 'w').write('abc'), open('x').read())") == "(3, 'abc')"
    found = Path(ast.literal_eval(says("os.getcwd()", "import os")))
    assert found.parent.name.startswith("didact-") and not found.parent.exists()
    assert says("open('x', 'wb').write(b'x' * (8 << 20))") == "OSError"


FILLS = {
    "files": "for i in itertools.count(): written += open(str(i), 'wb').write(b'x' * 1000000)",
    "files in a directory that can't be listed": "os.mkdir('d', 0o300)\n        for i in itertools.count(): "
    "written += open(f'd/{i}', 'wb').write(b'x' * 1000000)",
    "empty files": "for i in itertools.count(): open(str(i), 'wb').close(); made += 1",
    "directories": "for i in itertools.count(): os.mkdir('d' * i or 'e'); os.chdir('d' * i or 'e'); made += 1",
    "a file with holes": "f = open('x', 'wb'); f.seek(1 << 40); f.write(b'x'); f.flush(); written += 1 << 40",
}


@strong
@pytest.mark.parametrize("name", FILLS)
def test_the_disk_is_full_where_the_kernel_says_so(name):
    source = f"""
import itertools, os
def fill():
    written = made = 0
    try:
        {FILLS[name]}
    except OSError as error:
        return written, made, error.errno
"""
    outcome = run(source, Suite(tests=("raise KeyError(fill())",)), seconds=10)
    written, made, number = ast.literal_eval(outcome.reason.removeprefix("KeyError: "))
    if "disk" in strength().layers:
        # All of the disk can be used, but for what the files themselves take.
        assert (
            number in (errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG) and written <= walls.DISK and made < walls.ENTRIES
        )
        assert name != "files" or written >= walls.DISK - (2 << 20)
    else:
        assert (written, made, number) == (0, 0, errno.EACCES)


@strong
def test_nothing_is_written_where_the_disk_has_no_limit(tmp_path):
    script = """
import sys; sys.path.insert(0, sys.argv[1])
from jail import supervise, walls, wire
walls.leave = lambda: ["network"]
supervise.main()
"""
    known = {"program": False, "prelude": "", "prompt": "", "entry_point": None, "packages": {}, "weak": False}
    answer = {"source": "open('x', 'w')", "seconds": 5, "memory": 512 << 20, **known}
    asked = wire.frame(answer) + wire.frame({"tests": ["pass"], "setup": ""})
    command = [sys.executable, "-S", "-s", "-P", "-c", script, str(Path(walls.__file__).parents[1])]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=30, cwd=tmp_path)
    replied = wire.parse(done.stdout)
    assert not list(tmp_path.iterdir())
    assert replied["results"] == [["source 0", False, "PermissionError: [Errno 13] Permission denied"]]


@strong
def test_no_descriptor_is_inherited(tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        listing = "[fd for fd in range(64) if is_open(fd)]"
        setup = """
        import os
        def is_open(fd):
            try: os.fstat(fd); return True
            except OSError: return False
        """
        assert len(ast.literal_eval(says(listing, setup.strip()))) == 5  # /dev/null three times, and two ends of pipes


@strong
def test_no_privilege_is_left():
    setup = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)"
    assert says("os.setuid(0) or os.getuid()", setup) in ("PermissionError", "OSError", "0")
    assert says("os.chroot('.')", setup) == "PermissionError"
    assert says("libc.mount(b'none', b'/', b'tmpfs', 0, None)", setup) == "-1"
    assert says("libc.unshare(0x10000000)", setup) == "-1"
    assert says("libc.ptrace(16, os.getppid(), 0, 0)", setup) == "-1"
    assert says("libc.prctl(39, 0, 0, 0, 0)", setup) == "1"  # PR_GET_NO_NEW_PRIVS


@strong
def test_many_run_at_once_in_order_and_leave_nothing():
    before = threading.active_count()
    sources = [GOOD, "def add(a, b): return 3", "import os\nos._exit(0)", "while True: pass"] * 2
    outcomes = Sandbox(seconds=2, workers=4).map(sources, [ADD] * len(sources))
    assert [outcome.passed for outcome in outcomes] == [2, 1, 0, 0] * 2
    assert threading.active_count() == before


@linux
def test_the_nursery_is_replaced_when_it_dies():
    first = sandbox.nursery()
    first._process.kill()
    first._process.wait()
    assert Sandbox(weak=True).run(GOOD, ADD).passed == 2
    assert sandbox.nursery() is not first and sandbox.nursery().alive


def test_a_weak_sandbox_is_refused(monkeypatch):
    found = Strength(("limits", "landlock", "hook"))
    assert not found.strong and found.missing == ("seccomp",) and "seccomp missing" in str(found)
    monkeypatch.setattr(sandbox, "strength", lambda: found)
    with pytest.raises(TeacherError, match="python:weak"):
        Sandbox().run(GOOD, ADD)
    if not sys.platform.startswith("win"):
        assert Sandbox(weak=True).run(GOOD, ADD).passed == 2


def test_strength_is_said_in_a_sentence():
    assert str(strength()).startswith("The sandbox is ")
    names = ("limits", "landlock", "seccomp")
    assert "seccomp; solutions can't write files here." in str(Strength(names))
    assert str(Strength((*names, "network", "disk"))).endswith("seccomp, an empty network, a private disk.")


def test_limits_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="seconds"):
        Sandbox(seconds=0)
    with pytest.raises(ConfigError, match="megabytes"):
        Sandbox(megabytes=1)


@pytest.mark.parametrize(
    "tried",
    ["socket.socket()", "os.system('true')", "open('/tmp/didact-weak', 'w')", "os.kill(1, 0)", "os.remove('/x')"],
)
def test_the_fallback_hook_refuses(tried, tmp_path):
    script = f"""
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from jail import walls
walls.hook([os.getcwd()])
open("inside", "w").close()
try:
    {tried}
except PermissionError:
    print("refused")
"""
    jail = str(Path(sandbox.__file__).parent)
    command = [sys.executable, "-S", "-c", script, jail]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "refused\n"


@pytest.mark.parametrize(
    ("machine", "column", "header"),
    [
        ("x86_64", 0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", 1, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_the_numbers_of_system_calls_are_the_kernels(machine, column, header):
    if not Path(header).exists():
        pytest.skip("the kernel's headers are not installed")
    known = {}
    for line in Path(header).read_text().splitlines():
        words = line.replace("__NR3264_", "__NR_").split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith("__NR_") and words[2].isdigit():
            known.setdefault(words[1].removeprefix("__NR_"), int(words[2]))
    listed = {**syscalls.NUMBERS, **syscalls.ABSENT, **{rule[0]: rule[1] for rule in syscalls.RULES}}
    for name, numbers in listed.items():
        assert known.get(name) == numbers[column], name
    assert len(syscalls.program(machine, 1)) % 8 == 0


def test_the_filter_decides_as_the_table_says():
    """A slow reading of the program, instruction by instruction, as seccomp(2) describes it."""
    audit = 0xC000003E
    code = list(struct.iter_unpack("=HBBI", syscalls.program("x86_64", audit)))

    def verdict(number, *arguments, arch=audit):
        data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
        place, held = 0, 0
        while True:
            kind, yes, no, value = code[place]
            place += 1
            if kind == 0x20:
                held = struct.unpack_from("=I", data, value)[0]
            elif kind == 0x54:
                held &= value
            elif kind == 0x06:
                return value
            else:
                place += yes if (held == value if kind == 0x15 else held >= value) else no

    allowed, refused = 0x7FFF0000, 0x00050001
    assert verdict(0) == verdict(1) == verdict(9) == verdict(202) == allowed  # read, write, mmap, futex
    for numbers in syscalls.NUMBERS.values():
        assert verdict(numbers[0]) == refused
    assert verdict(56, 0x10000) == allowed and verdict(56, 17) == refused  # a thread, a process
    assert verdict(257, 0, 0, 0o1000) == refused and verdict(257, 0, 0, 0o1001) == allowed
    assert verdict(302, 0) == allowed and verdict(302, 77) == refused
    assert verdict(72, 0, 8) == refused and verdict(72, 0, 3) == allowed
    assert verdict(157, 1) == refused and verdict(157, 39) == allowed
    assert verdict(0, arch=0x40000003) == 0x80000000  # called as a 32-bit program
    assert verdict(435) == verdict(2**30) == verdict(999) == 0x00050026


def test_only_plain_data_goes_through_the_wire():
    def no(value):
        raise wire.NotPlainError(value)

    value = {"a": (1, 2.5, None), 3: {1, 2}, "b": [b"x", 1j, True, frozenset({4})], (1, 2): float("inf")}
    assert wire.unpack(json.loads(json.dumps(wire.pack(value, no))), no) == value
    with pytest.raises(wire.NotPlainError):
        wire.pack([object()], no)
    for message in ([], {"a": 1}, ["set", ["list"]], ["dict", 1], ["bytes", "xyz"], ["bytes"], [["list"]]):
        with pytest.raises((wire.WireError, wire.NotPlainError)):
            wire.unpack(message, no)
    with pytest.raises(wire.WireError):
        wire.parse(wire.frame([1])[:-1])
    assert wire.parse(wire.frame({"x": [1]})) == {"x": [1]}


@linux
def test_the_network_is_left_where_that_is_permitted():
    script = "import sys; sys.path.insert(0, sys.argv[1])\nfrom jail import walls\n" \
        "print('network' in walls.leave())\nprint(sum(1 for line in open('/proc/net/dev')) - 2)"  # fmt: skip
    command = [sys.executable, "-S", "-c", script, str(Path(walls.__file__).parents[1])]
    left, devices = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert ("network" in strength().layers) == (left == "True")
    if left == "True":
        assert int(devices) <= 1 or Path("/proc/sys/net/core/fb_tunnels_only_for_init_net").exists()


@strong
def test_a_program_that_goes_on_is_ended_with_all_that_it_started(monkeypatch):
    started = []

    def noted(descriptor, deadline, receive=sandbox.receive_within):
        reply = receive(descriptor, deadline)
        started.append(reply.get("group", 0))
        return reply

    monkeypatch.setattr(sandbox, "receive_within", noted)
    endless = "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\nprint(1)"
    assert run(endless, Suite(tests=({"input": "", "output": "1"},))).passed == 1
    assert run("while True: pass", Suite(tests=({"input": "", "output": ""},)), seconds=1).passed == 0
    assert len(list(filter(None, started))) == 2
    for group in filter(None, started):
        assert is_gone(group)


def is_gone(group):
    """Whether a group of processes ends within moments: the supervisor itself ends after its verdict."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@linux
@pytest.mark.parametrize("weak", [True, False])
@pytest.mark.parametrize("missing", ["_landlock", "seal"])
def test_the_weak_mode_runs_only_where_it_is_allowed(missing, weak, tmp_path):
    script = f"import sys; sys.path.insert(0, sys.argv[1])\nfrom jail import supervise, walls\nwalls.{missing} = "
    script += "lambda *a: False\nsupervise.main()"
    limits = {"seconds": 10, "memory": 512 << 20, "weak": weak, "packages": {}}
    limits |= {"prelude": "", "prompt": "", "entry_point": None}
    program = "try:\n    open('/tmp/didact-weak', 'w')\nexcept PermissionError:\n    print(input())"
    cases = [
        ({"source": GOOD, "program": False, **limits}, {"tests": list(ADD.tests), "setup": ""}, 2),
        ({"source": program, "program": True, **limits}, {"tests": [{"input": "7", "output": "7"}], "setup": ""}, 1),
    ]
    for answer, job, passes in cases:
        command = [sys.executable, "-S", "-c", script, str(Path(sandbox.__file__).parent)]
        done = subprocess.run(command, input=wire.frame(answer) + wire.frame(job), cwd=tmp_path, capture_output=True)
        verdict = wire.parse(done.stdout)
        passed = sum(passed for _, passed, _ in verdict.get("results", ()))
        assert passed == (passes if weak else 0), verdict
        assert answer["program"] or "hook" in verdict["layers"]
