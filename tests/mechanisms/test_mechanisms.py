"""Each mechanism is there where the truth is known, absent under its control, and fails when it is broken by hand."""

import math

import pytest

from didact import catalogue, mechanisms
from didact.cli import main
from didact.errors import ConfigError
from didact.mechanisms import breaking
from didact.mechanisms.checking import Found, above, below, mechanism

CHECKS = [(name, check) for name in mechanisms.names() for check in mechanisms.checks(name)]
IDS = [f"{name}-{check.__name__}" for name, check in CHECKS]
# That each check can fail is seen by the first way to break its method; the others are slow.
BREAKS = [
    pytest.param(name, check, how, id=f"{name}-{check.__name__}-{how}", marks=[pytest.mark.slow] if number else [])
    for name, check in CHECKS
    for number, how in enumerate(check.mechanism["breaks"])
]


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=IDS)
def test_the_mechanism_is_there_and_absent_under_its_control(name, check):
    """With one seed, unless the control needs the mean over all."""
    found = mechanisms.run(name, check, seeds=mechanisms.SEEDS[:1])
    found = found if found.passed else mechanisms.run(name, check)
    assert found.passed, found.words


@pytest.mark.slow
@pytest.mark.parametrize(("name", "check"), CHECKS, ids=IDS)
def test_the_mechanism_is_there_with_every_seed(name, check):
    found = mechanisms.run(name, check)
    assert found.passed, found.words


@pytest.mark.parametrize(("name", "check", "how"), BREAKS)
def test_the_check_fails_when_the_mechanism_is_broken(name, check, how):
    with breaking.broken(name, how):
        assert not mechanisms.run(name, check, seeds=mechanisms.SEEDS[:1]).passed


def test_checks_are_those_of_known_methods_and_are_read_without_running_them():
    assert set(mechanisms.names()) <= set(catalogue.names())
    for name in mechanisms.names():
        assert [one["name"] for one in mechanisms.described(name)] == [c.__name__ for c in mechanisms.checks(name)]
        for one, check in zip(mechanisms.described(name), mechanisms.checks(name), strict=True):
            assert {**check.mechanism, "name": check.__name__} == {**one, "breaks": tuple(one["breaks"])}
    assert mechanisms.described("unknown") == () and mechanisms.checks("unknown") == []


def judged(*pairs, predicted=(0.999, 1.001), null=(-0.2, 0.2)):
    """A check that finds these pairs of an effect and a control, one for each seed."""

    def check(seed):
        effect, control = pairs[seed]
        return Found(effect=effect, predicted=predicted, control=control, null=null)

    return mechanisms.run("distill", check, seeds=range(len(pairs))).passed


def test_the_effect_is_needed_with_every_seed_and_the_null_over_seeds():
    assert judged((1.0, 0.3), (1.0, -0.3), (1.0005, 0.1))
    assert not judged((1.0, 0.0), (0.9, 0.0), (1.0, 0.0))
    assert not judged((1.0, 0.3), (1.0, 0.3), (1.0, 0.1))
    assert not judged((math.nan, 0.0))
    assert not judged((1.0, math.nan))
    assert judged((5.0, 0.0), predicted=above(2.0)) and not judged((1.0, 0.0), predicted=above(2.0))
    assert judged((-5.0, 0.0), predicted=below(-2.0)) and not judged((-1.0, 0.0), predicted=below(-2.0))


def test_a_check_that_could_not_tell_right_from_wrong_is_refused():
    with pytest.raises(ConfigError, match="overlap; it could not tell right from wrong"):
        judged((1.0, 0.9), null=(0.5, 1.0))
    with pytest.raises(ConfigError, match="breaks is empty"):
        mechanism(world="w", effect="e", control="c", breaks=())


def test_what_is_broken_is_whole_again():
    from didact.methods.distillation import distill

    whole = distill.distillation_loss
    with pytest.raises(ZeroDivisionError), breaking.broken("distill", "flip distillation_loss"):
        assert distill.distillation_loss is not whole
        raise ZeroDivisionError
    assert distill.distillation_loss is whole
    for how, said in (("twist distillation_loss", "breaks is 'twist'"), ("flip nothing", "has no 'nothing'")):
        with pytest.raises(ConfigError, match=said), breaking.broken("distill", how):
            pass


def test_the_command_checks_and_shows(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(mechanisms, "names", lambda: ("distill",))
    assert main(["check", "distill", "supervised"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "distill ok high temperatures match logits: effect 0.99" in out
    assert "supervised has no check of its mechanism" in out
    with breaking.broken("distill", "flip distillation_loss"):
        assert main(["check", "distill"]) == 1
    assert "fail" in capsys.readouterr().out
    assert main(["show", "distill"]) == 0
    out = capsys.readouterr().out
    assert "formula  " in out and "effect   Squared, the temperature keeps" in out and "outcome  " in out
