"""Coresets of open sets: the rounds of the authors' queues, edits, and the method's stages."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from didact import worlds
from didact.curricula.acquisition import edit_similarity, feature_similarity, nearest_coreset, target_centroids
from didact.errors import ConfigError
from didact.learners import ModuleLearner
from didact.methods.self_supervised.open_set_coreset import Config, OpenSetCoreset
from didact.types import IGNORE, Batch, Examples


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def queues(similarity, count, stop, patience):
    """`greedy` of util/sampling.py in sungnyun/openssl-simcore; the picks of each round, the last one uncut."""
    queue_list = [deque(np.argsort(-similarity[:, k], kind="stable").tolist()) for k in range(similarity.shape[1])]
    taken, rounds, number, threshold = set(), [], 1, 0.0
    while len(taken) < count:
        picks, value = set(), 0.0
        for k, queue in enumerate(queue_list):
            while (row := queue.popleft()) in taken:
                pass
            picks.add(row)
            value += similarity[row, k] / similarity.shape[1]
        if number == patience:
            threshold = value * stop
        number += 1
        if value < threshold:
            break
        rounds.append(picks)
        taken |= picks
    return rounds


@pytest.mark.parametrize(("count", "stop", "patience"), [(20, 0.0, 1), (33, 0.0, 1), (90, 0.8, 2), (90, 0.95, 5)])
def test_the_coreset_is_that_of_the_authors_queues(count, stop, patience):
    """As theirs are centroids, rounds, the stop and its defaults, the projection head and the temperature, too.

    Their 100 clusters and 20 rounds of patience are many where rows are few.
    """
    similarity = normal(120, 7).abs()
    found = nearest_coreset(similarity, count, generator(), stop=stop, patience=patience).tolist()
    rounds = queues(similarity.double().numpy(), count, stop, patience)
    whole = set().union(*rounds[:-1])
    assert len(found) == len(set(found)) <= count
    assert set(found[: len(whole)]) == whole
    assert set(found[len(whole) :]) <= rounds[-1]
    assert len(found) == min(count, len(whole) + len(rounds[-1]))
    assert stop == 0.0 or len(found) < count


def test_no_more_is_taken_than_there_is_and_nothing_that_is_unlike():
    assert sorted(nearest_coreset(normal(9, 3).abs(), 50, generator(), stop=0.0).tolist()) == list(range(9))
    assert nearest_coreset(-torch.ones(9, 3), 5, generator()).tolist() == []
    assert nearest_coreset(normal(9, 3), 0, generator()).tolist() == []


def test_centroids_are_the_means_of_directions():
    x = torch.cat([normal(20, 2, seed=1) * 0.05 + torch.tensor([3.0, 0.0]), torch.tensor([[0.0, 2.0]]).expand(10, 2)])
    found = target_centroids(x, 2, generator())
    unit = x[:20].double().numpy()
    mean = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).mean(0)
    expected = {tuple(np.round(one / np.linalg.norm(one), 4)) for one in (mean, np.array([0.0, 1.0]))}
    assert {tuple(np.round(one, 4)) for one in found.double().numpy()} == expected
    torch.testing.assert_close(target_centroids(x, 30, generator()), nn.functional.normalize(x, dim=1))
    cosines = feature_similarity(x, x[:20], 0, generator())
    assert cosines.shape == (30, 20) and cosines.diagonal().tolist() == pytest.approx([1.0] * 20)


def edits(one, other):
    """Levenshtein's table."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    table[:, 0], table[0] = range(len(one) + 1), range(len(other) + 1)
    for i in range(len(one)):
        for j in range(len(other)):
            replaced = table[i, j] + (one[i] != other[j])
            table[i + 1, j + 1] = min(replaced, table[i, j + 1] + 1, table[i + 1, j] + 1)
    return table[-1, -1]


def test_edits_are_those_of_a_table_for_each_pair():
    texts, others = ("kitten", "", "ndizi", "a", "maji ya moto"), ("sitting", "ndrovi", "", "maji", "mwadzi", "kitten")
    found = edit_similarity(texts, others)
    for i, one in enumerate(texts):
        for j, other in enumerate(others):
            expected = 1.0 - edits(one, other) / max(len(one), len(other), 1)
            assert float(found[i, j]) == pytest.approx(expected)
    assert edit_similarity(texts, ()).shape == (5, 0)


def test_the_closest_words_are_of_the_related_language():
    """The mechanism of the recipe: most of what is chosen is of one language in four; not so at random."""
    examples = worlds.load("languages:related")
    train = examples.select(examples.tensors["split"] == 0)

    def related(choose):
        learner = ModuleLearner(nn.Linear(5, 4), inputs=("input_ids",))
        config = Config(distance="edit", learn="labels", stop=0.7, stop_round=1, share=0.2, choose=choose)
        rows = OpenSetCoreset(config, learner, train).coreset()
        return float((train.tensors["language"][rows] == 1).double().mean())

    assert related("nearest") > 0.8
    assert related("random") == pytest.approx(0.25, abs=0.07)


# ---- the method


