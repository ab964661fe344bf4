"""The built-in decoder, against transformers' Llama and against sequences on their own."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from didact.errors import ConfigError
from didact.learners.decoder import (
    Decoder,
    DecoderConfig,
    apply_rotary,
    load_decoder,
    packed_mask,
    packed_positions,
    rotary_angles,
    save_decoder,
)

IDS = torch.randint(1, 40, (3, 12), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([12, 7, 1])
MASK = (torch.arange(12)[None] < LENGTHS[:, None]).long()


def decoder(*, spread=0.5, **options):
    """With weights far from zero, so that an error shows."""
    shape = {"vocabulary": 40, "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "mlp_width": 48, "context": 16}
    made = Decoder(DecoderConfig(**(shape | options)), seed=1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(spread).add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return made


def written(model, path):
    path.mkdir(exist_ok=True)
    save_decoder(model, path, bos=1, eos=2, pad=0)
    return path


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"kv_heads": 4}, {"kv_heads": 1, "rope_theta": 500.0}])
def test_it_is_a_llama(tmp_path, options):
    ours = decoder(**options)
    llama, info = AutoModelForCausalLM.from_pretrained(written(ours, tmp_path), output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert set(ours.state_dict()) == set(llama.state_dict()) - ({"lm_head.weight"} if ours.config.tied else set())
    hidden = ours(IDS, MASK)
    wanted = llama(input_ids=IDS, attention_mask=MASK, output_hidden_states=True)
    real = MASK.bool()
    assert wanted.logits.abs().max() > 1
    torch.testing.assert_close(hidden[real], wanted.hidden_states[-1][real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.head(hidden)[real], wanted.logits[real], atol=1e-5, rtol=1e-5)


def test_its_gradients_are_those_of_a_llama(tmp_path):
    # Without the padding id, whose embedding transformers never moves.
    ours = decoder()
    llama = AutoModelForCausalLM.from_pretrained(written(ours, tmp_path))
    mix = torch.randn(40, generator=torch.Generator().manual_seed(3))
    (ours.head(ours(IDS, MASK))[MASK.bool()] @ mix).square().mean().backward()
    (llama(input_ids=IDS, attention_mask=MASK).logits[MASK.bool()] @ mix).square().mean().backward()
    wanted = {name: p.grad for name, p in llama.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-5 * wanted[name].abs().max(), rtol=1e-4)


def test_what_was_written_is_read_again(tmp_path):
    ours = decoder(tied=False, rope_theta=777.0, norm_eps=3e-6)
    again = load_decoder(written(ours, tmp_path))
    assert again.config == ours.config
    assert torch.equal(again(IDS), ours(IDS))


def test_packed_sequences_are_as_alone():
    ours = decoder()
    row = torch.cat([IDS[0, :5], IDS[1, :7], IDS[2, :2]])[None]
    segments = torch.tensor([[1] * 5 + [2] * 7 + [0] * 2])
    packed = ours(row, segments=segments)
    torch.testing.assert_close(packed[:, :5], ours(IDS[:1, :5]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[:, 5:12], ours(IDS[1:2, :7]), atol=1e-5, rtol=1e-5)
    assert packed.isfinite().all()
    together = ours(row)
    assert (together[:, 5:12] - packed[:, 5:12]).abs().max() > 0.1


def test_positions_and_mask_by_hand():
    segments = torch.tensor([[1, 1, 1, 2, 3, 3, 0, 0], [1, 1, 2, 2, 2, 2, 2, 2]])
    assert packed_positions(segments).tolist() == [[0, 1, 2, 0, 0, 1, 0, 1], [0, 1, 0, 1, 2, 3, 4, 5]]
    for window in (None, 3):
        wanted = np.zeros((2, 1, 8, 8), dtype=bool)
        for b, q, k in np.ndindex(2, 8, 8):
            same = segments[b, q] == segments[b, k]
            wanted[b, 0, q, k] = bool(same) and k <= q and (window is None or q - k < window)
        assert np.array_equal(packed_mask(segments, window).numpy(), wanted)


def test_rotary_positions_are_complex_rotations():
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3, 4], [3, 0, 9, 1, 1]])
    pairs = x[..., :4].numpy() + 1j * x[..., 4:].numpy()
    speeds = np.array([1000.0 ** (-2 * i / 8) for i in range(4)])
    turned = pairs * np.exp(1j * positions.numpy()[:, :, None, None] * speeds)
    found = apply_rotary(x, *rotary_angles(positions, 8, 1000.0)).numpy()
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], -1), atol=1e-5)


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    shape = DecoderConfig.small(3, 64, vocabulary=260)
    first, second, other = Decoder(shape, seed=4), Decoder(shape, seed=4), Decoder(shape, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        if a.ndim == 1:
            assert (a == 1).all()
        else:
            inner = name.endswith(("o_proj.weight", "down_proj.weight"))
            assert a.std().item() == pytest.approx(a.shape[1] ** -0.5 / (math.sqrt(6) if inner else 1.0), rel=0.05)
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


@pytest.mark.parametrize(("width", "heads", "mlp"), [(128, 4, 352), (256, 8, 672), (32, 1, 96), (8, 1, 32)])
def test_small_shapes(width, heads, mlp):
    shape = DecoderConfig.small(2, width, vocabulary=260)
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.mlp_width) == (heads, heads, width // heads, mlp)
    assert (shape.context, shape.rope_theta) == (512, 10000.0)


def test_half_precision():
    ours = decoder(spread=0.3)
    wanted = ours(IDS)
    half = ours.to(torch.bfloat16)
    found = half(IDS)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.1, rtol=0.05)
    half.head(found).float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in half.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30}, "width is 30 and heads is 4"),
        ({"width": 12}, "width is 12 and heads is 4; each head must get the same, even number"),
        ({"kv_heads": 3}, "kv_heads is 3, but must divide heads, which is 4"),
        ({"layers": 0}, "layers is 0, but must be at least 1"),
    ],
)
def test_shapes_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        decoder(**changes)


def test_widths_that_cannot_be():
    for width in (48, 31):
        with pytest.raises(ConfigError, match=f"width of the decoder is {width}"):
            DecoderConfig.small(1, width, vocabulary=260)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2' in its config.json, where a decoder has 'llama'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}}, "rope_type is 'llama3'"),
        ({"head_dim": 6}, "head_dim is 6"),
        ({"num_hidden_layers": 3}, "Missing key|Error.s. in loading"),
        ({"vocab_size": None}, "can't be read as a decoder"),
    ],
)
def test_another_architecture_is_refused(tmp_path, changes, message):
    written(decoder(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ConfigError, match=message):
        load_decoder(tmp_path)


def test_older_configurations_are_read(tmp_path):
    ours = decoder(rope_theta=777.0)
    path = written(ours, tmp_path) / "config.json"
    plain = json.loads(path.read_text())
    del plain["rope_parameters"], plain["head_dim"]
    path.write_text(json.dumps(plain))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_decoder(tmp_path).config == ours.config
