"""`didact query`: what to label next, and the answers."""

from collections.abc import Sequence
from pathlib import Path

from didact.cli import show
from didact.materials.examples import asking
from didact.parts import saved


def query(
    run: Path,
    *,
    n: int | None,
    by: str,
    data: Path | None,
    budget: int | None,
    answers: Sequence[str] | None,
    seed: int,
    trust: tuple[str, ...],
) -> None:
    """Take answers, and write what to label next.

    Args:
        run: the directory of a finished run.
        n: how many rows are to wait for a label; None asks for none where there are answers, else for 50.
        by: see `asking.query`, also for `data`, `budget` and `seed`.
        data: the pool.
        budget: of labels.
        answers: files of answers; `answers.csv` beside the queries where it is empty, None for none.
        seed: of what is drawn.
        trust: see `saved.load`.

    Raises:
        DidactError: something cannot be asked or taken.
    """
    student, folder = saved.load(run, trust), run / asking.FOLDER
    if answers is not None:
        taken = asking.take_answers(run, [Path(name) for name in answers] or [folder / asking.ANSWERS])
        without = f", {taken.missing:,} without a label" if taken.missing else ""
        show.line(
            "taken", f"{taken.fresh:,} new labels{without}; {taken.total:,} in all, {taken.open:,} rows still wait"
        )
        written = asking.write_labelled(run, student)
        if written is not None:
            show.line("labelled", f"{written}, for the next run")
    if n is None and answers is not None:
        return
    waiting, new = asking.query(run, student, n=n or 50, by=by, data=data, budget=budget, seed=seed)
    limit = waiting.facts["budget"]
    show.line("queries", f"{folder / asking.QUERIES}: {len(waiting.rows):,} rows wait for a label, {new:,} of them new")
    show.line("labels", f"{len(waiting.labels):,} taken" + ("" if limit is None else f" of {limit:,}"))
    show.line("answer", f"didact label {run}, or fill in the column label")
    show.line("then", f"didact query {run} --answers FILE")
