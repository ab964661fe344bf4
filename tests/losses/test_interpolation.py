import pytest
import torch

from didact.errors import ConfigError
from didact.losses.tokens.interpolation import between
from didact.types import Head


@pytest.mark.parametrize("biases", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_scores_lie_between_those_of_student_and_teacher(biases, share):
    hidden, states = torch.randn(5, 3), torch.randn(5, 4)
    mine = Head(torch.randn(9, 3), torch.randn(9) if biases[0] else None, 0.5)
    theirs = Head(torch.randn(7, 4), torch.randn(7) if biases[1] else None, 2.0)
    found, head = between(hidden, mine, states, theirs, share)
    wanted = (1 - share) * mine(hidden)[:, :7] + share * theirs(states)
    assert torch.allclose(head(found), wanted, atol=1e-5)
    assert not found.requires_grad


def test_capped_scores_are_refused():
    head = Head(torch.randn(7, 3), softcap=30.0)
    with pytest.raises(ConfigError, match="softcap"):
        between(torch.randn(2, 3), head, torch.randn(2, 3), head, 0.5)
