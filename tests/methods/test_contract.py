"""What every method must do: one matrix over all that the catalogue finds, whatever it is fed."""

import contextlib
import copy
import dataclasses
import itertools
import math
import typing

import pytest
import torch
from torch import nn

import didact
from contract import LEARNER, NAMES, SAMPLING, material, of, one_of_each, ready, same, settings, taught
from didact import catalogue, worlds
from didact.errors import ConfigError
from didact.experiment.material import Objects, Run
from didact.experiment.preparing import accepts
from didact.loop import OptimizerConfig, Validation, engine
from didact.materials.examples.source import train_of
from didact.parts.models import build_causal
from didact.types import Method, RolloutFeed
from in_order import InOrder
from small_questions import questions
from tiny_language import save_model

FRACTIONS = {"examples": (0.25, 0.75), "questions": (0.5,)}
"""Shares of the budget at which a method is looked at."""


def shares_of(name: str):
    """The shares of the budget up to each; only the last, when all is learned that ever is, is not slow."""
    shares = FRACTIONS[material(name)]
    for last in range(1, len(shares)):
        yield pytest.param(name, shares[:last], id=f"{name}-{shares[last - 1]}", marks=pytest.mark.slow)
    yield pytest.param(name, shares, id=name)


SHARES = [case for name in NAMES for case in shares_of(name)]
STOPPED, STEPS = 4, 5
"""After how many steps a run is stopped, with batches in its queue, and how many there are in all."""


def overfit(method: Method, batch, fraction: float, steps: int) -> list[float]:
    """The losses on one batch, met again and again."""
    optimizer = OptimizerConfig(lr=3e-3, schedule="constant").build(method.parameters())
    losses = []
    for step in range(steps):
        method.step, method.fraction = step, fraction
        terms = method.loss(batch)
        losses.append(terms.total().item())
        terms.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    return losses


def telling(prepared: Run):
    """A batch with a loss: an untrained model agrees with itself on nothing in some, where votes are counted."""
    first = next(batches := iter(prepared.source))
    found = itertools.islice(batches, 200) if isinstance(prepared.method.feed, RolloutFeed) else ()
    return next(
        (batch for batch in itertools.chain((first,), found) if prepared.method.loss(batch).total().item()), first
    )


