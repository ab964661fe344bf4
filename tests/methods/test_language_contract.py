"""What every method for language models must do, one matrix over all that the catalogue finds.

Each learns from the same few questions with decoders of one block, whatever it is taught with: answers, pairs, or
attempts that are made while it learns. What a method's claim sets for it is kept. Nothing here knows any method by
name.
"""

import contextlib
import copy
import itertools
import math
from functools import cache

import pytest
import torch

import didact
from conftest import quiet_fit
from didact import catalogue
from didact.experiment import running
from didact.experiment.material import Run
from didact.experiment.preparing import accepts, prepare
from didact.loop import OptimizerConfig, Validation
from didact.loop.checkpoint import read_checkpoint, save_checkpoint
from didact.parts.models import build_causal
from didact.types import Method, RolloutFeed
from in_order import InOrder
from small_questions import questions
from tiny_language import save_model

NAMES = tuple(name for name in catalogue.names() if catalogue.find(name).method_type.feed.material != "examples")
LEARNER, TEACHER = "decoder:1x16:64", "decoder:1x32:64"
SAMPLING = {"max_new_tokens": 4, "samples": 4}
STOPPED, STEPS = 4, 7
"""After how many steps a run is stopped, with batches in its queue, and how many there are in all."""


def kind(name: str) -> type[Method]:
    return catalogue.find(name).method_type


@cache
def options(name: str) -> tuple[tuple[str, object], ...]:
    """The method's own options, as its claim sets them."""
    info = catalogue.find(name)
    if info.claim is None:
        return ()
    arm = info.claim.arms[info.claim.method]
    own = {option.name for option in info.options}
    given = {} if isinstance(arm, str) else dict(arm)
    return tuple((key, value) for key, value in {**info.claim.settings, **given}.items() if key in own)


def ready(name: str, *, learner=LEARNER, teacher=TEACHER, **changes) -> Run:
    """A run of a method before its first step."""
    values = {"steps": 3, "batch_size": 16, "sampling": SAMPLING, "lr": 1e-2, "schedule": "constant", "seed": 0}
    values |= {"validation": 0.1, "test": 0.1, **dict(options(name)), **changes}
    given = {"data": questions(), "student": learner}
    if accepts(catalogue.find(name), "teacher"):
        given["teacher"] = teacher
    config, objects = running.split_arguments(None, method=name, **given, **values)
    return prepare(config, objects, teach=False)


def taught(prepared: Run, **settings):
    """The result of some steps."""
    settings = {"device": "cpu", "precision": "float32", "monitors": [], "log_every": 1} | settings
    result = quiet_fit(
        prepared.method,
        prepared.source,
        budget=prepared.config.budget,
        optimizer=prepared.config.optimizer,
        seed=prepared.config.seed,
        **settings,
    )
    assert result.status == "done", result.reason
    return result


def tensors(state, prefix=""):
    """The tensors of a nested state by their place."""
    if isinstance(state, torch.Tensor):
        return {prefix: state.clone()}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {key: value for name, part in items for key, value in tensors(part, f"{prefix}/{name}").items()}


def same(first, second) -> bool:
    first, second = tensors(first), tensors(second)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def mean(history, figure, steps):
    found = [record[figure] for record in history if figure in record]
    return sum(found[steps]) / len(found[steps])


@pytest.mark.parametrize("name", NAMES)
def test_it_lowers_its_own_loss(name):
    prepared = ready(name)
    method = prepared.method
    first = next(batches := iter(prepared.source))
    # An untrained model agrees with itself on nothing in some batches, where a method that counts votes has no loss.
    found = itertools.islice(batches, 200) if isinstance(method.feed, RolloutFeed) else ()
    batch = next((batch for batch in (first, *found) if method.loss(batch).total().item()), first)
    torch.manual_seed(0)
    optimizer = OptimizerConfig(lr=3e-3, schedule="constant").build(method.parameters())
    losses = []
    for step in range(16):
        method.step, method.fraction = step, 0.5
        terms = method.loss(batch)
        losses.append(terms.total().item())
        terms.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    assert all(map(math.isfinite, losses))
    assert sum(losses[-4:]) < sum(losses[:4])


# Where a teacher speaks too, the untrained one of this matrix pulls the other way.
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in NAMES
        if getattr(kind(n).feed, "judged", None) == "verifier" and not accepts(catalogue.find(n), "teacher")
    ],
)
def test_its_rewards_rise(name):
    result = taught(ready(name, steps=30, batch_size=32))
    assert (
        mean(result.history, "watched/reward", slice(-6, None)) > mean(result.history, "watched/reward", slice(6)) + 0.1
    )


