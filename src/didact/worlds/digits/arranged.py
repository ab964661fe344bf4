"""The real digits arranged into other problems: bags, and a stream of tasks."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Examples
from didact.worlds._chance import uniform
from didact.worlds.digits.plain import digits

BAG = 7
"""Images per bag, K: about half of the bags then have none of a class with a tenth of the images."""
WITNESS = 9
"""The digit that makes a bag positive."""
_POOL, _ROUNDS = 28, 4


@functools.cache
def bags() -> Examples:
    """Tell whether there is a 9 among seven digits, given bags of images with one label each.

    Real: the images, and what they show; see `digits`.

    Simulated: the bags, after Ilse, Tomczak and Welling (2018), "Attention-based deep multiple instance learning", but
    all of one size. The images are shuffled into 64 pools of 28 (5 stay out); each pool is shuffled 4 times and cut
    into bags of 7, which makes 1,024 bags. A bag's `group` is its pool: bags that share an image share a pool, and
    splits keep pools together.

    Known: a bag is positive where at least one `instance_label` is 9, which is so for about half of the bags; a perfect
    classifier of single images is a perfect one of bags. The modality is `table`, as the built-in nets for images take
    one image, not several; `mlp` takes the seven side by side.

    Returns:
        `x` float32 [1024, 7, 1, 8, 8] in [0, 1], `label` int64 [1024] (1 with a 9), `id` int64 [1024] from the images'
        ids, `group` int64 [1024], `instance_label` int64 [1024, 7] (the digits), `instance_id` int64 [1024, 7].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    ids = plain.tensors["id"]
    pools = hashing.keyed_hash(ids, 0, "digits_bags: pools").argsort()[: plain.size // _POOL * _POOL].view(-1, _POOL)
    order = uniform(ids[pools].flatten(), _ROUNDS, 0, "digits_bags: bags").view(-1, _POOL, _ROUNDS).argsort(1)
    shuffled = pools.gather(1, order.transpose(1, 2).flatten(1))
    members = shuffled.view(-1, BAG)
    instances = {name: tensor[members] for name, tensor in plain.tensors.items()}
    return dataclasses.replace(
        plain,
        tensors={
            "x": instances["x"],
            "label": (instances["label"] == WITNESS).any(1).long(),
            "id": hashing.of_rows(instances["id"]),
            "group": torch.arange(len(pools)).repeat_interleave(_POOL * _ROUNDS // BAG),
            "instance_label": instances["label"],
            "instance_id": instances["id"],
        },
        modality="table",
        classes=(f"without a {WITNESS}", f"with a {WITNESS}"),
        name="digits:bags",
    )


@functools.cache
def stream() -> Examples:
    """Learn the digits in five tasks that come one after another: 0 and 1, 2 and 3, and so on.

    Real: the images and their labels; see `digits`.

    Simulated: the order, that of split MNIST (Zenke, Poole and Ganguli 2017, "Continual learning through synaptic
    intelligence"). The examples are sorted by `task_id`, and in random order within a task. Training on all of them at
    once ignores the stream, and is the usual upper bound.

    Known: task t has the classes 2t and 2t + 1, and 354 to 364 images. A learner that finally knows the last task
    alone gets about a fifth of all images right.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797] in 0 to 9, `task_id` int64 [1797] in 0 to 4, `id`
        int64 [1797], that of `digits`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    shuffled = plain.select(hashing.keyed_hash(plain.tensors["id"], 0, "digits_stream").argsort())
    task = shuffled.tensors["label"] // 2
    in_order = shuffled.with_tensors(task_id=task).select(task.argsort(stable=True))
    return dataclasses.replace(in_order, name="digits:stream")
