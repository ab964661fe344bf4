"""Whole runs of each material, with what they train first, survive being killed at random moments, to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = [pytest.param(name, 12, marks=pytest.mark.slow) for name in ("taught", "average", "completions", "rollouts")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kills"), [("examples", 3), *SLOW])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_left_alone(name, kills):
    driver = Path(__file__).with_name("killed_runs.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), name, str(kills)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"
