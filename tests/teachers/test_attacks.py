"""No answer is paid that is not right, whatever it does to its judge."""

from pathlib import Path

import pytest

from answer_attacks import ATTACKS
from didact.teachers.verifiers import PythonVerifier, Sandbox, strength
from didact.types import Question

pytestmark = pytest.mark.skipif(not strength().strong, reason=f"{strength()}")
GUIDE = Path(__file__).parents[2] / "docs/guides/sandbox.md"


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.filterwarnings("ignore:The verifier:RuntimeWarning")
def test_what_is_wrong_is_not_paid(name):
    attack = ATTACKS[name]
    data = {"tests": list(attack.tests.tests), "setup": attack.tests.setup, "entry_point": attack.tests.entry_point}
    verifier = PythonVerifier(sandbox=Sandbox(seconds=attack.seconds))
    reward = verifier.verify([attack.source], [Question(id=0, prompt="", data=data)])
    assert reward.value.item() == 0
    assert ("0" if reward.trust.item() else "abstains") == attack.outcome


def test_the_guide_lists_every_attack():
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in GUIDE.read_text().splitlines()
            if line.startswith("| ")}  # fmt: skip
    assert {name: attack.outcome for name, attack in ATTACKS.items()}.items() <= rows.items()
    assert len(ATTACKS) >= 40
