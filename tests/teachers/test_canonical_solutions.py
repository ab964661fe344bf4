"""Every canonical solution of HumanEval and MBPP passes its tests, and an empty answer earns nothing from any of them.

The data are no part of didact: `DIDACT_CODE` names a directory that holds `HumanEval.jsonl.gz` and `mbpp.jsonl`, as the
two benchmarks publish them.
"""

import gzip
import json
import os
from pathlib import Path

import pytest

from didact.teachers.verifiers import PythonVerifier, Sandbox, strength
from didact.types import Question

PLACE = Path(os.environ.get("DIDACT_CODE", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DIDACT_CODE" not in os.environ, reason="DIDACT_CODE names no directory with the benchmarks"),
    pytest.mark.skipif(not strength().strong, reason=f"{strength()}"),
    pytest.mark.filterwarnings("ignore:The verifier:RuntimeWarning"),
]


def human_eval():
    """Questions, and what their answers are: what stands behind the prompt, and the whole."""
    with gzip.open(PLACE / "HumanEval.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    data = [{"tests": row["test"], "entry_point": row["entry_point"]} for row in rows]
    questions = [Question(id=k, prompt=rows[k]["prompt"], data=data[k]) for k in range(len(rows))]
    return questions, [row["canonical_solution"] for row in rows], [row["prompt"] for row in rows]


def mbpp():
    """Questions and their answers."""
    rows = [json.loads(line) for line in (PLACE / "mbpp.jsonl").read_text().splitlines()]
    data = [{"tests": row["test_list"] + row["challenge_test_list"], "setup": row["test_setup_code"]} for row in rows]
    questions = [Question(id=k, prompt=rows[k]["text"], data=data[k]) for k in range(len(rows))]
    return questions, [row["code"] for row in rows]


def judged(questions, answers):
    """What each answer is worth, None where the verifier abstains."""
    reward = PythonVerifier(sandbox=Sandbox(seconds=30)).verify(answers, questions)
    return [value if trust else None for value, trust in zip(reward.value.tolist(), reward.trust.tolist(), strict=True)]


def others(questions, worth, wanted):
    """The questions that were judged otherwise, with what they were said to be worth."""
    return {question.id: value for question, value in zip(questions, worth, strict=True) if value != wanted}


def test_human_eval():
    questions, rest, prompts = human_eval()
    assert len(questions) == 164
    assert others(questions, judged(questions, rest), 1) == {}
    whole = [f"Here it is:\n```python\n{prompt}{code}\n```" for prompt, code in zip(prompts, rest, strict=True)]
    assert others(questions, judged(questions, whole), 1) == {}
    assert others(questions, judged(questions, [""] * 164), 0) == {}
    assert others(questions, judged(questions, ["    return None\n"] * 164), 0) == {}


def test_mbpp():
    questions, answers = mbpp()
    assert len(questions) == 974
    assert others(questions, judged(questions, answers), 1) == {}
    assert others(questions, judged(questions, [""] * 974), 0) == {}
