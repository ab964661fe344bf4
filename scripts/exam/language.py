"""Set-ups on language models, with tokenizers and models of transformers that are made tiny on the spot."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from exam.room import Room, fault, healthy
from exam.tables import run

BYTES = 259
"""Ids of three special tokens and of all bytes."""
TURNS = ("<|user|>", "<|assistant|>", "<|end|>")
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ 'user' if m['role'] == 'system' else m['role'] }}|>{{ m['content'] }}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OTHER_CHAT = CHAT.replace("<|user|>", "<|user|>\n").replace("{{ m['content'] }}", " {{ m['content'] }}")
OPEN_CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""Ends a turn with a line break, which is no special token."""
COMMON = ("--batch-size", "8", "--steps", "20", "--no-progress")
GROUPS = ("--sampling", "max_new_tokens=4,samples=4", "--batch-size", "16", "--steps", "4", "--no-progress")

Record = dict[str, Any]


def sums(last: int = 12) -> list[Record]:
    """Sums of small numbers, as prompts with completions and answers."""
    pairs = [(a, b) for a in range(1, last + 1) for b in range(1, last + 1)]
    return [{"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)} for a, b in pairs]


def chats() -> list[Record]:
    """The same as conversations."""
    return [
        {"messages": [{"role": "user", "content": one["prompt"]}, {"role": "assistant", "content": one["completion"]}]}
        for one in sums()
    ]


def pairs() -> list[Record]:
    """The same with a wrong answer besides."""
    return [
        {"prompt": one["prompt"], "chosen": one["completion"], "rejected": str(int(one["completion"]) + 3)}
        for one in sums()
    ]


def save_tokenizer(
    path: Path, *, merged: bool = False, template: str | None = None, endless: bool = False, pads_with_end: bool = False
) -> None:
    """Write a tokenizer of bytes, with tokens of turns, to a directory.

    Args:
        path: the directory.
        merged: whether two digits in a row are one token.
        template: the chat template.
        endless: whether it has no end of sequence.
        pads_with_end: whether padding is the end of sequence.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    merges = [(a, b) for a in "123" for b in "0123456789"] if merged else []
    words = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges), *TURNS]
    inner = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<pad>", "<s>", "</s>", *TURNS])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"bos_token": "<s>", "pad_token": "</s>" if pads_with_end else "<pad>"}
    special |= {} if endless else {"eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    made.chat_template = template
    made.save_pretrained(path)


def save_words(path: Path) -> None:
    """Write a tokenizer that knows a few words, and nothing else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(str(number) for number in range(8))]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(path)


def save_model(
    path: Path,
    *,
    seed: int = 0,
    vocabulary: int = 296,
    context: int = 64,
    trained: bool = False,
    sharper: float = 1.0,
    **tokenizer: Any,
) -> str:
    """Write a tiny Llama with its tokenizer; returns its spec.

    Args:
        path: the directory.
        seed: of its weights.
        vocabulary: rows of its head.
        context: its longest sequence.
        trained: whether it has learned the sums.
        sharper: what its logits are multiplied by.
        tokenizer: the arguments of `save_tokenizer`.
    """
    model = _llama(seed, vocabulary, context)
    if trained:
        model.load_state_dict(torch.load(_taught(), weights_only=True))
    with torch.no_grad():
        model.lm_head.weight.mul_(sharper)
    model.save_pretrained(path)
    save_tokenizer(path, **tokenizer)
    return f"hf:{path}"


def _llama(seed: int, vocabulary: int, context: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


_KEPT = TemporaryDirectory()


@cache
def _taught() -> Path:
    """The weights of a model that has learned sums for a while, in a file that lasts as long as the exam."""
    model, path = _llama(1, 296, 64), Path(_KEPT.name) / "taught.pt"
    rows = [[1, *_ids(one["prompt"]), *_ids(one["completion"]), 2] for one in sums()]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = ids.masked_fill(ids == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(160):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save(model.state_dict(), path)
    return path


def _ids(text: str) -> list[int]:
    """The ids of digits and signs: bytes from `!` on come first, in their order, after three special tokens."""
    return [3 + ord(character) - ord("!") for character in text]


def with_generation(room: Room, name: str, **settings: Any) -> None:
    """Change the `generation_config.json` of a model."""
    path = room.path / name / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}), encoding="utf-8")


