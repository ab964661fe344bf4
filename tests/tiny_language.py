"""Language models and a tokenizer, made tiny on the spot."""

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

VOCABULARY = 264
"""Of the models: the tokenizer's 259, padded."""
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.2}
GEMMA2 = {"final_logit_softcapping": 3.0, "sliding_window": 4, "query_pre_attn_scalar": 8}
ARCHITECTURES = {
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", LLAMA),
    "mistral": ("Mistral", LLAMA | {"sliding_window": 4}),
    "gemma2": ("Gemma2", LLAMA | GEMMA2),
    "cohere": ("Cohere", LLAMA | {"logit_scale": 0.25}),
    "granite": ("Granite", LLAMA | {"logits_scaling": 5.0}),
    "gpt_neox": ("GPTNeoX", LLAMA),
    "opt": ("OPT", LLAMA | OPT),
    "phi": ("Phi", LLAMA),
    "gpt2": ("GPT2", GPT2),
}
"""By name: the class that transformers calls it by, and its configuration. Phi's head has a bias."""
SPECIAL = ["<pad>", "<s>", "</s>"]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "<s>{{ m['role'][0] }}{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>a{% endif %}"
)
ENDS = ("<|user|>", "<|assistant|>", "<|end|>")
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Turns end with a token that is not the end of the sequence; words are trimmed."""
TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "<|{{ 'user' if m['role'] == 'tool' else m['role'] }}|>{{ m['content'] }}"
    "{% for c in m.get('tool_calls', []) %}({{ c['function']['name'] }}){% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Renders tools, and calls of them by their names."""


def save_tokenizer(path, *, begins=True, template=None, added=(), merges=(), **special):
    """A byte-level tokenizer: 3 special tokens, 256 bytes, merged bytes, and further special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet, *map("".join, merges), *added])}
    inner = Tokenizer(models.BPE(vocabulary, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([*SPECIAL, *added])
    if begins:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = special or {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    made.chat_template = template
    made.save_pretrained(path)


def save_model(path, architecture="llama", *, tokenizer=True, dtype=torch.float32, **changes):
    """Write a tiny model with weights that are far from zero, biases too; the model in evaluation mode."""
    family, options = ARCHITECTURES[architecture]
    config = getattr(transformers, family + "Config")(**(options | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float(parameter.detach()[0]), std=0.2)
    model.to(dtype).save_pretrained(path)
    if tokenizer:
        save_tokenizer(path)
    return model


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
}
"""What llama.cpp calls the parts of a Llama."""


def save_gguf(path, *, template=None, quantised=False, added=(), layers=None, **changes):
    """Write a tiny Llama with its tokenizer as a file of GGUF, as llama.cpp's converter does; the model."""
    gguf = pytest.importorskip("gguf")
    folder = path.parent / f"{path.stem}-whole"
    model = save_model(folder, tokenizer=False, **changes)
    save_tokenizer(folder, template=template, added=added, merges=[("h", "i")])
    config, tokenizer = model.config, transformers.AutoTokenizer.from_pretrained(folder)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(layers or config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    special = set(tokenizer.all_special_ids)
    tokens = [tokenizer.convert_ids_to_tokens(i) or f"<unused{i}>" for i in range(config.vocab_size)]
    # transformers adds it where it is missing.
    tokens[-1] = "<|endoftext|>"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    kinds = gguf.TokenType
    ends = {tokenizer.convert_tokens_to_ids(name) for name in added}
    writer.add_token_types([kinds.CONTROL if i in special | ends else kinds.NORMAL for i in range(len(tokens))])
    writer.add_token_merges(["h i"])
    for role in ("bos", "eos", "pad"):
        getattr(writer, f"add_{role}_token_id")(getattr(tokenizer, f"{role}_token_id"))
    if template:
        writer.add_chat_template(template)
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if heads := {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(
            name.split(".")[-2]
        ):
            # The two halves of a rotary pair lie beside each other there.
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        for ours, theirs in GGUF_NAMES.items():
            name = name.replace(ours, theirs)
        if quantised and array.ndim == 2 and not array.shape[1] % 32:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model