@pytest.mark.parametrize(("name", "shares"), SHARES)
def test_it_lowers_its_own_loss(name, shares):
    *before, fraction = shares
    prepared = ready(name)
    batch = telling(prepared)
    torch.manual_seed(0)
    losses = overfit(prepared.method, batch, fraction, 12)
    if not any(losses):
        # It learns so late only what it found at the beginning of the run, which it then has to see.
        for earlier in before:
            overfit(prepared.method, batch, earlier, 24)
        losses = overfit(prepared.method, batch, fraction, 12)
    assert all(map(math.isfinite, losses))
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize(("name", "shares"), SHARES)
def test_two_halves_equal_one_whole(name, shares):
    whole_batches = "its batches cannot be cut, and the loop refuses to"
    if catalogue.find(name).method_type.feed.coupled:
        pytest.skip(whole_batches)
    prepared = ready(name)
    method, batch = prepared.method, next(iter(prepared.source))
    if type(method).counts is Method.counts:
        pytest.skip(whole_batches)

    def total(seed):
        torch.manual_seed(seed)
        return copy.deepcopy(method).loss(batch).total().item()

    method.fraction = shares[-1]
    if total(0) != total(1):
        pytest.skip("it draws at random, for a half otherwise than for the whole")
    gradients = []
    for size in (batch.size, batch.size // 2):
        one = copy.deepcopy(method)
        counts, found = one.counts(batch), {}
        for part in batch.split(size):
            terms = one.loss(part)
            terms.backward(counts)
            for term, value in terms.items():
                found[term] = found.get(term, 0.0) + float(value.count)
        assert found == pytest.approx({term: float(counts[term]) for term in found}, rel=1e-5)
        gradients.append([p.grad for p in one.parameters()])
    for whole, halves in zip(*gradients, strict=True):
        assert (whole is None) == (halves is None)
        if whole is not None:
            torch.testing.assert_close(halves, whole, rtol=1e-3, atol=1e-5 * (1 + whole.abs().max().item()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_runs_and_stays_finite(name):
    prepared = ready(name)
    result = taught(prepared, precision="bfloat16")
    assert all(math.isfinite(record["loss/total"]) for record in result.history if "loss/total" in record)
    for parameter in prepared.method.parameters():
        assert torch.isfinite(parameter).all()
        assert parameter.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_its_config_refuses_nonsense(name):
    info = catalogue.find(name)
    hints = typing.get_type_hints(info.config_type)
    words = {option.name: option.help for option in info.options}
    for field in dataclasses.fields(info.config_type):
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        if not kinds & {int, float} or "any number" in words[field.name]:
            continue
        several = typing.get_origin(hints[field.name]) is tuple
        for nonsense in (math.nan, -1_000_000_000):
            with pytest.raises(ConfigError, match=field.name):
                info.config_type(**{field.name: (nonsense,) if several else nonsense})


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
    """Two steps for each round of completions, where the method lets one choose."""
    return {"updates": 2} if any(option.name == "updates" for option in catalogue.find(name).options) else {}


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(name, tmp_path, monkeypatch):
    """So the same seed gives the same weights, too: what goes on was put together anew."""

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

    def in_order(compute, _teachers):
        with InOrder():
            return compute(), 0

    stopped: list[bool] = []
    # The first steps of a stage are those whose operations are counted, for which other tests are.
    monkeypatch.setattr(engine, "count_flops", in_order)
    calm, whole = go()
    monkeypatch.setattr(engine, "count_flops", lambda compute, _teachers: (compute(), 0))
    # Evaluated at the beginning and after every other step; what is kept last is the step before it stops.
    every = {"run": tmp_path / "run", "checkpoint_every": STOPPED - 1}
    _, first = go(**every, validation=Validation(stop), evaluate_every=STOPPED // 2)
    hunted, rest = go(**every, resume=True)
    assert len(first) == STOPPED
    assert len(rest) == STEPS - STOPPED + 1
    assert same([*first[:-1], *rest], whole)
    assert same(hunted.method.state_dict(), calm.method.state_dict())
    assert same(hunted.source.state_dict(), calm.source.state_dict())
    if several(name):
        assert first[0]["version"].unique().tolist() == first[1]["version"].unique().tolist() == [0]
        assert whole[-1]["version"].unique().tolist() == [STEPS - 1]


# ---- examples


class Own(nn.Module):
    """A user's own net: none of didact's parts in it, and its answer in a mapping."""

    def __init__(self, shape, width, outputs):
        super().__init__()
        channels = shape[0] if len(shape) == 3 else 1
        layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        size = width * (shape[1] // 2) * (shape[2] // 2) if len(shape) == 3 else math.prod(shape)
        self.body = nn.Sequential(*(layers if len(shape) == 3 else [nn.Identity()]))
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(size, 4 * width), nn.LayerNorm(4 * width), nn.ReLU())
        self.deeper = nn.Identity()
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, x):
        return {"logits": self.head(self.deeper(self.features(self.body(x))))}


class OwnMap(nn.Module):
    """A user's own net for masks: scores of each pixel, in a mapping."""

    def __init__(self, shape, width, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        return {"out": self.head(self.body(x))}


class Deeper(Own):
    """The same with a layer more before the head."""

    def __init__(self, shape, outputs, width=3):
        super().__init__(shape, width, outputs)
        self.deeper = nn.Sequential(nn.Linear(4 * width, 4 * width), nn.ReLU())


# autodistil cuts didact's own transformers down, and refuses other modules.
@pytest.mark.parametrize("name", one_of_each(name for name in of("examples") if name != "autodistil"))
def test_it_works_with_ones_own_module_and_tensors(name):
    given = settings(name)
    if "bag:" in str(given["student"]):
        pytest.skip("it needs a net over bags, and refuses other modules")
    examples = worlds.load(str(given["data"]))
    if examples.modality == "text":
        pytest.skip("a module of one's own that reads text is a tokenizer of one's own, too")
    torch.manual_seed(0)
    outputs = len(examples.classes) or 1
    kind = OwnMap if examples.task == "segmentation" else Own
    own = {part: kind(examples.shape, width, outputs) for part, width in (("student", 3), ("teacher", 5))}
    built_in = str(given.get("teacher", "")).partition(":")[0] in ("mlp", "cnn", "cnn1d", "transformer")
    if not (accepts(catalogue.find(name), "teacher") and built_in):
        own.pop("teacher")
    changes = {part: f"<{type(module).__name__}>" for part, module in own.items()}
    if "exits" in given:
        changes["exits"] = f"{__name__}:{Deeper.__name__}"
    data = dataclasses.replace(examples, tensors=dict(examples.tensors), name="one's own")
    prepared = ready(name, objects=Objects(data=data, **own), **changes)
    # A student that is frozen is delivered with what was trained before it.
    trained = {id(parameter) for parameter in prepared.method.parameters() if parameter.requires_grad}
    frozen = trained.isdisjoint(map(id, own["student"].parameters()))
    changed = prepared.method.delivered if frozen else own["student"]
    before = copy.deepcopy(changed.state_dict())
    taught(prepared)
    after = changed.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    answer = prepared.method.delivered(train_of(prepared).batch(slice(0, 5))).logits
    count = 5 * (math.prod(examples.shape[1:]) if kind is OwnMap else 1)
    assert answer.shape == (count, outputs)
    assert torch.isfinite(answer).all()


# ---- questions


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A user's own model in the format of Hugging Face, with a tokenizer of its own."""
    path = tmp_path_factory.mktemp("llama")
    save_model(path, num_hidden_layers=1)
    return build_causal(f"hf:{path}")


@pytest.mark.parametrize("name", one_of_each(of("questions")))
def test_it_works_with_ones_own_hugging_face_model(name, llama):
    own, teacher = copy.deepcopy(llama), copy.deepcopy(llama)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with torch.no_grad():
        teacher.head.weight.mul_(1.1)
    result = taught(ready(name, student=own, teacher=teacher, steps=2))
    assert all(math.isfinite(record["loss/total"]) for record in result.history if "loss/total" in record)
    moved = any(not torch.equal(before[key], value) for key, value in own.state_dict().items())
    # Votes of an untrained model agree on nothing, by which nothing is to be learned.
    assert moved == any(record["grad_norm"] > 0 for record in result.history if "grad_norm" in record)
    assert moved or name == "co_reward"


def mean(history, figure, steps):
    found = [record[figure] for record in history if figure in record]
    return sum(found[steps]) / len(found[steps])


# Where a teacher speaks too, the untrained one of this matrix pulls the other way.
REWARDED = [
    name
    for name in of("questions")
    if catalogue.find(name).feed.get("rewards") == "verifier" and not accepts(catalogue.find(name), "teacher")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REWARDED)
def test_its_rewards_rise(name):
    # With the weight decay that the bound was found with; by default language methods have none.
    steps = 60 if name == "clip_cov" else 30  # tokens that are clipped teach nothing
    history = taught(ready(name, steps=steps, batch_size=32, weight_decay=0.01)).history
    assert mean(history, "watched/reward", slice(-6, None)) > mean(history, "watched/reward", slice(6)) + 0.1


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