def student(room: Room, **options: Any) -> list[str]:
    """A student in the folder, as flags."""
    return ["--student", save_model(room.path / "student", **options)]


def teacher(room: Room, **options: Any) -> list[str]:
    """A teacher in the folder that knows the sums, as flags."""
    return ["--teacher", save_model(room.path / "teacher", **{"trained": True, **options})]


# ---- healthy


@healthy("language", "fine-tuning on prompts with completions")
def _(room: Room) -> list[str]:
    return ["sft", "--data", room.lines("sums.jsonl", sums()), *student(room), *COMMON]


@healthy("language", "a teacher with the student's tokenizer")
def _(room: Room) -> list[str]:
    return ["taid", "--data", room.lines("sums.jsonl", sums()), *student(room), *teacher(room), *COMMON]


@healthy("language", "conversations in a chat template, padded with the end of sequence")
def _(room: Room) -> list[str]:
    own = {"template": CHAT, "pads_with_end": True}
    return ["sft", "--data", room.lines("chats.jsonl", chats()), *student(room, **own), *COMMON]


@healthy("language", "pairs of a right and a wrong answer")
def _(room: Room) -> list[str]:
    return ["dpo", "--data", room.lines("pairs.jsonl", pairs()), *student(room, trained=True), *COMMON]


@healthy("verifier", "sums that are sometimes right, and a verifier that compares numbers")
def _(room: Room) -> list[str]:
    data, own = room.lines("sums.jsonl", sums()), student(room, trained=True)
    return ["grpo", "--data", data, *own, "--verifier", "numeric", *GROUPS]


@healthy("cache", "the stored tokens of a language model")
def _(room: Room) -> list[str]:
    common = ["--data", room.lines("sums.jsonl", sums()), *student(room), *COMMON]
    run("cache", "build", "store", "--top-k", "16", *teacher(room), *common)
    return ["taid", "--teacher", "cache:store", *common]


# ---- tokenizers, ends and templates


@fault("language", "a teacher with another tokenizer", r"different tokenizers")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    return ["taid", "--data", data, *student(room), *teacher(room, trained=False, merged=True), *COMMON]


@fault("language", "a vocabulary that is padded in the teacher alone", r"scores 296 token ids and the teacher 320")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    return ["taid", "--data", data, *student(room), *teacher(room, trained=False, vocabulary=320), *COMMON]


@fault("language", "a tokenizer without an end of sequence", r"no end-of-sequence token")
def _(room: Room) -> list[str]:
    return ["sft", "--data", room.lines("sums.jsonl", sums()), *student(room, endless=True), *COMMON]


@fault("language", "an end of turn that only generation_config knows", r"generation_config ends them with")
def _(room: Room) -> list[str]:
    own = student(room, template=OPEN_CHAT)
    with_generation(room, "student", eos_token_id=[BYTES + 2])
    return ["sft", "--data", room.lines("chats.jsonl", chats()), *own, *COMMON]


@fault("language", "an end of turn that only the teacher knows", r"does not end there")
def _(room: Room) -> list[str]:
    own, other = student(room, template=OPEN_CHAT), teacher(room, template=OPEN_CHAT)
    with_generation(room, "teacher", eos_token_id=[2, BYTES + 2])
    return ["taid", "--data", room.lines("chats.jsonl", chats()), *own, *other, *COMMON]


@fault("language", "a chat template that differs between teacher and student", r"chat template renders .* differently")
def _(room: Room) -> list[str]:
    data = room.lines("chats.jsonl", chats())
    return ["taid", "--data", data, *student(room, template=CHAT), *teacher(room, template=OTHER_CHAT), *COMMON]


@fault("language", "conversations for a model without a chat template", r"has no chat template")
def _(room: Room) -> list[str]:
    return ["sft", "--data", room.lines("chats.jsonl", chats()), *student(room), *COMMON]


@fault("language", "conversations that were rendered already", r"spells out special tokens")
def _(room: Room) -> list[str]:
    rendered = [
        {"messages": [{"role": "user", "content": f"<|user|>{one['prompt']}<|end|>"},
                      {"role": "assistant", "content": one["completion"]}]}
        for one in sums()
    ]  # fmt: skip
    return ["sft", "--data", room.lines("chats.jsonl", rendered), *student(room, template=CHAT), *COMMON]


