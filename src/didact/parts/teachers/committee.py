"""Several teachers: their weighted mean for a method with one teacher, or each of them for a method with several.

The default is the mean of their probabilities; `committee:logit:A+B` is that of their logits, and
`committee:confidence:A+B` weighs each teacher by its confidence.
"""

from dataclasses import replace

from didact.documents import Document
from didact.errors import ConfigError, check_choice
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import Committee

FORM = "committee:HOW:TEACHERS | A+B | 0.7*A+0.3*B"
EXAMPLE = "mlp:256,256+cnn:32,64"
HOW: dict[str, Document] = {
    "": {},
    "probability": {},
    "logit": {"space": "logit"},
    "confidence": {"weights": "confidence"},
}
"""The arguments of `Committee` for each word."""


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The members, and their committee."""
    field = f"how, in {spec.field}={spec.text!r},"
    check_choice(field, spec.argument, [word for word in HOW if word or not spec.argument])
    specs = spec.inner[0].members if spec.argument else spec.inner
    parts = [purpose.member(i).build(one) for i, one in enumerate(specs)]
    how = dict(HOW[spec.argument])
    if any(one.weight != 1.0 for one in specs):
        if "weights" in how:
            raise spec.error(f"members that are weighted by {spec.argument} take no weights of their own.")
        how["weights"] = [one.weight for one in specs]
    joined = _joined(parts, spec, purpose)
    if isinstance(purpose, ForExamples):
        how["classes"] = len(purpose.examples.classes) or None
    return replace(joined, model=Committee([part.model for part in parts], **how))


def _joined(parts: list[Part], spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The combined properties of the members, as a part whose model is still the first member's."""
    tokenizers = {id(part.tokenizer): part.tokenizer for part in parts if part.tokenizer is not None}
    if len(tokenizers) > 1 and isinstance(purpose, ForExamples):
        raise ConfigError(
            f"{spec.subject}, whose members have tokenizers of their own; a committee over text can hold one such."
        )
    return Part(
        model=parts[0].model,
        spec=spec.text,
        control=any(part.control for part in parts),
        warm_starts=tuple(one for part in parts for one in part.warm_starts),
        target=next((part.target for part in parts if part.target), ""),
        tokenizer=next(iter(tokenizers.values()), None),
        origin=tuple(run for part in parts for run in part.origin),
        members=() if spec.argument else tuple(parts),
    )
