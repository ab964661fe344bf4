"""The doctor's checks of how a conversation is rendered, and where a completion ends, by student and teacher."""

from collections.abc import Iterator

from didact.experiment.checking import Check
from didact.experiment.material import Run
from didact.learners.causal import CausalLearner
from didact.learners.hub_causal import generation_ends
from didact.learners.hub_llama import HubLlama
from didact.materials.questions.data import QuestionData
from didact.materials.questions.models import model_of, same_tokens
from didact.types import Question

TRIED = 4
"""Questions that are rendered by both."""
SHOWN = 40
"""Characters before and after the first difference."""


def checks(run: Run[QuestionData]) -> Iterator[Check]:
    """Warn of ends that are not learned, and of a teacher that renders conversations in another way."""
    student: CausalLearner = run.student.model
    asked = run.data.train[:TRIED]
    yield from _unlearned(student, asked[0])
    for part in run.teachers if same_tokens(run) else ():
        if (teacher := model_of(part.model)) is not None:
            yield from _rendered(student, teacher, asked)
            yield from _ends(student, teacher)


def generated_ends(model: CausalLearner) -> tuple[int, ...]:
    """The ends in a model's `generation_config`; none for a model without."""
    module = model.module
    if not isinstance(module, HubLlama):
        return generation_ends(module)
    # It keeps the config of the model of transformers that it was made of.
    found = getattr(module.generation, "eos_token_id", None)
    return tuple(found) if isinstance(found, list) else () if found is None else (int(found),)


def _unlearned(student: CausalLearner, question: Question) -> Iterator[Check]:
    """The end that completions are learned with, if generation ends with others."""
    learned, ends = student.tokenizer.completion(question, "1")[-1], generated_ends(student)
    if ends and learned not in ends and set(ends) != {student.tokenizer.eos}:
        named = " or ".join(repr(student.tokenizer.decode([end], special=True)) for end in ends)
        own = student.tokenizer.decode([learned], special=True)
        yield Check(
            "warn",
            "ends",
            f"Completions are learned with the end {own!r}, but the student's generation_config ends them with {named} "
            "alone, as it was taught before. Give its tokenizer a chat template that ends a turn with that token, or "
            "make it the tokenizer's eos_token.",
        )


def _rendered(student: CausalLearner, teacher: CausalLearner, questions: list[Question]) -> Iterator[Check]:
    for question in questions:
        texts = [_text(model, question) for model in (student, teacher)]
        if texts[0] != texts[1]:
            at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
            mine, theirs = (text[max(0, at - SHOWN) : at + SHOWN] for text in texts)
            yield Check(
                "warn",
                "templates",
                f"The teacher's chat template renders a conversation differently: {theirs!r}, where the student reads "
                f"{mine!r}. The teacher is asked about what the student reads, which it was not taught on; save the "
                "student with the teacher's chat_template.",
            )
            return


def _text(model: CausalLearner, question: Question) -> str:
    """A question as a model reads it, with a completion."""
    ids = [*model.tokenizer.prompt(question), *model.tokenizer.completion(question, question.completion or "1")]
    return model.tokenizer.decode(ids, special=True)


def _ends(student: CausalLearner, teacher: CausalLearner) -> Iterator[Check]:
    lacking = sorted(teacher.tokenizer.ends - student.tokenizer.ends)
    if lacking:
        named = " or ".join(repr(teacher.tokenizer.decode([end], special=True)) for end in lacking)
        yield Check(
            "warn",
            "ends",
            f"The teacher ends completions with {named} too, and the student does not end there, so that it would "
            "write on where the teacher stops; add it to eos_token_id in the student's generation_config.json.",
        )
