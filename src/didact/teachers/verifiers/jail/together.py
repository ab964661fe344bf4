"""The second run of a solution, in one process with its tests, as benchmarks do.

A solution can tamper with tests in the same process, so a pass here proves nothing. This run is used only for tests
that failed in the first run, maybe because of the pipe between the processes.
"""

import sys

from . import layouts, solution, wire


def grade(answer: wire.Message, job: wire.Message) -> wire.Message:
    """Run the tests in the namespace of the solution.

    Args:
        answer: its source and prompt.
        job: the tests.

    Returns:
        The `results` of the tests.
    """
    module = layouts.new_module("solution")
    try:
        prepared = solution.run_setup(job["setup"], module)
        solution.run_answer(answer, module)
        module.__dict__["candidate"] = module.__dict__.get(job["entry_point"])
        if not prepared and (words := layouts.prepare(layouts.Source(job["setup"], -1), module.__dict__)):
            return {"results": [], "reason": words}
    except BaseException as error:
        return {"results": [], "reason": type(error).__name__}
    sys.modules["__main__"] = module
    module.__dict__["__name__"] = "__main__"
    results = []
    for place, text in enumerate(job["tests"]):
        results += layouts.run(layouts.Source(text, place), module.__dict__, job["entry_point"])
    return {"results": results}
