"""Acquisition functions against slow transcriptions in NumPy, and what they refuse."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from didact.curricula import acquisition
from didact.curricula.acquisition import Seen, choose
from didact.curricula.acquisition.covering import MOST_CLUSTERS, Nearest
from didact.curricula.acquisition.rounding import level, pivotal, spread
from didact.errors import ConfigError

NAMES = [*acquisition.choosing.Ask.__args__]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def probabilities(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def entropy_of(chances):
    return -sum(p * math.log(p) for p in chances if p > 0)


# ---- uncertainty


def test_scores_of_uncertainty_are_those_of_a_loop_over_rows():
    logits = normal(30, 5) * 3
    rows = probabilities(logits.double().numpy())
    ordered = np.sort(rows, axis=1)
    for score, expected in (
        (acquisition.least_confidence(logits), [1 - row.max() for row in rows]),
        (acquisition.margin(logits), [1 - (row[-1] - row[-2]) for row in ordered]),
        (acquisition.entropy(logits), [entropy_of(row) for row in rows]),
    ):
        np.testing.assert_allclose(score.numpy(), expected, atol=1e-6)


def test_bald_is_the_mutual_information_of_member_and_label():
    logits = normal(4, 12, 3, seed=1) * 2
    members = probabilities(logits.double().numpy())
    expected = []
    for row in range(12):
        joint = members[:, row] / 4
        of_label, of_member = joint.sum(0), joint.sum(1)
        cells = itertools.product(range(4), range(3))
        expected.append(sum(joint[m, c] * math.log(joint[m, c] / (of_member[m] * of_label[c])) for m, c in cells))
    np.testing.assert_allclose(acquisition.bald(logits).numpy(), expected, atol=1e-6)
    torch.testing.assert_close(acquisition.bald(logits[:1].expand(4, -1, -1)), torch.zeros(12), atol=1e-6, rtol=0)


def test_disagreement_is_that_of_jensen_and_shannon():
    one, other = normal(9, 4, seed=2), normal(9, 4, seed=3)
    p, q = (probabilities(x.double().numpy()) for x in (one, other))
    middle = (p + q) / 2
    expected = ((p * np.log(p / middle)).sum(1) + (q * np.log(q / middle)).sum(1)) / 2
    np.testing.assert_allclose(acquisition.disagreement(one, other).numpy(), expected, atol=1e-6)


def test_a_certain_student_is_scored_too():
    logits = torch.tensor([[0.0, -torch.inf, -torch.inf], [0.0, 0.0, -torch.inf]])
    torch.testing.assert_close(acquisition.entropy(logits), torch.tensor([0.0, math.log(2)]))


# ---- covering


def farthest_first(x, known, chosen):
    """How far each chosen row is from all known ones, and the farthest of all rows: with all distances, every time."""
    centres = list(np.flatnonzero(known))
    for row in chosen:
        from_mean = np.linalg.norm(x - x.mean(0), axis=1)
        distance = np.min([np.linalg.norm(x - x[one], axis=1) for one in centres], axis=0) if centres else from_mean
        yield distance[row], distance.max()
        centres.append(row)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("labelled", [0, 7])
def test_k_center_is_the_farthest_row_each_time(clustered, labelled):
    x = normal(150, 6)
    if clustered:
        x = 9 * normal(6, 6, seed=5)[torch.arange(150) % 6] + 0.1 * x
    known = torch.arange(150) < labelled
    found = acquisition.k_center(x, known, 40)
    expected = list(farthest_first(x.double().numpy(), known.numpy(), found.rows.tolist()))
    for score, (distance, farthest) in zip(found.scores.tolist(), expected, strict=True):
        # Of rows that are as far but for rounding, either is right.
        assert distance == pytest.approx(farthest, rel=1e-2 if clustered else 1e-5)
        assert score == pytest.approx(distance, rel=1e-2 if clustered else 1e-4)


def test_k_center_covers_copies_last_and_counts_their_distance_as_zero():
    x = normal(20, 64).repeat(5, 1) * 100
    found = acquisition.k_center(x, torch.zeros(100, dtype=torch.bool), 30)
    assert sorted((found.rows[:20] % 20).tolist()) == list(range(20))
    assert found.scores[20:].tolist() == [0.0] * 10
    assert len(set(found.rows.tolist())) == 30


def test_k_center_chooses_among_rows_that_are_all_the_same():
    found = acquisition.k_center(torch.zeros(400, 3), torch.arange(400) < 1, 300)
    assert len(set(found.rows.tolist()) - {0}) == 300
    assert not found.scores.any()


def test_rows_that_are_skipped_could_not_have_been_nearer(monkeypatch):
    x = 9 * normal(20, 5, seed=1)[torch.arange(400) % 20] + normal(400, 5) * 0.3
    looked, near = [], Nearest._near
    monkeypatch.setattr(Nearest, "_near", lambda *given: looked.append(near(*given)) or looked[-1])
    nearest = Nearest(x)
    for row in range(40):
        nearest.add(row)
        exact = torch.cdist(x.double(), x[: row + 1].double()).square().amin(1)
        torch.testing.assert_close(nearest.distance.double(), exact, rtol=1e-3, atol=1e-3)
    sizes = [len(rows) for rows in looked if rows is not None]
    assert len(sizes) > 10 and max(sizes) < 40


def test_k_means_finds_clusters_and_lowers_the_squared_error():
    x = 9 * normal(6, 4, seed=1)[torch.arange(120) % 6] + 0.2 * normal(120, 4)
    found = acquisition.k_means(x, 6, generator(1))
    pairs = {(int(a), int(b)) for a, b in zip(found, torch.arange(120) % 6, strict=True)}
    assert len(pairs) == 6
    loose = normal(200, 3, seed=4)

    def error(owner):
        return sum(float((loose[owner == one] - loose[owner == one].mean(0)).square().sum()) for one in owner.unique())

    first, last = (acquisition.k_means(loose, 8, generator(0), passes=passes) for passes in (0, 20))
    assert error(last) < error(first)


def typiclust(x, known, count, label):
    """The paper's algorithm, with the authors' constants, and squared distances as their index gives."""
    sizes, labels = np.bincount(label), np.bincount(label[known], minlength=label.max() + 1)
    order = sorted((one for one in range(len(sizes)) if sizes[one] > 5), key=lambda one: (labels[one], -sizes[one]))
    label, found = np.where(known, -1, label), []
    for number in range(count):
        rows = np.flatnonzero(label == order[number % len(order)])
        density = []
        for row in rows:
            squared = sorted(((x[row] - x[other]) ** 2).sum() for other in rows if other != row)
            density.append(1 / (np.mean(squared[: min(20, len(rows) // 2)]) + 1e-5))
        found.append(int(rows[np.argmax(density)]))
        label[found[-1]] = -1
    return found


@pytest.mark.parametrize("labelled", [0, 12])
def test_typicality_is_that_of_a_loop_over_clusters(labelled):
    x = 9 * normal(5, 4, seed=1)[torch.arange(200) % 7 % 5] + normal(200, 4)
    known = torch.arange(200) < labelled
    label = acquisition.k_means(x, labelled + 9, generator(3)).numpy()
    found = acquisition.typicality(x, known, 9, generator(3))
    expected = typiclust(x.double().numpy(), known.numpy(), 9, label)
    assert found.rows.tolist() == expected


def test_typicality_takes_small_clusters_last_and_all_rows_where_all_are_wanted():
    x = torch.cat([normal(30, 2), 50 + normal(3, 2, seed=1)])
    none = torch.zeros(33, dtype=torch.bool)
    assert acquisition.typicality(x, none, 2, generator(0)).rows.max() < 30
    assert sorted(acquisition.typicality(x, none, 33, generator(0)).rows.tolist()) == list(range(33))
    assert MOST_CLUSTERS == 500


# ---- gradients


def test_badge_is_k_means_plus_plus_over_the_gradients_of_the_last_layer():
    logits, hidden, known = normal(40, 4), normal(40, 6, seed=1), torch.arange(40) % 8 == 0
    weight = torch.zeros(4, 6, requires_grad=True)
    gradients = []
    for row in range(40):
        # What is learned of the last layer is at the weights that gave these logits.
        score = logits[row] + weight @ hidden[row]
        loss = torch.nn.functional.cross_entropy(score[None], logits[row].argmax()[None])
        gradients.append(torch.autograd.grad(loss, weight)[0].flatten().double().numpy())
    gradients, free, source = np.stack(gradients), np.flatnonzero(~known.numpy()), generator(7)
    found = [int(free[np.linalg.norm(gradients[free], axis=1).argmax()])]
    for _ in range(14):
        distance = np.min([((gradients - gradients[row]) ** 2).sum(1) for row in found], axis=0)
        distance[[*found, *np.flatnonzero(known.numpy())]] = 0
        mark = float(torch.rand((), generator=source, dtype=torch.float64)) * distance.sum()
        found.append(int((distance.cumsum() > mark).argmax()))
    chosen = acquisition.badge(logits, hidden, known, 15, generator(7))
    assert chosen.rows.tolist() == found
    assert float(chosen.scores[0]) == pytest.approx(np.linalg.norm(gradients[found[0]]), rel=1e-5)


def test_badge_draws_evenly_where_nothing_is_to_be_learned():
    found = acquisition.badge(torch.zeros(12, 3), torch.zeros(12, 2), torch.arange(12) < 4, 8, generator())
    assert sorted(found.rows.tolist()) == list(range(4, 12))


# ---- chances


@pytest.mark.parametrize(("count", "wrong"), [(1, 0), (1, 3), (4, 0), (4, 2), (4, 9), (11, 3)])
def test_minimax_chances_are_those_of_a_linear_program(count, wrong):
    gains = torch.rand(12, generator=generator(count + wrong), dtype=torch.float64)
    found = acquisition.minimax_chances(gains, count, wrong)
    assert float(found.sum()) == pytest.approx(count)
    assert float(found.min()) >= 0.0 and float(found.max()) <= 1.0
    # The m largest parts are the least of m t + sum s_i with t + s_i >= p_i g_i and s_i >= 0.
    g, size = gains.numpy(), 12
    objective = np.concatenate([-g, [wrong], np.ones(size)])
    above = np.hstack([np.diag(g), -np.ones((size, 1)), -np.eye(size)])
    total = np.concatenate([np.ones(size), np.zeros(size + 1)])[None]
    bounds = [(0, 1)] * size + [(0, None)] * (size + 1)
    best = -linprog(objective, A_ub=above, b_ub=np.zeros(size), A_eq=total, b_eq=[count], bounds=bounds).fun
    parts = np.sort(found.numpy() * g)[::-1]
    assert parts[wrong:].sum() == pytest.approx(best, abs=1e-6)


def test_without_a_bound_minimax_chances_have_a_closed_form():
    gains = torch.linspace(0.4, 1.0, 30, dtype=torch.float64)
    largest = sorted(gains.tolist(), reverse=True)
    worth = {k: (k - 5) / sum(1 / g for g in largest[:k]) for k in range(1, 31)}
    best = max(worth, key=worth.get)
    harmonic = sum(1 / g for g in largest[:best])
    expected = [0.0] * (30 - best) + [1 / g / harmonic for g in reversed(largest[:best])]
    np.testing.assert_allclose(acquisition.minimax_chances(gains, 1, 5).numpy(), expected, atol=1e-6)


def test_leverage_is_the_diagonal_of_the_projection():
    x = normal(40, 5)
    x[:, 4] = x[:, 0] - x[:, 1]
    dense = x.double().numpy()
    expected = np.diag(dense @ np.linalg.pinv(dense, rcond=1e-6))
    np.testing.assert_allclose(acquisition.leverage_scores(x).numpy(), expected, atol=1e-9)
    assert acquisition.leverage_scores(x).sum() == pytest.approx(4)


def test_chances_are_cut_at_one_and_have_the_sum():
    weights = torch.tensor([100.0, 1.0, 2.0, 0.0, 3.0, 50.0], dtype=torch.float64)
    torch.testing.assert_close(level(weights, 3), torch.tensor([1, 1 / 6, 2 / 6, 0, 3 / 6, 1], dtype=torch.float64))
    torch.testing.assert_close(level(torch.ones(4).double(), 4), torch.ones(4).double())
    torch.testing.assert_close(level(torch.zeros(3).double() + 1, 1), torch.full((3,), 1 / 3).double())


def test_pivotal_sampling_keeps_every_chance_and_rarely_takes_neighbours():
    chances = level(torch.rand(12, generator=generator(1), dtype=torch.float64), 4)
    source, drawn, together = generator(2), np.zeros(12), 0
    for _ in range(1000):
        rows = pivotal(chances, torch.arange(12), source)
        assert len(rows) == 4
        drawn[rows.numpy()] += 1
        together += int(0 in rows and 1 in rows)
    np.testing.assert_allclose(drawn / 1000, chances.numpy(), atol=0.06)
    both = float(chances[0] * chances[1])
    assert (chances[0] + chances[1] < 1 and together == 0) or together / 1000 < both


def test_an_order_of_rows_keeps_alike_ones_together():
    x = torch.cat([normal(40, 3), 20 + normal(40, 3)])[torch.randperm(80, generator=generator())]
    order = spread(x)
    assert order.sort().values.tolist() == list(range(80))
    sides = (x[order].mean(1) > 10).long()
    assert int(sides.diff().abs().sum()) == 1


def test_leverage_weighs_rows_by_one_over_their_chance():
    x, known = normal(60, 3), torch.arange(60) < 10
    found = acquisition.leverage(x, known, 12, generator())
    scores = acquisition.leverage_scores(torch.cat([x, torch.ones(60, 1)], 1))
    chances = level(scores[10:], 12)
    torch.testing.assert_close(found.weights, (1 / chances[found.rows - 10]).float())
    # The weighted count of rows has the number of rows as its mean.
    sizes = [float(acquisition.leverage(x, known, 12, generator(seed)).weights.sum()) for seed in range(60)]
    assert np.mean(sizes) == pytest.approx(50, rel=0.1)


# ---- all of them


def seen(count=50, known=5):
    logits, hidden = normal(count, 3), normal(count, 4, seed=1)
    members, average = normal(3, count, 3, seed=2), normal(count, 3, seed=3)
    return Seen(logits=logits, hidden=hidden, known=torch.arange(count) < known, members=members, average=average)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_has_no_label_comes_once_and_is_repeatable(name):
    found = choose(name, seen(), 20, generator(4))
    assert len(set(found.rows.tolist())) == 20 and int(found.rows.min()) >= 5
    assert found.scores.shape == (20,) and bool(found.scores.isfinite().all())
    assert choose(name, seen(), 20, generator(4)).rows.tolist() == found.rows.tolist()
    assert sorted(choose(name, seen(), 45, generator(4)).rows.tolist()) == list(range(5, 50))
    assert len(choose(name, seen(), 1, generator(4)).rows) == 1
    for count in (0, 46):
        with pytest.raises(ConfigError, match=f"rows to ask for is {count}"):
            choose(name, seen(), count, generator())


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence", "average_disagreement"])
def test_the_largest_score_comes_first(name):
    found = choose(name, seen(), 10, generator())
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_rows_on_which_the_average_disagrees_come_first():
    """All rows are equally unsure, and the average says something else of three; or the same of all."""
    logits = torch.tensor([2.0, 0.0, 0.0]).expand(12, -1).clone()
    others = [2, 7, 9]
    average = logits.clone()
    average[others] = torch.tensor([0.0, 0.0, 2.0])
    none = torch.zeros(12, dtype=torch.bool)

    def asked(average):
        return choose(
            "average_disagreement", Seen(logits=logits, hidden=None, known=none, average=average), 3, generator()
        )

    found = asked(average)
    assert sorted(found.rows.tolist()) == others
    entropy = float(acquisition.entropy(logits[:1]))
    apart = float(acquisition.disagreement(logits[:1], average[2:3]))
    assert found.scores.tolist() == pytest.approx([apart + entropy] * 3, rel=1e-6)
    assert asked(logits).scores.tolist() == pytest.approx([entropy] * 3, rel=1e-6)


def test_bald_of_numbers_is_the_variance_of_a_committee():
    members = normal(4, 9, 1)
    pool = Seen(logits=members[0], hidden=normal(9, 2), known=torch.zeros(9, dtype=torch.bool), members=members)
    expected = np.argsort(-members[:, :, 0].numpy().var(0))[:3]
    assert choose("bald", pool, 3, generator()).rows.tolist() == expected.tolist()


def test_a_share_of_wrong_answers_is_refused_out_of_range():
    with pytest.raises(ConfigError, match=r"wrong is 1\.0"):
        choose("minimax", seen(), 3, generator(), wrong=1.0)
