"""Streams of tasks, for learners that must not forget."""

import torch

from didact.errors import ConfigError, DataError, check_range
from didact.types import Examples


def split_tasks(examples: Examples, *, classes: int | None = None) -> tuple[Examples, ...]:
    """Cut examples into tasks that come one after the other, such as the sources of `Phases`.

    Args:
        examples: N of them; `task_id` int64 [N], where they have it, says to which task each belongs.
        classes: how many classes each task has, in the order of their numbers, in place of `task_id`; the last may have
            fewer. Examples without a label belong to no task, and are left out.

    Returns:
        One set of examples for each task, by its number; all keep the names of all classes.

    Raises:
        ConfigError: classes for a regression, or out of range.
        DataError: nothing says which task an example belongs to, or all belong to one.
    """
    if classes is None and "task_id" not in examples.tensors:
        raise DataError(
            f"{examples.name or 'The data'} have no tensor task_id; give it, or say how many classes a task has."
        )
    if classes is not None:
        check_range("classes", classes, at_least=1)
        if examples.task != "classification":
            raise ConfigError(
                f"classes is {classes}, but a {examples.task} has none; give the examples a tensor task_id."
            )
        task = torch.div(examples.tensors["label"], classes, rounding_mode="floor")
        examples, task = examples.select(task >= 0), task[task >= 0]
    else:
        task = examples.tensors["task_id"]
    numbers = task.unique().tolist()
    if len(numbers) < 2:
        raise DataError(f"All {examples.size} examples belong to one task, of which no stream can be made.")
    return tuple(examples.select(task == number) for number in numbers)
