"""Layouts of tests: how they are found and run."""

import ast
import builtins
import contextlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

Names = dict[str, Any]
"""The contents of a namespace."""
Result = tuple[str, bool, str]
"""The name of a test, whether it passed, and the reason if it failed."""
Test = Callable[[], object]


_IMPORTS = (ast.Import, ast.ImportFrom)


class BrokenTestsError(Exception):
    """The tests can't be run, whatever the solution."""


class SkippedTestError(Exception):
    """A test that is skipped."""


class Source:
    """A source of tests, or their setup.

    Args:
        text: Python, or text with doctest examples.
        place: the number of the source; -1 for the setup.
    """

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.name = f"source {place}"
        self.examples = False
        try:
            self.tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if ">>>" not in text:
                raise BrokenTestsError(f"the tests are no Python: {error}") from None
            self.examples = True
            import doctest

            examples = "\n".join(example.source for example in doctest.DocTestParser().get_examples(text))
            self.tree = ast.parse(examples)
        self.code = compile(self.tree, "tests", "exec")

    @cached_property
    def names(self) -> set[str]:
        """All names in the source."""
        found = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)}
        return found | attributes | {name.rpartition(".")[2] for name in self.imported}

    @cached_property
    def compares_identity(self) -> bool:
        """Whether it asks by `is` for more than None, True and False."""
        compared = [node for node in ast.walk(self.tree) if isinstance(node, ast.Compare)]
        asked = [pair for node in compared for pair in zip(node.ops, node.comparators, strict=True)]
        return any(isinstance(op, ast.Is | ast.IsNot) and not isinstance(item, ast.Constant) for op, item in asked)

    @cached_property
    def defined(self) -> set[str]:
        """The names that the source defines, and those of attributes."""
        nodes = list(ast.walk(self.tree))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        named = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        aliases = {alias.asname or alias.name for node in nodes if isinstance(node, _IMPORTS) for alias in node.names}
        return stored | named | attributes | aliases | {node.arg for node in nodes if isinstance(node, ast.arg)}

    @cached_property
    def imported(self) -> set[str]:
        """The modules that the source imports, and the names that it imports from modules."""
        nodes = list(ast.walk(self.tree))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        parts = {
            f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        return modules | parts


def new_module(name: str) -> types.ModuleType:
    """Create a module that others can import."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def check_imports(sources: Sequence[Source]) -> None:
    """Raise `BrokenTestsError` if a source imports a module that is not available."""
    for node in (node for source in sources for node in source.tree.body):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in (module.partition(".")[0] for module in modules):
            if name != "solution" and importlib.util.find_spec(name) is None:
                raise BrokenTestsError(f"the tests need {name}, which the sandbox does not have")


def prepare(setup: Source, namespace: Names) -> str:
    """Run the setup. Return the error if the solution may have caused it, else an empty string.

    Raises:
        BrokenTestsError: it failed without using the solution.
    """
    own = set(namespace) | set(dir(builtins)) | setup.defined
    try:
        exec(setup.code, namespace)
    except BaseException as error:
        if setup.names - own or setup.names & _answers(namespace):
            return _words(error)
        raise BrokenTestsError(f"the setup of the tests raised {_words(error)}") from None
    return ""


def _answers(namespace: Names) -> set[str]:
    """The names that the solution defines."""
    return {name for name, value in namespace.items() if getattr(value, "__module__", "") not in ("__main__", None)}


def run(source: Source, namespace: Names, entry_point: str | None) -> Iterator[Result]:
    """Run a source and the tests in it; if there are none, the source itself is the test."""
    if source.examples:
        yield _result(source.name, lambda: _doctest(source.text, source.name, namespace))
        return
    with _runners(source):
        if _needs_pytest(source):
            yield from _pytest(source, namespace)
            return
        before = dict(namespace)
        whole = _result(source.name, lambda: exec(source.code, namespace))
        if not whole[1]:
            yield whole
            return
        new = {name: value for name, value in namespace.items() if before.get(name) is not value}
        count = 0
        for name, test in _found(new, namespace, entry_point):
            count += 1
            with contextlib.suppress(SkippedTestError):
                yield _result(f"{source.name}: {name}", test)
        if not count:
            yield whole


def _result(name: str, test: Test) -> Result:
    try:
        test()
    except SkippedTestError:
        raise
    except BaseException as error:
        # An exit of the tests; one of the solution is an `AnswerExit`.
        if type(error) is not SystemExit or error.code not in (None, 0):
            return name, False, _words(error)
    return name, True, ""


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception"


@contextlib.contextmanager
def _runners(source: Source) -> Iterator[None]:
    """Turn off `unittest.main`, since the tests are found and run here."""
    if "unittest" not in source.names:
        yield
        return
    import unittest

    own = unittest.main
    unittest.main = lambda *_, **__: None
    try:
        yield
    finally:
        unittest.main = own


def _found(new: Names, namespace: Names, entry_point: str | None) -> Iterator[tuple[str, Test]]:
    """The tests that a source defines."""
    check = new.get("check")
    if isinstance(check, types.FunctionType) and entry_point:
        yield "check", lambda: check(namespace[entry_point])
    for name, value in new.items():
        if isinstance(value, types.FunctionType) and name.startswith("test") and value.__module__ == "__main__":
            yield name, _called(value)
        if isinstance(value, type):
            yield from _methods(name, value)
        if ">>>" in (words := _documentation(name, value)):
            yield f"{name}'s examples", lambda words=words, name=name: _doctest(words, name, namespace)


def _documentation(name: str, value: object) -> str:
    own = isinstance(value, types.FunctionType | type) and value.__module__ == "__main__"
    words = value if name == "__doc__" else value.__doc__ if own else None
    return words if isinstance(words, str) else ""


def _called(test: Callable[..., object]) -> Test:
    def run_test() -> None:
        if isinstance(waiting := test(), types.CoroutineType):
            import asyncio

            asyncio.run(waiting)

    return run_test


def _methods(name: str, kind: type) -> Iterator[tuple[str, Test]]:
    """The tests of a class: a unittest case, or a plain class with a name that starts with Test."""
    case = getattr(sys.modules.get("unittest"), "TestCase", None)
    if case and issubclass(kind, case):
        for test in sys.modules["unittest"].TestLoader().loadTestsFromTestCase(kind):
            yield f"{name}.{test._testMethodName}", lambda test=test: _case(test)
    elif name.startswith("Test") and kind.__module__ == "__main__":
        for method in dir(kind):
            if method.startswith("test") and callable(getattr(kind, method)):
                yield f"{name}.{method}", lambda method=method: _method(kind, method)


def _method(kind: type, name: str) -> None:
    """Run a test of a plain class, with its setup and teardown."""

    def around(*names: str) -> None:
        for each in names:
            if hasattr(it, each):
                getattr(it, each)()

    it = kind()
    around("setup_class", "setUpClass", "setup_method", "setUp", "setup")
    try:
        _called(getattr(it, name))()
    finally:
        around("teardown_method", "tearDown", "teardown", "teardown_class", "tearDownClass")


def _case(test: Any) -> None:
    """Run a unittest case, with the setup of its class."""
    import unittest

    result = unittest.TestResult()
    unittest.TestSuite([test]).run(result)
    if wrong := [*result.errors, *result.failures]:
        raise AssertionError(str(wrong[0][1]).strip().splitlines()[-1])
    if result.unexpectedSuccesses:
        raise AssertionError("it passed, and should have failed")
    if result.skipped:
        raise SkippedTestError


def _doctest(text: str, name: str, namespace: Names) -> None:
    import doctest

    test = doctest.DocTestParser().get_doctest(text, namespace, name, None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    test.globs = namespace
    if runner.run(test, out=lambda _: None, clear_globs=False).failed:
        raise AssertionError("an example gave something else")


def _needs_pytest(source: Source) -> bool:
    """Whether a source imports pytest, or has a test with fixtures."""
    if "pytest" in {name.partition(".")[0] for name in source.imported}:
        return True
    tests = [node for node in source.tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    return any(len(test.args.args) > len(test.args.defaults) for test in tests)


def _pytest(source: Source, namespace: Names) -> Iterator[Result]:
    """Run a source with pytest. The names of the namespace are added to the builtins."""
    import tempfile

    try:
        import pytest
    except ImportError as error:
        raise BrokenTestsError(f"the tests need pytest: {error}") from None
    for name, value in namespace.items():
        if not hasattr(builtins, name):
            setattr(builtins, name, value)
    place = tempfile.tempdir = os.path.abspath("../tests")  # noqa: PTH100 - pathlib is slow to import
    path = os.path.join(place, f"test_{source.name.replace(' ', '_')}.py")  # noqa: PTH118 - pathlib is slow to import
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(source.text)
    except OSError as error:
        raise BrokenTestsError(f"pytest needs a file, but the sandbox can't write one here: {error}") from None
    reports = _Reports()
    where = [f"--rootdir={place}", f"--confcutdir={place}", "-c", os.devnull]
    options = [*where, "-q", "--import-mode=importlib", "--capture=sys"]
    ended = pytest.main([*options, "-p", "no:cacheprovider", "-p", "no:faulthandler", path], plugins=[reports])
    if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise BrokenTestsError("pytest could not run")
    for name, words in reports.found.items():
        yield f"{source.name}: {name}", not words, words
    if not reports.found and reports.errors:
        yield source.name, False, reports.errors[0]


class _Reports:
    """A pytest plugin that keeps the result of each test."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.errors: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep whether a test, its setup and its teardown passed."""
        name = report.nodeid.partition("::")[2]
        if report.when == "call" and report.passed:
            self.found.setdefault(name, "")
        if report.failed:
            self.found[name] = report.longreprtext.strip().splitlines()[-1][:300] or "failed"

    def pytest_collectreport(self, report: Any) -> None:
        """Keep the reason why a source could not be collected."""
        if report.failed:
            self.errors.append(report.longreprtext.strip().splitlines()[-1][:300])
