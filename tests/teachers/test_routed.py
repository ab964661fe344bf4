"""One of several teachers, by prompt or by token, against the teachers themselves."""

import json

import pytest
import torch

import didact
from didact.errors import ConfigError, DataError, TeacherError
from didact.parts.models import build_causal
from didact.rollouts import Sampling, Writer
from didact.teachers import LanguageTeacher
from didact.teachers.routed import RoutedTeacher
from didact.types import Question

QUESTIONS = [Question(id=i, prompt=f"{i}?", data={"teacher": number}) for i, number in enumerate((1, "2", 2, 1))]


@pytest.fixture(scope="module")
def models():
    return [build_causal("decoder:1x32:32", seed=seed) for seed in (1, 2, 3)]


def written(models, questions=QUESTIONS):
    return Writer(models[0], Sampling(max_new_tokens=4), seed=0).write(questions).batch


def log_probs(signal):
    return signal.scores().log_softmax(-1)


def test_each_prompt_has_its_own_teacher(models):
    teachers = [LanguageTeacher(model) for model in models[1:]]
    batch = written(models)
    found = log_probs(RoutedTeacher(teachers, route="prompt").signal(batch))
    for row, number in enumerate((1, 2, 2, 1)):
        wanted = log_probs(teachers[number - 1].signal(batch))[row]
        assert torch.allclose(found[row], wanted, atol=1e-5)
    assert not torch.allclose(found[0], log_probs(teachers[1].signal(batch))[0], atol=1e-2)


def test_each_token_has_the_surest_teacher(models):
    teachers = [LanguageTeacher(model) for model in models[1:]]
    batch = written(models)
    found = log_probs(RoutedTeacher(teachers, route="token").signal(batch))
    parts = [log_probs(teacher.signal(batch)) for teacher in teachers]
    taken = set()
    for row in range(batch.size):
        for place in range(found.shape[1]):
            entropy = [-(part[row, place].exp() * part[row, place]).sum() for part in parts]
            best = int(entropy[1] < entropy[0])
            taken.add(best)
            assert torch.allclose(found[row, place], parts[best][row, place], atol=1e-5)
    assert taken == {0, 1}


def test_what_cannot_be_routed_is_refused(models):
    teachers = [LanguageTeacher(model) for model in models[1:]]
    routed = RoutedTeacher(teachers, route="prompt")
    with pytest.raises(TeacherError, match="give the data a column teacher with numbers from 1 to 2"):
        routed.signal(written(models, [Question(id=1, prompt="a")]))
    with pytest.raises(TeacherError, match="has numbers from 3 to 3"):
        routed.signal(written(models, [Question(id=1, prompt="a", data={"teacher": 3})]))
    with pytest.raises(DataError, match="The column teacher has 'ann'"):
        written(models, [Question(id=1, prompt="a", data={"teacher": "ann"})])
    with pytest.raises(ConfigError, match="only one teacher"):
        RoutedTeacher(teachers[:1], route="token")


@pytest.mark.parametrize("route", ["prompt", "token"])
def test_gkd_learns_from_routed_teachers(route, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}?", "teacher": 1 + i % 2}) + "\n" for i in range(40)))
    run = {"method": "gkd", "student": "decoder:1x32", "data": path, "steps": 3, "batch_size": 8, "progress": False}
    teacher = f"route:{route}:decoder:1x32+decoder:1x64"
    result = didact.run(**run, teacher=teacher, sampling="max_new_tokens=3", lr=1e-3)
    assert result.cost.steps == 3 and result.metrics["teacher_kl"] > 0
