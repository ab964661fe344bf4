"""Writing 32 completions of 64 tokens with `didact.rollouts.Sampler` next to `generate` of transformers.

A larger model, of the shape of a 135M chat model, writes 8, in float32 and with matrices of whole numbers (int8), which
are no longer the same tokens: the log-probabilities that it says they have are checked against the model's.

Both sides always take the most probable token, of the same Llama with random weights, behind the same prompts, all of
one length, which spares `generate` a mask. No token ends a sequence. Both find the model in memory; that didact lays
out its weights anew in each call is timed with the rest.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

import harness

harness.PACKAGES = (*harness.PACKAGES, "transformers")

SEQUENCES, PROMPT, NEW, EOS = 32, 16, 64, 2


@dataclass(frozen=True, kw_only=True)
class Work:
    """A Llama and prompts for it.

    Attributes:
        layers: of the model.
        width: of its states; heads have 32 columns, the MLP is 8/3 as wide.
        vocabulary: how many ids it has.
        device: where.
        new: tokens in a completion.
        sequences: completions.
        heads: of keys; None for as many as of queries.
        size: of a head.
        spread: standard deviation of the weights.
    """

    layers: int
    width: int
    vocabulary: int
    device: str
    new: int = NEW
    sequences: int = SEQUENCES
    heads: int | None = None
    size: int = 32
    spread: float = 0.1

    @cached_property
    def model(self) -> Any:
        """The model; the score of the token that ends a sequence is 0, which is never the highest."""
        import transformers

        config = transformers.LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=32 * round(self.width * 8 / 3 / 32),
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // self.size,
            num_key_value_heads=self.heads or self.width // self.size,
            max_position_embeddings=512,
            initializer_range=self.spread,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=EOS,
        )
        torch.manual_seed(0)
        model: Any = transformers.LlamaForCausalLM(config).eval()
        with torch.no_grad():
            model.lm_head.weight[EOS] = 0.0
        return model.to(self.device)

    @cached_property
    def prompts(self) -> Tensor:
        """int64 [sequences, 16]."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(4, self.vocabulary, (self.sequences, PROMPT), generator=generator)


def generate(work: Work, _: None) -> Tensor:
    """What a user of transformers would call; int64 [sequences, 64]."""
    ids = work.prompts.to(work.device)
    mask = torch.ones_like(ids)
    return work.model.generate(ids, attention_mask=mask, max_new_tokens=work.new, do_sample=False)[:, PROMPT:].cpu()


def sampler(work: Work, *, int8: bool = False) -> Any:
    """What a user of didact makes once."""
    from didact.learners.causal import CausalLearner
    from didact.learners.tokenizers import ByteTokens
    from didact.rollouts import Sampler, Sampling

    sampling = Sampling(temperature=0.0, max_new_tokens=work.new)
    return Sampler(CausalLearner(work.model, ByteTokens()), sampling, int8=int8)


def sample(work: Work, prepared: Any) -> Tensor:
    """What a user of didact calls; int64 [sequences, 64]."""
    found = prepared.sample(work.prompts.tolist(), range(work.sequences))
    assert found.written == work.sequences * work.new, "the ledger miscounts the tokens"
    return found.tokens


def sample_rounded(work: Work, prepared: Any) -> Any:
    """The same; the completions."""
    return prepared.sample(work.prompts.tolist(), range(work.sequences))


@torch.no_grad()
def check(work: Work, results: Mapping[str, Any]) -> None:
    """Both sides wrote the same tokens, as many as they should, and not always the same one; int8 is near the model."""
    theirs, ours = results["transformers generate"], results["didact Sampler"]
    assert theirs.shape == ours.shape
    assert torch.equal(theirs, ours), f"{int((theirs != ours).sum())} of {ours.numel()} tokens differ"
    assert len(ours.unique()) > len(ours)
    if (rounded := results.get("didact int8")) is not None:
        scores = work.model(torch.cat([work.prompts, rounded.tokens], 1)).logits[:, PROMPT - 1 : -1]
        own = scores.log_softmax(-1).gather(2, rounded.tokens[..., None])[..., 0]
        apart = float((own - rounded.log_probs).abs().mean())
        assert rounded.tokens.shape == ours.shape and apart < 0.2, f"int8 is {apart:.2f} nats a token from the model"


def case(work: Work, targets: Mapping[str, float], rounds: int | None = None) -> harness.Case:
    """All sides of some work."""
    sides = {
        "transformers generate": harness.Side(run=partial(generate, work)),
        "didact Sampler": harness.Side(prepare=partial(sampler, work), run=partial(sample, work)),
        "didact int8": harness.Side(prepare=partial(sampler, work, int8=True), run=partial(sample_rounded, work)),
    }
    return harness.Case(
        name=f"Llama {work.layers} x {work.width}, vocabulary {work.vocabulary}",
        sides={name: side for name, side in sides.items() if name == "transformers generate" or name in targets},
        bound="transformers generate",
        check=partial(check, work),
        units=work.sequences * work.new,
        targets=targets,
        rounds=rounds,
    )


def cases(options: Namespace) -> list[harness.Case]:
    """A model whose operations are small, one whose products of matrices weigh more, and a larger one."""
    device = options.device
    large = Work(layers=30, width=576, vocabulary=49152, device=device, sequences=8, heads=3, size=64, spread=0.04)
    rounded = {"didact int8": 1 / 2.5} if device == "cpu" else {}
    return [
        case(Work(layers=4, width=128, vocabulary=512, device=device), {"didact Sampler": 1 / 2.0}),
        case(Work(layers=6, width=256, vocabulary=4096, device=device), {"didact Sampler": 1 / 1.25}),
        case(large, {"didact Sampler": 1 / 1.5, **rounded}, rounds=9),
    ]


if __name__ == "__main__":
    parser = harness.arguments(__doc__ or "")
    parser.set_defaults(threads=2)
    sys.exit(harness.main("sampling", parser, cases))
