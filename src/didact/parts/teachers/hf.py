"""A trained Hugging Face model or encoder, by its directory or its name on the hub.

A text classifier is shown the rows of a table as texts, as `didact.teachers.row_texts` writes them.
"""

from dataclasses import replace

from didact.parts.kinds import Spec
from didact.parts.part import VIEW, ForExamples, ForQuestions, Part
from didact.teachers import EncoderTeacher, FrozenTeacher, LanguageTeacher, RawRows, align, translate
from didact.teachers.row_texts import CHECKED, RowTextTeacher

FORM = "hf:NAME | hf:DIRECTORY"
EXAMPLE = "hf:EleutherAI/pythia-14m"
PATHS = ("*/config.json", "*/adapter_config.json", "!*/metrics.jsonl")
NAMES = "download"


def width(spec: Spec, trust: tuple[str, ...]) -> int:
    """How many numbers its embeddings have."""
    from didact.learners import encoders

    return encoders.width_of(spec.argument)


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A classifier with its classes in the data's order, an encoder, or a causal language model."""
    if not spec.argument:
        raise spec.error()
    if isinstance(purpose, ForQuestions):
        part = purpose.build(replace(spec, role="student"))
        return replace(part, model=LanguageTeacher(part.model))
    from didact.learners import encoders, huggingface

    examples = purpose.examples
    if examples.task == "embedding" or huggingface.is_encoder(spec.argument):
        text = examples.modality == "text"
        tokenizer = encoders.tokenizer_of(spec.argument, purpose.max_length) if text else None
        learner = encoders.load_encoder(spec.argument, examples.modality)
        return Part(
            model=EncoderTeacher(learner, embeds=examples.task == "embedding", view=VIEW if text else None),
            spec=spec.text,
            tokenizer=tokenizer,
        )
    found = huggingface.load_teacher(spec.argument, purpose.examples, max_length=purpose.max_length)
    order = align(found.classes, purpose.examples.classes) if found.classes else None
    scale = purpose.examples.scale
    if examples.modality == "table":
        few = examples.batch(slice(0, CHECKED))
        teacher = RowTextTeacher(FrozenTeacher(found.learner, order=order), found.tokenizer, RawRows(examples), few)
        return Part(model=translate(teacher, scale), spec=spec.text)
    view = VIEW if found.tokenizer is not None else None
    teacher = FrozenTeacher(found.learner, order=order, view=view)
    return Part(model=translate(teacher, scale), spec=spec.text, tokenizer=found.tokenizer)
