import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import sources, worlds
from didact.curricula import LabelledMix, Uniform
from didact.errors import CheckpointError, ConfigError, DataError
from didact.sources import BatchSource
from didact.types import IGNORE, FeedbackSource, Stateful


def make(size):
    x = torch.arange(size * 2.0).view(size, 2)
    return sources.from_tensors(x, torch.arange(size) % 2)


def take(source, count):
    return list(itertools.islice(iter(source), count))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_every_example_comes_once_a_pass_with_its_own_label_and_id(size, data):
    examples = make(size)
    batch_size = data.draw(st.integers(1, size))
    source = BatchSource(examples, batch_size=batch_size, seed=data.draw(st.integers(0, 99)))
    rows = {i: (x, y) for i, x, y in zip(*(examples.tensors[k].tolist() for k in ("id", "x", "label")), strict=True)}
    batches = iter(source)
    for _ in range(2):
        one_pass = [next(batches) for _ in range(-(-size // batch_size))]
        assert sorted(torch.cat([b["id"] for b in one_pass]).tolist()) == sorted(rows)
        for batch in one_pass:
            batch.check()
            found = zip(*(batch[k].tolist() for k in ("id", "x", "label")), strict=True)
            assert all(rows[i] == (x, y) for i, x, y in found)
            assert torch.equal(examples.tensors["id"][batch["row"]], batch["id"])


def test_the_last_batch_of_a_pass_is_kept_or_dropped():
    kept = [batch.size for batch in take(BatchSource(make(10), batch_size=4), 6)]
    dropped = [batch.size for batch in take(BatchSource(make(10), batch_size=4, drop_last=True), 6)]
    assert kept == [4, 4, 2, 4, 4, 2]
    assert dropped == [4] * 6


OPTIONS = {
    "plain": {},
    "augmented": {"augment": "weak"},
    "views": {"views": {"a": "weak", "b": "strong"}},
    "both": {"views": {"a": "strong"}, "augment": "weak", "drop_last": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("before", [0, 1, 2, 3, 5])
def test_a_resumed_source_goes_on_to_the_bit(options, before):
    digits = worlds.load("digits").select(torch.arange(100))
    make_source = lambda seed: BatchSource(digits, batch_size=40, seed=seed, **OPTIONS[options])  # noqa: E731
    source = make_source(4)
    assert isinstance(source, Stateful)
    batches = iter(source)
    for _ in range(before):
        next(batches)
    state = source.state_dict()
    expected = [next(batches) for _ in range(7)]
    resumed = make_source(77)
    take(resumed, 2)
    resumed.load_state_dict(state)
    assert all(same(one, other) for one, other in zip(expected, take(resumed, 7), strict=True))


def test_a_labelled_mix_is_resumed_too():
    examples = sources.keep_labels(make(50), 10)
    labelled = examples.tensors["label"] != IGNORE
    one, other = (
        BatchSource(examples, batch_size=8, curriculum=LabelledMix(labelled, 0.5, seed=s), seed=s) for s in (1, 2)
    )
    take(one, 3)
    other.load_state_dict(one.state_dict())
    for a, b in zip(take(one, 9), take(other, 9), strict=True):
        assert same(a, b)
        assert (a["label"] != IGNORE).sum() == 4
    assert (one.label_count, one.epoch_size) == (10, 50)


def test_the_order_does_not_depend_on_the_augmentation():
    digits = worlds.load("digits")
    plain, viewed = (take(BatchSource(digits, batch_size=64, views=v), 3) for v in ({}, {"s": "strong"}))
    for a, b in zip(plain, viewed, strict=True):
        assert torch.equal(a["x"], b["x"])
        assert not torch.equal(b["x"], b["s.x"])
        assert torch.equal(b.view("s")["x"], b["s.x"])


def test_views_are_made_from_the_plain_inputs():
    digits = worlds.load("digits")
    alone = take(BatchSource(digits, batch_size=64, views={"s": "strong"}), 1)[0]
    beside = take(BatchSource(digits, batch_size=64, views={"s": "strong"}, augment="weak"), 1)[0]
    assert torch.equal(alone["s.x"], beside["s.x"])
    assert not torch.equal(alone["x"], beside["x"])


def test_views_of_text_have_masks_of_their_own(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"t": "a longer text of words", "y": 0}\n{"t": "a short old one", "y": 1}\n')
    source = BatchSource(sources.load(path), batch_size=2, views={"s": "strong"})
    batch = take(source, 1)[0]
    assert torch.equal(batch["input_ids"], batch["s.input_ids"])
    assert batch["s.attention_mask"].sum() < batch["attention_mask"].sum()


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    take(BatchSource(worlds.load("digits"), batch_size=32, views={"s": "strong"}, augment="weak"), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_do_not_share_memory_with_the_data():
    examples = make(10)
    before = examples.tensors["x"].clone()
    take(BatchSource(examples, batch_size=5), 1)[0]["x"].zero_()
    assert torch.equal(examples.tensors["x"], before)


@pytest.mark.parametrize("others", ["other rows", "another order"])
def test_a_stream_of_other_data_is_not_resumed(others):
    examples, batches = make(12), BatchSource(make(12), batch_size=4)
    changed = {"other rows": torch.arange(1, 13) % 12, "another order": torch.arange(11, -1, -1)}[others]
    other = examples.select(changed)
    if others == "other rows":
        other = other.with_tensors(id=torch.cat([torch.tensor([-1]), other.tensors["id"][1:]]))
    take(batches, 2)
    with pytest.raises(CheckpointError, match="of other examples than the 12 here"):
        BatchSource(other, batch_size=4).load_state_dict(batches.state_dict())


class Hearing(Uniform):
    """In order, and all ears."""

    uses_feedback = True

    def __init__(self, size):
        super().__init__(size)
        self.heard = []

    def update(self, index, progress):
        self.heard.append((index.tolist(), progress.tolist()))


def test_the_curriculum_is_told_how_its_examples_went():
    curriculum = Hearing(10)
    source = BatchSource(make(10), batch_size=4, curriculum=curriculum)
    assert isinstance(source, FeedbackSource) and source.uses_feedback
    assert not BatchSource(make(10), batch_size=4).uses_feedback
    batches, sent = iter(source), []
    for _ in range(4):
        batch = next(batches)
        losses = batch["x"][:, 0] / 3
        source.feedback(batch, {"total": losses, "label": losses + 1})
        sent.append(losses.tolist())
    # An example's x is twice its position.
    assert [(index, [round(i * 2 / 3, 4) for i in index]) for index, _ in curriculum.heard] == [
        (index, [round(loss, 4) for loss in losses]) for index, losses in curriculum.heard
    ]
    assert [losses for _, losses in curriculum.heard] == sent


def test_the_curriculum_hears_of_the_term_that_was_asked_for():
    curriculum = Hearing(10)
    source = BatchSource(make(10), batch_size=2, curriculum=curriculum, progress="label")
    batch = next(iter(source))
    source.feedback(batch, {"total": torch.zeros(2), "label": torch.tensor([3.0, 4.0])})
    assert curriculum.heard == [(batch["row"].tolist(), [3.0, 4.0])]
    with pytest.raises(ConfigError, match=r"progress is 'label', but the loss has no such term.*has total, teacher"):
        source.feedback(batch, {"total": torch.zeros(2), "teacher": torch.zeros(2)})


class Stateless:
    def sample(self, count):
        return torch.zeros(count, dtype=torch.int64)

    def update(self, index, progress):
        pass


class Unclear(Stateless):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, "batch_size is 11, but there are only 10 examples"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2, "augment": "week"}, "augment is 'week'"),
        ({"batch_size": 2, "views": {"a": "week"}}, "is 'week'"),
        ({"batch_size": 2, "views": {"a.b": "weak"}}, "views has the name 'a.b'"),
        ({"batch_size": 2, "curriculum": Stateless()}, "curriculum is a Stateless, which has no state_dict"),
        ({"batch_size": 2, "curriculum": Unclear()}, "curriculum is a Unclear, which does not say whether `update`"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BatchSource(make(10), **options)


def test_a_tensor_by_the_name_of_positions_is_refused():
    with pytest.raises(DataError, match="a tensor 'row'"):
        BatchSource(make(10).with_tensors(row=torch.arange(10)), batch_size=2)


def test_inputs_that_are_not_finite_are_refused():
    examples = make(10)
    x = examples.tensors["x"].clone()
    x[3, 1] = torch.nan
    with pytest.raises(DataError, match=r"not finite in row 4 of the examples; .* sources.fit_preprocessing"):
        BatchSource(examples.with_tensors(x=x), batch_size=2)
