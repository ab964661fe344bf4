"""A prompt by expected scores and directions of change, against both written out."""

import pytest
import torch
from torch import nn

import didact
from didact import worlds
from didact.errors import ConfigError, TeacherError
from didact.learners import ModuleLearner
from didact.methods.adaptation.prompt_adaptation import Config, PromptAdaptation
from didact.teachers import FrozenTeacher, FunctionTeacher
from didact.types import Batch
from didact.worlds.pairs import moved, scorer
from transcribed import same_loss

N = 9
X = torch.randn(2, N, 4, generator=torch.Generator().manual_seed(0))
BATCH = Batch({"x": X[0], "plain.x": X[0], "transferred.x": X[1], "id": torch.arange(N)})


def net(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def make(**options):
    teacher = FrozenTeacher(ModuleLearner(net(1)))
    return PromptAdaptation(Config(**options), ModuleLearner(net(0)), teacher, BATCH)


def test_the_loss_is_that_of_expected_scores_and_directions():
    method = make(similarity=0.7, direction=0.3, scale=5.0)
    with torch.no_grad():
        method.prompt.value.copy_(torch.tensor([0.3, -0.2, 0.1, 0.5]))
    prompt, wanted = method.prompt.value, 0.0
    scores = net(1)(X).detach() / 5.0
    for row in range(N):
        p, q = (net(0)(x[row] + prompt).softmax(0) for x in X)
        change = scores[1, row] - scores[0, row]
        change = change - change.mean()
        cosine = ((q - p) * change).sum() / (q - p).norm() / change.norm()
        wanted = wanted + (-0.7 * (p * scores[0, row]).sum() + 0.3 * (1 - cosine)) / N
    same_loss(method.loss(BATCH).total(), wanted, [prompt])
    assert list(method.named_parameters()) == ["prompt.value"]
    torch.testing.assert_close(method.delivered(BATCH).logits, net(0)(X[0] + prompt))


def test_what_cannot_move_is_refused_and_a_run_adapts_the_prompt_alone():
    with pytest.raises(ConfigError, match="changed is 'other', a view that the data lack"):
        make(changed="other")
    method = make()
    method.teacher = FunctionTeacher(lambda x: ["a"] * len(x), classes=tuple("abc"))
    with pytest.raises(TeacherError, match="gives Labels; prompt_adaptation needs one with logits"):
        method.loss(BATCH)
    given = {"student": "warm:5:mlp:8", "teacher": "didact.worlds.pairs:scorer", "steps": 3, "progress": False}
    assert 0.0 <= didact.run("prompt_adaptation", data="pairs:shifted", **given).metrics["accuracy"] <= 1.0


def test_the_second_domain_is_moved_and_the_scorer_does_not_see_it():
    t = worlds.load("pairs:shifted").tensors
    there, label = t["domain"] == 1, t["label"]
    known = label >= 0
    assert bool((known == ((t["split"] > 0) | ~there)).all())
    judge = scorer()
    torch.testing.assert_close(judge(t["x"]), judge(t["x"] - there[:, None] * moved()), rtol=1e-3, atol=1e-2)
    for domain in (0, 1):
        here = known & (t["domain"] == domain)
        right = float((judge(t["x"])[here].argmax(1) == label[here]).double().mean())
        assert right == pytest.approx(0.77, abs=0.03)
        other = label[here] + 1 - 2 * (label[here] % 2)
        changed = judge(t["transferred.x"])[here].argmax(1)
        assert float((changed == other).double().mean()) > 0.6
    means = [t["x"][known & (t["domain"] == one)].mean(0) for one in (0, 1)]
    torch.testing.assert_close(means[1] - means[0], moved(), atol=0.5, rtol=0)
