"""The cheap baselines of runs on questions: answers without a model, evaluated like the student's."""

import time
from collections import Counter
from typing import Any

from didact.errors import MissingExtraError, check_choice
from didact.evaluation import ArmResult
from didact.experiment.config import RunConfig
from didact.materials.questions import BASELINES
from didact.materials.questions.data import QuestionData
from didact.parts.verifier import verifier_of
from didact.types import Cost, Questions

NGRAMS = (1, 3)
"""Lengths of the shortest and longest character n-grams that prompts are compared by."""


def applicable(data: QuestionData, config: RunConfig) -> tuple[str, ...]:
    """The baselines that fit: all if there is a verifier and some training question has an answer or a completion."""
    spec = config.verifier or data.questions.verifier
    return BASELINES if spec and not spec.startswith("<") and len(_known(data)) else ()


def evaluate(name: str, data: QuestionData, config: RunConfig) -> ArmResult:
    """Answer the test questions, and score the answers.

    Args:
        name: `commonest_answer` gives every question the most frequent training answer; `nearest_prompt` that of the
            training question with the most similar prompt, by TF-IDF weights of character n-grams.
        data: the run's data.
        config: the run's configuration, for its verifier.

    Raises:
        ConfigError: The baseline is unknown.
        MissingExtraError: scikit-learn is not installed.
    """
    check_choice("baseline", name, BASELINES)
    start, known = time.perf_counter(), _known(data)
    answers = [question.completion or question.answer or "" for question in known]
    if name == "commonest_answer":
        texts = [Counter(answers).most_common(1)[0][0]] * len(data.test)
    else:
        texts = [answers[place] for place in _nearest(known, data.test)]
    own = data.questions.verifier
    rewards = verifier_of(config.verifier or own).verify(texts, data.test).value
    # The questions' own verifier decides what is right, whichever gives the reward.
    right = verifier_of(own).verify(texts, data.test).value if own else rewards
    metrics = {"accuracy": float((right >= 1.0).float().mean()), "reward": float(rewards.mean())}
    cost = Cost(labels=len(known), examples=len(known), seconds=time.perf_counter() - start)
    return ArmResult(metrics, cost)


def _known(data: QuestionData) -> Questions:
    """The training questions with a completion or an answer."""
    return data.train.select([i for i, question in enumerate(data.train) if question.completion or question.answer])


def _nearest(known: Questions, asked: Questions) -> list[int]:
    """For each question, the index of the known one with the most similar prompt."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise MissingExtraError("scikit-learn", "data", "A baseline") from None
    weigh = TfidfVectorizer(analyzer="char", ngram_range=NGRAMS, lowercase=False)
    there: Any = weigh.fit_transform([question.prompt for question in known])
    likeness: Any = weigh.transform([question.prompt for question in asked]) @ there.T
    return likeness.toarray().argmax(1).tolist()
