"""Output of the commands about claims. Importing it does not import torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from didact.cli import show
from didact.documents import Values

if TYPE_CHECKING:
    from didact.claiming import Claim
    from didact.claims.result import Replication
    from didact.errors import DidactError
    from didact.mechanisms import Judged

FIRST_DESIGN = "first design, undecided by today's rules: no smallest effect was named before the seeds were seen"
_NAMED = 3
"""The number of changes that are named."""
_STYLES = {"better": "bold green", "equivalent": "bold yellow", "undecided": "bold yellow", "worse": "bold red"}


def print_outcome(found: "Replication | tuple[str, DidactError]") -> int:
    """Print a replicated claim, or the error that ended it; returns 1 for an error, else 0."""
    out = show.console()
    if isinstance(found, tuple):
        name, error = found
        out.print(Text.assemble((name, "bold cyan"), "  ", (str(error), "bold red")))
        return 1
    from didact.claims import result

    claim, seeds = found.claim, found.comparison.seeds
    tables, words = result.tables(found), result.sentence(found)
    out.print(Text.assemble((found.name, "bold cyan"), f"  {claim.statement}"))
    out.print()
    _arms(out, tables, claim.baseline, words, found.verdict)
    for spec, figures in found.teachers.items():
        out.print(Text(show.teacher_words(spec, figures), style="dim"))
    if found.works is not None:
        show.paragraph("works", _works_words(found.works, claim.method, claim.baseline, claim.ablation))
    if found.pilot:
        print_pilot(claim, found.pilot)
    show.paragraph("floor", found.floor.sentence())
    spent = found.budget["spent"][claim.method]
    show.line("budget", f"{spent:g} {claim.equal.replace('_', ' ')} for {claim.method} and {claim.baseline} alike")
    show.line("seeds", f"{', '.join(map(str, seeds))} on {found.world}")
    show.line("stored", str(found.stored or "no: these are not the claim's own seeds and world"))
    out.print()
    return 0


def print_pilot(claim: "Claim", found: Values) -> None:
    """Print what the tuning seeds of a claim said: the settings that they chose, and the seeds that it needs."""
    for arm, settings in found["chosen"].items():
        show.paragraph("chosen", f"{arm}: {', '.join(f'{name} {value}' for name, value in settings.items())}")
    most = max(found["spread"].values(), key=lambda one: one["seeds_needed"])
    words = f"with a spread of {most['sd']:.2g} as on the tuning seeds, {most['seeds_needed']} seeds find an effect of "
    words += f"{claim.smallest_effect:g} in 80% of cases; the claim's {len(claim.seeds)} do in {most['power']:.0%}"
    show.paragraph("power", words)


def print_tuning(claim: "Claim", name: str, found: "Values | DidactError") -> int:
    """Print what the tuning seeds of a method's claim said, or the error that ended them; returns 1 for an error."""
    if not isinstance(found, Mapping):
        return print_outcome((name, found))
    show.console().print(Text.assemble((name, "bold cyan"), f"  {claim.statement}"))
    print_pilot(claim, found)
    return 0


def _works_words(works: bool, method: str, baseline: str, ablation: str) -> str:
    others = baseline if baseline == ablation else f"{baseline} and {ablation}"
    return f"{'yes' if works else 'no'}: {method} is {'' if works else 'not '}better than {others}"


def print_checks(names: Sequence[str], found: Sequence[Sequence["Judged"]]) -> int:
    """Print whether the mechanism of each method is there, and absent under its control; returns 1 if one fails."""
    out = show.console()
    for name, checks in zip(names, found, strict=True):
        if not checks:
            out.print(Text.assemble((name, "cyan"), "  has no check of its mechanism"))
        for one in checks:
            mark = ("ok", "green") if one.passed else ("fail", "bold red")
            out.print(Text.assemble((name, "cyan"), "  ", mark, f"  {one.name.replace('_', ' ')}: {one.words}"))
    return int(any(not one.passed for checks in found for one in checks))


def print_evidence(entry: Values) -> None:
    """Print the evidence of a method or recipe in three parts: formula, mechanism and outcome."""
    show.console().print()
    show.paragraph("formula", entry["formula"] or "compared by the tests with a transcription of the paper")
    checks = entry["mechanism"] or ()
    if isinstance(checks, str):
        show.paragraph("effect", checks)
    for one in () if isinstance(checks, str) else checks:
        show.paragraph("effect", f"{one['effect']} World: {one['world']} Control: {one['control']}")
    if not checks:
        show.paragraph("effect", "the mechanism has no check yet")
    claim = entry["claim"]
    verdict = "no claim" if claim is None else claim["verdict"] or "not run yet"
    show.paragraph("outcome", FIRST_DESIGN if claim and claim["first_design"] else verdict)


def print_claim(entry: Values) -> None:
    """Print the claim of a method with the stored figures, if it has one."""
    name = entry["name"].replace("_", "-") if entry["family"] != "yours" else entry["module"]
    claim = entry["claim"]
    if claim is None:
        return
    out = show.console()
    out.print()
    out.print(Text.assemble(("Its claim: ", "bold"), claim["statement"]))
    out.print(Text(f"{claim['shows']} Not shown: {claim['omits']}", style="dim"))
    out.print()
    if claim["verdict"] is None:
        show.line("figures", f"none are stored yet: didact replicate {name}")
        return
    baseline = next(arm for arm, found in claim["arms"].items() if found["role"] == "baseline")
    _arms(out, claim["tables"], baseline, claim["sentence"], claim["verdict"])
    if claim["works"] is not None:
        roles = {found["role"]: arm for arm, found in claim["arms"].items()}
        ablation = roles.get("ablation", baseline)
        show.paragraph("works", _works_words(claim["works"], roles["method"], baseline, ablation))
    if claim["floor"]:
        show.paragraph("floor", claim["floor"]["sentence"])
    if claim["first_design"]:
        show.paragraph("design", FIRST_DESIGN)
    show.line("seeds", f"{', '.join(map(str, claim['seeds']))} on {claim['world']}")
    if not claim["fresh"]:
        show.paragraph("stale", f"{_changes(claim['changed'])} changed since; run it again: didact replicate {name}")


def _changes(changed: Sequence[str]) -> str:
    """What has changed since a claim was run, in a few words."""
    others = len(changed) - _NAMED
    return ", ".join(changed) if others <= 0 else f"{', '.join(changed[:_NAMED])} and {others} others"


def _arms(out: Console, tables: Sequence[list[dict[str, str]]], baseline: str, words: str, verdict: str) -> None:
    for rows in tables:
        out.print(show.arms(rows, baseline))
    out.print(Text.assemble((f"{verdict}: ", _STYLES.get(verdict, "bold")), words))
