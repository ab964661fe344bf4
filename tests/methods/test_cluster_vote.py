"""Words that clusters elect, against the authors' steps, written out."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional as F

from didact import worlds
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.losses.labels.vocabulary import elect_words
from didact.methods.semi_supervised.cluster_vote import ClusterVote, Config
from didact.teachers import FrozenTeacher, FunctionTeacher
from didact.types import IGNORE, Batch
from didact.worlds.digits.vocabulary import scorer
from transcribed import same_loss

N, V, K = 60, 8, 3
RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.standard_normal((N, 5))).float()
ROWS = torch.arange(N)
BATCH = Batch({"id": ROWS, "row": ROWS, "x": X, "weak.x": X, "strong.x": X + 0.1})


def net(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, V))


def make(**options):
    config = Config(**{"clusters": K, "every": 2, "threshold": 0.2, **options})
    return ClusterVote(config, ModuleLearner(net(0)), FrozenTeacher(ModuleLearner(net(1))), BATCH, N, 0)


def authors(scores, pred_kmeans, rounds):
    """Their `compute_ssl_clustering_simple`: `agg_by_pred_cluster`, `linear_assign` and `reassign_by_pred_cluster`."""
    top = scores.argmax(1)
    for _ in range(rounds):
        all_clu_pred = []
        for i in np.unique(pred_kmeans):
            votes = np.zeros(V)
            for word in top[pred_kmeans == i]:
                votes[word] += 1
            all_clu_pred.append(votes / (pred_kmeans == i).sum())
        cost = np.stack(all_clu_pred)
        assigned = linear_sum_assignment(cost.max() - cost)[1]
        present = np.unique(assigned)
        index = scores[:, present].argmax(1)
        cluster_ind_voc = present[index]
        _, pred_kmeans = np.unique(index, return_inverse=True)
    return cluster_ind_voc


@pytest.mark.parametrize("rounds", [1, 3])
def test_words_are_elected_as_by_the_authors(rounds):
    for seed in range(5):
        random = np.random.default_rng(seed)
        scores, cluster = random.standard_normal((N, V)), random.integers(0, K, N)
        word, joined = elect_words(torch.from_numpy(scores), torch.from_numpy(cluster), rounds=rounds)
        assert word.tolist() == authors(scores, cluster, rounds).tolist()
        assert len(set(zip(word.tolist(), joined.tolist(), strict=True))) == len(word.unique())


def test_examples_without_a_cluster_do_not_vote_and_get_a_word():
    scores = torch.tensor([[3.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 1.0, 3.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    cluster = torch.tensor([0, 0, 1, -1, -1])
    assert elect_words(scores, cluster, rounds=1)[0].tolist() == [0, 0, 2, 2, 2]


def test_the_scorer_answers_first_and_then_the_average_and_elected_words_are_learned():
    method = make()
    student, answers = method.learner.module, net(1)(X).detach()

    def instance(told):
        sure = told.softmax(1).amax(1) >= 0.2
        assert 0 < sure.sum() < N
        return F.cross_entropy(student(X + 0.1)[sure], told[sure].argmax(1))

    same_loss(method.loss(BATCH).total(), instance(answers), student.parameters())
    assert bool((method.memory.get(ROWS, "word") == IGNORE).all())
    method.after_step()
    method.step = 1
    method.after_step()
    word = method.memory.get(ROWS, "word")
    cluster = method.memory.get(ROWS, "cluster")
    assert len(word.unique()) == K and bool((answers[:, word.unique()].amax(1) == answers[ROWS, word]).all())
    assert word.tolist() == authors(answers.numpy(), cluster.numpy(), 1).tolist()
    same_loss(
        method.loss(BATCH).total(),
        instance(answers) + 0.25 * F.cross_entropy(student(X + 0.1), word),
        student.parameters(),
    )
    method.fraction = 0.3
    average = method.delivered.module(X).detach()
    found = method.loss(BATCH).total()
    same_loss(found, instance(average) + 0.25 * F.cross_entropy(student(X + 0.1), word), student.parameters())


def test_what_cannot_elect_is_refused():
    with pytest.raises(ConfigError, match="clusters is 9, but there are 8 classes"):
        make(clusters=9)
    method = make()
    method.scorer = FunctionTeacher(lambda x: ["a"] * len(x), classes=tuple("abcdefgh"))
    with pytest.raises(TeacherError, match="gives Labels; cluster_vote needs one that gives logits"):
        method.loss(BATCH)


def test_the_right_word_is_the_most_frequent_one_of_each_digit():
    t = worlds.load("digits:vocabulary").tensors
    best = scorer()(t["x"]).argmax(1)
    assert float((best == t["label"]).double().mean()) == pytest.approx(0.43, abs=0.01)
    assert float((best % 10 == t["label"]).double().mean()) == pytest.approx(0.89, abs=0.01)
    for digit in range(10):
        assert best[t["label"] == digit].bincount(minlength=100).argmax() == digit
