"""A small causal language model with random initial weights, over bytes or with a token for every two digits."""

import re

import torch

from didact.learners.causal import CausalLearner
from didact.learners.decoder import Decoder, DecoderConfig
from didact.learners.tokenizers import ByteTokens, NumberTokens
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.parts.students._drawing import DEEPEST, WIDEST, parse_bounded, seeded_build

FORM = "decoder:LAYERSxWIDTH | decoder:LAYERSxWIDTH:CONTEXT | decoder:LAYERSxWIDTH:numbers"
EXAMPLE = "decoder:4x128"
RATE = 1e-3
CONTEXT = 512
"""The default context length, in tokens."""


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A decoder with its tokenizer."""
    shape = spec.argument.removesuffix(":numbers")
    tokenizer = ByteTokens() if shape == spec.argument else NumberTokens()
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)(?::([1-9]\d*))?", shape)
    if found is None:
        raise spec.error()
    depth, width = parse_bounded(spec, found[1], DEEPEST, "deep"), parse_bounded(spec, found[2], WIDEST, "wide")
    context = parse_bounded(spec, found[3] or str(CONTEXT), WIDEST, "long")
    config = DecoderConfig.small(depth, width, vocabulary=tokenizer.vocabulary, context=context)
    with seeded_build(spec, purpose.seed):
        decoder = Decoder(config, seed=purpose.seed).to(purpose.dtype or torch.float32)
        model = CausalLearner(decoder, tokenizer, config=spec.text)
    return Part(model=model, spec=spec.text, rate=RATE, tokenizer=tokenizer)