@fault("language", "prompts that begin with a second beginning of sequence", r"begin twice")
def _(room: Room) -> list[str]:
    rows = [{**one, "prompt": f"<s>{one['prompt']}"} for one in sums()]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "a template that leaves out the system's message", r"would not read")
def _(room: Room) -> list[str]:
    silent = CHAT.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
    rows = [{"messages": [{"role": "system", "content": "Add."}, *one["messages"]]} for one in chats()]
    return ["sft", "--data", room.lines("chats.jsonl", rows), *student(room, template=silent), *COMMON]


@fault("language", "a tokenizer that does not know the signs of the data", r"are unknown to the .* tokenizer")
def _(room: Room) -> list[str]:
    own = student(room)
    save_words(room.path / "student")
    return ["sft", "--data", room.lines("sums.jsonl", sums()), *own, *COMMON]


# ---- data


@fault("language", "test prompts that are training prompts", r"are in two splits")
def _(room: Room) -> list[str]:
    data, test = room.lines("sums.jsonl", sums()), room.lines("test.jsonl", sums()[::5])
    return ["sft", "--data", data, "--test", test, *student(room), *COMMON]


@fault("language", "a prompt that is longer than the context", r"reads 64 at most")
def _(room: Room) -> list[str]:
    rows = [*sums(), {"prompt": "1+" * 50 + "1=", "completion": "51"}]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "an answer that does not fit behind its prompt", r"with its answer, but the student reads 64")
def _(room: Room) -> list[str]:
    rows = [*sums(), {"prompt": "1" * 40, "completion": "2" * 40}]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "answers that are longer than what is sampled", r"cannot finish such completions")
def _(room: Room) -> list[str]:
    rows = [{**one, "completion": f"that makes {one['completion']}", "answer": one["answer"]} for one in sums()]
    own = student(room, trained=True)
    return ["grpo", "--data", room.lines("sums.jsonl", rows), *own, "--verifier", "numeric", *GROUPS]


@fault("language", "completions that are empty, so that nothing is learned of them", r"has an empty completion")
def _(room: Room) -> list[str]:
    rows = [{**one, "completion": ""} for one in sums()]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "conversations without a turn of the assistant", r"has no completion")
def _(room: Room) -> list[str]:
    rows = [{"messages": one["messages"][:1]} for one in chats()]
    return ["sft", "--data", room.lines("chats.jsonl", rows), *student(room, template=CHAT), *COMMON]


@fault("language", "completions that are all the same", r"have the same completion")
def _(room: Room) -> list[str]:
    rows = [{**one, "completion": "Sorry."} for one in sums()]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "samples of a teacher at temperature 0: the same ones again and again", r"word for word")
def _(room: Room) -> list[str]:
    rows = [{**one, "id": f"{number}-{again}"} for number, one in enumerate(sums()) for again in range(3)]
    return ["sft", "--data", room.lines("sums.jsonl", rows), *student(room), *COMMON]


@fault("language", "pairs whose two answers are the same", r"chosen and rejected|same completion as")
def _(room: Room) -> list[str]:
    rows = [{**one, "rejected": one["chosen"]} if number % 5 == 0 else one for number, one in enumerate(pairs())]
    return ["dpo", "--data", room.lines("pairs.jsonl", rows), *student(room), *COMMON]


# ---- teachers and students


@fault("language", "a teacher at temperature 0: one token has all the probability", r"nats of entropy")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    return ["taid", "--data", data, *student(room), *teacher(room, sharper=1000.0), *COMMON]


@fault("language", "a teacher that never learned anything", r"no better than a guess")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    return ["taid", "--data", data, *student(room), *teacher(room, trained=False, seed=5), *COMMON]


@fault("language", "a teacher that knows less than the student", r"student already knows them better")
def _(room: Room) -> list[str]:
    data, other = room.lines("sums.jsonl", sums()), teacher(room, sharper=0.3)
    return ["taid", "--data", data, *student(room, trained=True), *other, *COMMON]


@fault("language", "a teacher that is the student", r"says what the student says already")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    return ["taid", "--data", data, *student(room, trained=True), *teacher(room), *COMMON]