def examples(count=60, **more):
    domain = (torch.arange(count) >= 20).long()
    label = torch.where(domain == 0, torch.arange(count) % 3, IGNORE)
    tensors = {"x": normal(count, 6), "label": label, "id": torch.arange(count), "domain": domain, **more}
    return Examples(tensors=tensors, task="classification", modality="table", classes=("a", "b", "c"))


def learner(seed=1):
    torch.manual_seed(seed)
    return ModuleLearner(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))


def method(**options):
    return OpenSetCoreset(Config(clusters=4, stop=0.0, share=0.25, **options), learner(), examples(), seed=3)


def test_the_stages_pass_over_the_target_then_the_coreset_then_the_labels():
    one = method(target_share=0.25, coreset_share=0.5)
    seen = []
    for fraction in (0.0, 0.2, 0.3, 0.7, 0.8, 1.0):
        one.fraction = fraction
        one.after_step()
        seen.append(one.curriculum.rows.tolist())
    target = list(range(20))
    assert seen[0] == seen[1] == seen[4] == seen[5] == target
    assert seen[2] == seen[3] and sorted(seen[2])[:20] == target and len(seen[2]) == 30
    assert one.stage.value == 2


@pytest.mark.parametrize(("choose", "count"), [("nearest", 10), ("random", 10), ("all", 40), ("none", 0)])
def test_as_many_rows_are_chosen_as_are_wanted_and_none_of_the_target(choose, count):
    rows = method(choose=choose).coreset()
    assert len(rows) == rows.unique().numel() == count
    assert not len(rows) or int(rows.min()) >= 20


def test_without_a_domain_the_target_has_the_labels():
    data = examples()
    data = Examples(
        tensors={name: tensor for name, tensor in data.tensors.items() if name != "domain"},
        task="classification",
        modality="table",
        classes=data.classes,
    )
    assert OpenSetCoreset(Config(), learner(), data).target.tolist() == [True] * 20 + [False] * 40


def test_first_views_are_contrasted_and_last_labels_are_learned():
    one, x = method(temperature=0.5), normal(4, 6, seed=7)
    views = {"first.x": x, "second.x": x + 0.1}
    batch = Batch({"x": x, "label": torch.tensor([0, 1, 2, IGNORE]), "id": torch.arange(4), **views})
    projected = [one.projection(one.learner(batch.view(name)).hidden).double() for name in ("first", "second")]
    rows = torch.cat([nn.functional.normalize(view, dim=1) for view in projected]).detach().numpy()
    scores = np.exp(rows @ rows.T / 0.5)
    expected = np.mean([-np.log(scores[i, (i + 4) % 8] / (scores[i].sum() - scores[i, i])) for i in range(8)])
    assert one.loss(batch).total().item() == pytest.approx(expected, rel=1e-5)
    one.stage.value = 2
    log_probs = one.learner(batch).logits.detach().log_softmax(1)
    expected = -sum(log_probs[i, i] for i in range(3)) / 3
    assert one.loss(batch).total().item() == pytest.approx(float(expected), rel=1e-5)
    assert set(method(learn="labels").loss(batch)) == {"label"}


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ConfigError, match="Of 60 rows 60 are the target, of which 20 have a label; give some"):
        OpenSetCoreset(Config(), learner(), examples(domain=torch.zeros(60, dtype=torch.int64)))
    with pytest.raises(ConfigError, match="distance is 'edit', which compares texts, and these data are none"):
        method(distance="edit")
    with pytest.raises(ConfigError, match="no linear head"):
        OpenSetCoreset(Config(), ModuleLearner(nn.Conv1d(6, 3, 1)), examples())


# ---- the worlds


def test_the_open_set_of_letters_has_few_of_the_target_and_none_of_the_test():
    tensors = worlds.load("characters:open_set").tensors
    held_out = tensors["split"] > 0
    assert not bool((held_out & (tensors["domain"] == 1)).any())
    assert torch.equal(tensors["label"] >= 0, tensors["domain"] == 0)
    assert not set(tensors["group"][held_out].tolist()) & set(tensors["group"][~held_out].tolist())
    open_set = tensors["kind"][tensors["domain"] == 1]
    assert float((open_set == 0).double().mean()) == pytest.approx(0.1, abs=0.02)
    scrambled, letters = (tensors["x"][tensors["kind"] == kind][:1000].flatten(1) for kind in (2, 1))
    torch.testing.assert_close(scrambled.sort(1).values, letters.sort(1).values)


def test_related_languages_share_a_table_and_others_do_not():
    from didact.worlds.languages import MARKERS, VOWELS, table

    data = worlds.load("languages:related")
    label, language = data.tensors["label"].tolist(), data.tensors["language"].tolist()
    tables = [table(number).tolist() for number in range(5)]
    for text, mine, number in zip(data.texts, label, language, strict=True):
        assert mine == tables[number][VOWELS.index(text[2])][MARKERS.index(text[4])]
    same = [float((table(0) == table(number)).double().mean()) for number in range(1, 5)]
    assert same[0] == 1.0 and max(same[1:]) < 0.5
    assert not bool((data.tensors["split"][data.tensors["domain"] == 1] > 0).any())