@pytest.mark.parametrize("name", NAMES)
def test_its_state_survives_saving_and_loading(name, tmp_path):
    first = ready(name)
    taught(first)
    save_checkpoint(tmp_path / "checkpoint", first.method.state_dict())
    second = ready(name, seed=5, split_seed=0).method
    before = second.state_dict()
    assert not same(first.method.state_dict(), before)
    second.load_state_dict(read_checkpoint(tmp_path / "checkpoint"))
    assert same(first.method.state_dict(), second.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_equal_one_whole(name):
    prepared = ready(name)
    method, batch = prepared.method, next(iter(prepared.source))
    if method.feed.coupled or type(method).counts is Method.counts:
        pytest.skip("its batches cannot be cut, and the loop refuses to")
    found = []
    for size in (batch.size, batch.size // 2):
        one = copy.deepcopy(method)
        counts, figures = one.counts(batch), {}
        torch.manual_seed(0)
        for part in batch.split(size):
            terms = one.loss(part)
            terms.backward(counts)
            for term, value in terms.items():
                figures[term] = figures.get(term, 0.0) + float(value.count)
        assert figures == pytest.approx({term: float(counts[term]) for term in figures})
        found.append([p.grad for p in one.parameters()])
    for whole, halves in zip(*found, strict=True):
        assert (whole is None) == (halves is None)
        if whole is not None:
            torch.testing.assert_close(halves, whole, rtol=1e-3, atol=1e-5 * (1 + whole.abs().max().item()))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    found = []
    for seed in (0, 0, 1):
        prepared = ready(name, seed=seed)
        with contextlib.nullcontext() if found else InOrder():
            taught(prepared)
        found.append(prepared.method.state_dict())
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_runs_and_stays_finite(name):
    prepared = ready(name)
    result = taught(prepared, precision="bfloat16")
    assert all(math.isfinite(record["loss/total"]) for record in result.history if "loss/total" in record)
    for parameter in prepared.method.parameters():
        assert torch.isfinite(parameter).all()
        assert parameter.dtype == torch.float32


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A user's own model in the format of Hugging Face, with a tokenizer of its own."""
    path = tmp_path_factory.mktemp("llama")
    save_model(path, num_hidden_layers=1)
    return f"hf:{path}"


@pytest.mark.parametrize("name", NAMES)
def test_it_works_with_ones_own_hugging_face_model(name, llama):
    own = build_causal(llama)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    prepared = ready(name, learner=own, teacher=build_causal(llama), steps=2)
    result = taught(prepared)
    assert all(math.isfinite(record["loss/total"]) for record in result.history if "loss/total" in record)
    assert any(not torch.equal(before[key], value) for key, value in own.state_dict().items())


class StoppedError(Exception):
    """What ends a run before its time."""


def watched(prepared: Run):
    """The batches that a run learns from, as they come."""
    seen, loss = [], prepared.method.loss

    def noted(batch):
        seen.append({key: tensor.clone() for key, tensor in batch.items()})
        return loss(batch)

    prepared.method.loss = noted
    return seen


def several(name: str) -> dict[str, int]:
    """Two steps for each round of attempts, where the method lets one choose."""
    return {"updates": 2} if any(option.name == "updates" for option in catalogue.find(name).options) else {}


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(name, tmp_path):
    def go(**settings):
        prepared = ready(name, steps=STEPS, **several(name))
        seen = watched(prepared)
        with contextlib.suppress(StoppedError):
            taught(prepared, **settings)
        return prepared, seen

    def stop(_learner):
        if len(stopped) < 2:
            stopped.append(True)
            return {"accuracy": 0.0}
        raise StoppedError

    stopped: list[bool] = []
    calm, whole = go()
    # Judged at the beginning and after every other step; what is kept last is the step before it stops.
    _, first = go(run=tmp_path / "run", checkpoint_every=1, validation=Validation(stop), evaluate_every=STOPPED // 2)
    hunted, rest = go(run=tmp_path / "run", checkpoint_every=1, resume=True)
    assert len(first) == STOPPED
    assert len(rest) == STEPS - STOPPED + 1
    assert same([*first[:-1], *rest], whole)
    assert same(hunted.method.state_dict(), calm.method.state_dict())
    assert same(hunted.source.state_dict(), calm.source.state_dict())
    if several(name):
        assert first[0]["version"].unique().tolist() == first[1]["version"].unique().tolist() == [0]
        assert whole[-1]["version"].unique().tolist() == [STEPS - 1]


@pytest.mark.parametrize("name", ["grpo", "dpo"])
def test_a_run_with_a_directory_is_held_to_the_same_reference_when_it_goes_on(name, tmp_path):
    """The reference is the learner at its beginning, after it was trained here; it is in no checkpoint."""
    own = {"grpo": {"kl": 0.5, "updates": 2}, "dpo": {"beta": 0.5}}[name]
    given = {"method": name, "data": questions(), "student": f"warm:4:{LEARNER}", "steps": 5, "batch_size": 16}
    given |= {"sampling": SAMPLING, "lr": 1e-2, "checkpoint_every": 1, "seed": 0, "progress": False, **own}
    calm = didact.run(**given, directory=tmp_path / "calm")
    began = catalogue.find(name).method_type.after_step

    def tired(method):
        if method.step == 3:
            raise StoppedError
        began(method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue.find(name).method_type, "after_step", tired)
        with pytest.raises(StoppedError):
            didact.run(**given, directory=tmp_path / "hunted")
    hunted = didact.resume(tmp_path / "hunted", data=questions(), progress=False)
    assert same(hunted.learner.state_dict(), calm.learner.state_dict())
    assert hunted.metrics == calm.metrics
    assert hunted.cost.sampled_tokens == calm.cost.sampled_tokens