@fault("language", "weights that are not a number", r"not finite")
def _(room: Room) -> list[str]:
    own = student(room, sharper=float("nan"))
    return ["sft", "--data", room.lines("sums.jsonl", sums()), *own, *COMMON]


@fault("cache", "stored tokens of another tokenizer", r"a cache whose tokenizer is")
def _(room: Room) -> list[str]:
    data = room.lines("sums.jsonl", sums())
    other = save_model(room.path / "other", merged=True)
    run("cache", "build", "store", "--top-k", "8", "--teacher", other, "--student", other, "--data", data, *COMMON)
    return ["taid", "--teacher", "cache:store", "--data", data, *student(room), *COMMON]


@fault("cache", "stored tokens for a method that asks about what the student writes", r"has no signal for")
def _(room: Room) -> list[str]:
    common = ["--data", room.lines("sums.jsonl", sums()), *student(room), *COMMON]
    run("cache", "build", "store", "--top-k", "8", *teacher(room), *common)
    return ["gkd", "--teacher", "cache:store", "--sampling", "max_new_tokens=4", *common]


@fault("cache", "stored tokens for a method that aligns two tokenizers", r"reads the teacher's own tokens")
def _(room: Room) -> list[str]:
    common = ["--data", room.lines("sums.jsonl", sums()), *student(room), *COMMON]
    run("cache", "build", "store", "--top-k", "8", *teacher(room), *common)
    return ["cross-tokenizer", "--teacher", "cache:store", *common]


@fault("cache", "stored likeliest tokens for a method that softens them", r"whose tail can't be softened")
def _(room: Room) -> list[str]:
    common = ["--data", room.lines("sums.jsonl", sums()), *student(room), *COMMON]
    run("cache", "build", "store", "--top-k", "8", *teacher(room), *common)
    return ["token-sinkhorn", "--teacher", "cache:store", *common]


# ---- verifiers and sampling


def _rewarded(room: Room, verifier: str, **options: Any) -> list[str]:
    own = student(room, **{"trained": True, **options})
    return ["grpo", "--data", room.lines("sums.jsonl", sums()), *own, "--verifier", verifier, *GROUPS]


@fault("verifier", "a verifier that always says yes", r"accepts everything")
def _(room: Room) -> list[str]:
    room.write("exam_yes.py", "def reward(text, question):\n    return 1.0\n")
    return _rewarded(room, "exam_yes:reward")


@fault("verifier", "a constant reward, whatever is written", r"accepts nothing")
def _(room: Room) -> list[str]:
    room.write("exam_zero.py", "def reward(text, question):\n    return 0.0\n")
    return _rewarded(room, "exam_zero:reward")


@fault("verifier", "a verifier that pays an empty answer", r"empty completions as good as good ones")
def _(room: Room) -> list[str]:
    return _rewarded(room, "regex:/^[0-9]{0,2}$/")


@fault("verifier", "a verifier that pays any number", r"constant completions as good as good ones")
def _(room: Room) -> list[str]:
    return _rewarded(room, "regex:/[0-9]/", trained=False)


@fault("verifier", "a verifier that refuses the data's own answers", r"refuses \d+ of \d+ completions|accepts nothing")
def _(room: Room) -> list[str]:
    rows = [{**one, "answer": f"{one['answer']}.0 euros"} for one in sums()]
    own = student(room, trained=True)
    return ["grpo", "--data", room.lines("sums.jsonl", rows), *own, "--verifier", "exact", *GROUPS]


@fault("verifier", "a student that is never right, so that all rewards are equal", r"equal rewards give no gradient")
def _(room: Room) -> list[str]:
    return _rewarded(room, "exact", trained=False)


@fault(
    "verifier",
    "rollouts at temperature 0",
    r"by which all completions of a prompt are the same",
)
def _(room: Room) -> list[str]:
    words = _rewarded(room, "exact")
    return [word.replace("samples=4", "samples=4,temperature=0") for word in words]


@fault("verifier", "dropout while rollouts are scored", r"their gradient is biased")
def _(room: Room) -> list[str]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=296, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(room.path / "gpt2")
    save_tokenizer(room.path / "gpt2")
    words = ["--student", f"hf:{room.path / 'gpt2'}", "--verifier", "exact", "--dropout", "on"]
    return ["grpo", "--data", room.lines("sums.jsonl", sums()), *words, *GROUPS]
