"""What the doctor finds in a set-up of a language model."""

import json
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import didact
from didact import sources
from didact.experiment.checking import gradient_check
from didact.experiment.doctor import diagnose
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.loop import OptimizerConfig
from didact.loop.devices import free_memory
from didact.loop.stepping import Stepper
from didact.materials.questions import endings, teaching, texts
from didact.materials.questions.memory import estimate_memory
from didact.methods.language.sft import SFT, Config
from didact.parts.models import build_causal
from didact.types import Batch
from tiny_language import TEMPLATE, save_model, save_tokenizer

RECORDS = [
    {"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a in range(3, 9) for b in range(3, 9)
]
QUICK = {"data": RECORDS, "student": "decoder:1x32:32", "batch_size": 8, "steps": 2, "sampling": "max_new_tokens=4"}


def found(method, **settings):
    """What the doctor says, by the name of the check; the last where a name comes twice."""
    config, objects = split_arguments(method=method, **{**QUICK, **settings})
    return {check.name: check for check in diagnose(config, objects)}


def test_a_sound_set_up():
    checks = found("gkd", teacher="decoder:1x32:32", verifier="exact")
    wanted = "data splits duplicates method tokenizer chat tokenizers context verifier self-taught student sampling"
    assert {name: checks[name].level for name in wanted.split()} == dict.fromkeys(wanted.split(), "pass")
    assert "36 with an answer to compare with and 36 with a completion" in checks["data"].detail
    assert "Prompts of up to 5 tokens and answers of up to 4, in a context of 32" in checks["context"].detail


def test_attempts_that_are_worth_the_same():
    assert "sft first" in found("grpo", verifier="exact", sampling="max_new_tokens=4,samples=4")["start"].detail
    mixed = found("grpo", verifier="regex:[0-9A-Za-z]", sampling="max_new_tokens=4,samples=4")["start"]
    assert mixed.level == "pass"


def test_answers_that_cannot_be_written_to_their_end():
    checks = found("grpo", verifier="exact", sampling="max_new_tokens=2,samples=4")
    train, _, _ = sources.split_questions(sources.from_records(RECORDS))
    share = sum(len(question.completion) == 2 for question in train) / len(train)
    said = checks["answers"]
    assert said.level == "warn"
    assert said.detail.startswith(f"{share:.0%} of the data's own completions are longer than max_new_tokens = 2")
    assert "the longest has 3 tokens" in said.detail


def test_conversations_and_templates(tmp_path):
    talks = [{"messages": [{"role": "user", "content": r["prompt"]}], "completion": r["completion"]} for r in RECORDS]
    assert found("sft", data=talks)["chat"].level == "warn"
    save_model(tmp_path / "model", tokenizer=False)
    save_tokenizer(tmp_path / "model", template=TEMPLATE)
    assert found("sft", data=talks, student=str(tmp_path / "model"))["chat"].level == "pass"
    plain = found("sft", student=str(tmp_path / "model"))
    assert plain["chat"].level == "warn"
    assert "plain prompts" in plain["chat"].detail
    assert "Student hf:" in plain["tokenizer"].detail
    assert "5 more in the head are unused" in plain["tokenizer"].detail


def test_capped_scores_are_said(tmp_path):
    save_model(tmp_path / "model", "gemma2")
    assert "logits are capped at 3." in found("sft", student=str(tmp_path / "model"))["tokenizer"].detail


def test_questions_and_runs_that_leak(tmp_path):
    didact.run(method="sft", directory=tmp_path / "run", progress=False, **QUICK)
    assert "leakage" not in found("sft", student=str(tmp_path / "run"))
    leak = found("sft", student=str(tmp_path / "run"), seed=1)["leakage"]
    assert leak.level == "warn"
    assert "split_seed=0" in leak.detail


def test_the_sandbox_where_python_is_verified():
    tests = [{"prompt": f"Return {n}.", "tests": f"assert f() == {n}", "completion": f"def f(): return {n}"}
             for n in range(20)]  # fmt: skip
    checks = found("grpo", data=tests, verifier="python:weak", student="decoder:1x32:64",
                   sampling="max_new_tokens=4,samples=2")  # fmt: skip
    assert checks["sandbox"].detail.startswith("The sandbox is ")
    assert checks["verifier"].level == "pass"


@pytest.mark.filterwarnings("ignore:The verifier:RuntimeWarning")
def test_what_pays_for_nothing_is_a_failure():
    assert found("grpo", verifier="exact", sampling="max_new_tokens=4,samples=2")["verifier"].level == "pass"
    empty = found("grpo", verifier="regex:/^[0-9]{0,2}$/", sampling="max_new_tokens=4,samples=2")["verifier"]
    assert empty.level == "fail"
    same = found("grpo", verifier="regex:/[0-9]/", sampling="max_new_tokens=4,samples=2")["verifier"]
    assert same.level == "fail" and "constant completions as good as good ones, such as '0'" in same.detail


def test_what_cannot_work_is_a_failure_and_not_an_exception():
    assert found("gkd")["set-up"].level == "fail"
    assert found("grpo")["verifier"].level == "fail"
    assert found("sft", data="nowhere.jsonl")["data"].level == "fail"
    assert found("sft", data=[*RECORDS, {"prompt": "1"}])["data"].level == "fail"


def test_a_loss_that_is_not_finite_is_noticed():
    learner = build_causal("decoder:1x32:32")
    with torch.no_grad():
        learner.head.weight.fill_(float("nan"))
    ids = torch.tensor([[1, 5, 6, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": ids > 4, "id": ids[:, 0]}
    assert gradient_check(SFT(Config(), learner), Batch(batch), "x").level == "fail"


# ---- memory


def rows_of(count, length):
    ids = torch.randint(4, 250, (count, length), generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(ids)
    return Batch({"input_ids": ids, "attention_mask": ones, "completion_mask": ones, "id": torch.arange(count)})


@pytest.mark.parametrize(("optimizer", "moments"), [("adamw", 2), ("sgd", 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_memory_that_is_counted_is_that_of_the_tensors(optimizer, moments, dtype):
    learner, other = build_causal("decoder:2x64:64", dtype=dtype), build_causal("decoder:1x32:64")
    own, half = sum(p.numel() for p in learner.parameters()), dtype == torch.bfloat16
    method, settings = SFT(Config(), learner), {"optimizer": optimizer, "rows": 8, "length": 20, "slots": 4}
    need = estimate_memory(method, rows_of(4, 20), others=[other, other, learner], resident=10**9, **settings)
    weights = own * dtype.itemsize + 4 * sum(p.numel() for p in other.parameters())
    assert (need.weights, need.process) == (weights, 10**9 - weights)
    stepper = Stepper(method, OptimizerConfig(name=optimizer, lr=1e-3))
    stepper.backward(method.loss(rows_of(2, 20)))
    stepper.advance(stepper.gradients(0))
    state = [t for kept in stepper.optimizer.state.values() for t in kept.values() if torch.is_tensor(t) and t.dim()]
    copies = [p for p in stepper.stepped if p.dtype != dtype]
    assert need.optimizer == sum(t.nbytes for t in (*state, *copies)) == (moments + half) * 4 * own
    # Keys and values of 2 blocks, 64 columns each, for 4 sequences of 20 tokens; and the weights, which are copied.
    assert need.cache == (2 * 2 * 64 * 4 * 20 + own) * dtype.itemsize
    assert need.allocator == min(64 << 20, need.step)
    fixed = need.process + need.weights + need.optimizer + need.allocator
    assert need.total == fixed + max(need.step, need.cache) and need.step > 4 * own


def test_a_model_with_shared_keys_has_a_smaller_cache(tmp_path):
    save_model(tmp_path / "model")
    method = SFT(Config(), build_causal(f"hf:{tmp_path / 'model'}"))
    settings = {"optimizer": "adamw", "rows": 1, "length": 10}
    without, need = (estimate_memory(method, rows_of(2, 10), others=[], slots=n, **settings) for n in (0, 3))
    weights = sum(p.nbytes for p in method.learner.parameters())
    # 2 blocks, keys and values, 2 heads of 8 columns.
    assert (without.cache, need.cache) == (0, 2 * 2 * 16 * 3 * 10 * 4 + weights)


class Live(TorchDispatchMode):
    """The bytes of all tensors that were made within this context and are still there, and their peak."""

    def __init__(self, known):
        super().__init__()
        self.live, self.peak, self.sizes = 0, 0, {}
        self.known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for storage in (t.untyped_storage() for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
            if storage._cdata not in self.sizes and storage._cdata not in self.known:
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
        return out

    def gone(self, place):
        self.live -= self.sizes.pop(place, 0)


@pytest.mark.parametrize(
    ("method", "student", "rows", "parts", "checkpointing"),
    [
        ("sft", "decoder:3x64", 24, 1, True),
        ("sft", "decoder:2x128", 2, 1, False),
        ("dpo", "lora", 12, 2, True),
        *(
            pytest.param(*case, checkpointing, marks=pytest.mark.slow)
            for case, both in (
                (("sft", "decoder:3x64", 24, 1), (False,)),
                (("sft", "decoder:3x64", 24, 3), (False, True)),
                (("sft", "decoder:2x128", 2, 1), (True,)),
                (("dpo", "decoder:2x64", 12, 1), (False, True)),
                (("dpo", "lora", 12, 2), (False,)),
            )
            for checkpointing in both
        ),
    ],
)
def test_the_estimate_is_within_a_tenth_of_the_tensors_of_two_steps(
    tmp_path, method, student, rows, parts, checkpointing
):
    if student == "lora":
        save_model(tmp_path, hidden_size=64, intermediate_size=128, num_hidden_layers=3)
        student = f"lora:8:hf:{tmp_path}"
    records = [
        {"prompt": f"{i:03d}" * 5, "chosen": f"{i:03d}" * 10, "rejected": f"{i + 1:03d}" * 10} for i in range(60)
    ]
    settings = {
        **QUICK,
        "data": records,
        "student": student,
        "batch_size": rows,
        "gradient_checkpointing": checkpointing,
    }
    run = prepare(*split_arguments(method=method, **settings))
    batch, run_method = next(iter(run.source)), run.method
    run_method.learner.train()
    others = [run_method.reference.learner] if method == "dpo" else []
    shape = {"rows": rows // parts, "length": batch["input_ids"].shape[1], "slots": 0, "summed": parts > 1}
    need = estimate_memory(run_method, batch.split(3)[0], others=others, optimizer="adamw", **shape)
    assert not any(p.grad is not None for p in run_method.parameters())
    models = (run_method.learner, *others)
    own = {p.untyped_storage().data_ptr(): p.nbytes for model in models for p in model.parameters()}
    known = [*(p for model in models for p in (*model.parameters(), *model.buffers())), *batch.values()]
    with Live(known) as measured:
        stepper = Stepper(run_method, OptimizerConfig(lr=1e-3))
        for step in range(2):
            for part in batch.split(rows // parts):
                stepper.backward(run_method.loss(part))
            stepper.advance(stepper.gradients(step))
            stepper.clear()
    assert need.total == pytest.approx(measured.peak + sum(own.values()), rel=0.1)


def test_advice_is_given_where_memory_is_short(monkeypatch):
    enough = found("sft")["memory"]
    assert enough.level == "pass" and "Lower" not in enough.detail
    monkeypatch.setattr("didact.materials.questions.trials.free_memory", lambda _: 1)
    short = found("sft")["memory"]
    assert short.level != "pass" and "Lower micro_batch" in short.detail


def test_free_memory_is_a_number_here():
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 1 << 20
    assert free_memory(torch.device("meta")) is None


# ---- texts, ends and teachers


def asked(prompts, completions, **more):
    """What the doctor says of texts."""
    pairs = zip(prompts, completions, strict=True)
    rows = [{"id": str(i), "prompt": p, "completion": c, **more} for i, (p, c) in enumerate(pairs)]
    questions = sources.from_records(rows)
    return [*texts._alike(questions), *texts._repeated(questions), *texts._pairs(questions)]


def test_texts_that_are_alike_or_repeated_are_counted():
    numbers = [str(i) for i in range(40)]
    assert asked(numbers, numbers) == []
    alike = asked(numbers, ["yes"] * 37 + ["no"] * 3)
    assert [words.split(",")[0] for words in alike] == ["37 of 40 training questions have the same completion"]
    assert asked(numbers, ["yes"] * 36 + ["no"] * 4) == []
    again = asked(numbers[:10] * 4, numbers[:10] * 4)
    assert again[0].startswith("30 of 40 training rows repeat another one word for word")
    same = asked(numbers, numbers, rejected="7")
    assert same[0].startswith("1 of 40 training pairs have the same completion as chosen and rejected")


def test_ends_of_a_generation_config_are_found_in_any_model(tmp_path):
    for name, architecture, wanted in (("a", "llama", (2,)), ("b", "gpt2", (2,)), ("c", "llama", (2, 7))):
        save_model(tmp_path / name, architecture)
        path = tmp_path / name / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": list(wanted)}))
        assert endings.generated_ends(build_causal(f"hf:{tmp_path / name}")) == wanted
    assert endings.generated_ends(build_causal("decoder:1x32:32")) == ()


def test_what_a_teacher_of_tokens_says_is_measured(tmp_path):
    """Entropy and likelihood are those of a slow computation by transformers."""
    model = save_model(tmp_path / "model")
    save_model(tmp_path / "other", "gpt2")
    settings = {**QUICK, "student": f"hf:{tmp_path / 'other'}", "teacher": f"hf:{tmp_path / 'model'}"}
    run = prepare(*split_arguments(method="taid", **settings))
    teacher = run.teachers[0].model.learner
    asked = run.data.train.select(range(5))
    entropy, logs = [], []
    for question in asked:
        prompt, answer = teacher.tokenizer.prompt(question), teacher.tokenizer.completion(question)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
        for place, token in enumerate(answer, len(prompt) - 1):
            entropy.append(float(-(logits[place].exp() * logits[place]).sum()))
            logs.append(-float(logits[place, token]))
    assert teaching._calmly(teacher, asked) == pytest.approx(sum(logs) / len(logs), rel=1e-4)
    said = teaching._sharpness(run, teacher, asked).detail
    assert f"have {sum(entropy) / len(entropy):.2g} nats of entropy" in said
    same, apart = (teaching._apart(run, model, teacher, asked) for model in (teacher, run.student.model))
    assert same < teaching.SAME < apart


def test_a_method_of_two_tokenizers_needs_a_model_that_has_one():
    said = found("cross_tokenizer", teacher="random")["tokenizers"]
    assert said.level == "fail"
    assert "teacher is 'random', but the method 'cross_tokenizer' reads the teacher's own tokens" in said.detail
