"""Every kind of bad input to a run of a language model: a sentence, before compute is spent; and what works, works."""

import json
import math
import sys

import pytest

import didact
from didact.cli import main
from didact.errors import CheckpointError, ConfigError, DataError, DidactError, RunError, TeacherError
from didact.experiment.config import RunConfig
from didact.experiment.doctor import diagnose
from didact.experiment.material import Objects
from didact.learners.causal import CausalLearner
from didact.learners.decoder import Decoder, DecoderConfig
from didact.learners.tokenizers import ByteTokens
from didact.materials.questions import pretraining
from tiny_language import save_model, save_tokenizer

RECORDS = [{"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a in range(6) for b in range(6)]
LEARNER = "decoder:1x32:32"
QUICK = {"data": RECORDS, "student": LEARNER, "batch_size": 8, "steps": 2, "sampling": "max_new_tokens=4", "lr": 1e-3}


def run(**settings):
    return didact.run(progress=False, **{**QUICK, **settings})


def refused(kind, *words, **settings):
    """A run that must be refused before its first step, by a sentence with these words."""
    with pytest.raises(kind) as caught:
        run(**settings)
    said = str(caught.value)
    assert said.endswith((".", "?")), said
    assert "\n" not in said
    for word in words:
        assert word in said, said


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "llama"
    save_model(path)
    return str(path)


def byte_model(**changes):
    shape = {"vocabulary": 260, "layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "mlp_width": 32, "context": 32}
    return CausalLearner(Decoder(DecoderConfig(**{**shape, **changes}), seed=1), ByteTokens())


# ---- models


def test_tokenizers_that_differ(llama):
    refused(TeacherError, "different tokenizers", "'gkd'", "cross_tokenizer", method="gkd", teacher=llama)


def test_a_teacher_with_fewer_token_ids_teaches_those_that_both_have():
    learner, teacher = byte_model(vocabulary=270), byte_model()
    result = run(method="gkd", student=learner, teacher=teacher)
    (note,) = (note for note in result.notes if "token ids" in note)
    assert "scores 270 token ids and the teacher 260" in note
    assert "the first 260" in note
    assert math.isfinite(result.metrics["teacher_kl"])
    found = {c.name: c for c in doctor(method="gkd", objects={"student": learner, "teacher": teacher})}
    assert (found["tokenizers"].level, found["tokenizers"].detail) == ("warn", note)


def test_no_token_that_ends_a_sequence(tmp_path):
    save_model(tmp_path / "model", tokenizer=False)
    save_tokenizer(tmp_path / "model", pad_token="<pad>")
    refused(ConfigError, "no end-of-sequence token", "eos_token", method="sft", student=str(tmp_path / "model"))


def test_places_that_hold_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(ConfigError, "student is", "a directory that is no student", method="sft", student=str(tmp_path / "empty"))
    refused(ConfigError, "student is 'runs/nowhere'", "no file or directory", method="sft", student="runs/nowhere")
    refused(ConfigError, "'mlp:64'", "for examples", "decoder", method="sft", student="mlp:64")
    refused(ConfigError, "teacher is 'warm:x'", "warm:STEPS:STUDENT", method="gkd", teacher="warm:x")


def test_a_teacher_that_is_missing_or_not_wanted():
    refused(ConfigError, "'gkd' needs a teacher", "hf:DIR", method="gkd")
    refused(ConfigError, "teacher is", "does not use a teacher", method="sft", teacher=LEARNER)


def test_a_beginning_that_nobody_could_tell():
    refused(ConfigError, "warm:50%:", "without a verifier", method="sft", student=f"warm:50%:{LEARNER}")
    words = ("without validation questions", "warm:500:")
    refused(ConfigError, *words, method="sft", student=f"warm:50%:{LEARNER}", verifier="exact", validation=0)
    refused(ConfigError, "in percent", "120", method="sft", student=f"warm:120%:{LEARNER}", verifier="exact")


def test_a_beginning_that_is_not_reached(monkeypatch):
    monkeypatch.setattr(pretraining, "LIMIT", 25)
    words = ("student is 'warm:100%", "after 25 steps", "ask for less")
    refused(RunError, *words, method="sft", student=f"warm:100%:{LEARNER}", verifier="exact")


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_a_prompt_that_is_longer_than_the_context(who):
    long = [*RECORDS, {"prompt": "1+" * 20, "answer": "1", "completion": "1"}]
    models = {"student": "decoder:1x32:64", "teacher": "decoder:1x32:64"}
    models["teacher" if who == "teacher" else "student"] = LEARNER
    words = ("'1+1+", "41 tokens", f"the {who} reads 32", "4 of them are for the answer")
    refused(DataError, *words, method="gkd", data=long, **models)
    refused(
        ConfigError, "max_new_tokens is 40", "reads 32", method="gkd", sampling="max_new_tokens=40", teacher=LEARNER
    )


def test_an_answer_that_does_not_fit():
    long = [*RECORDS, {"prompt": "1=", "completion": "1" * 40}]
    refused(DataError, "'1='", "44 tokens with its answer", "reads 32", method="sft", data=long)


def test_an_answer_of_the_data_that_does_not_fit_where_some_questions_keep_theirs():
    long = [*RECORDS, {"prompt": "1+1=", "answer": "2", "completion": "2" * 40}]
    refused(DataError, "tokens with its answer", method="gkd", data=long, teacher=LEARNER, on_policy=0.5)


# ---- questions


def test_an_empty_completion():
    bad = [*RECORDS, {"prompt": "9+9=", "completion": ""}]
    refused(DataError, "'9+9='", "an empty completion", "leave that question out", method="sft", data=bad)


def test_completions_that_are_missing_where_they_are_needed():
    bad = [{"prompt": record["prompt"]} for record in RECORDS]
    words = ("'gkd', with these options, learns from", "has no completion")
    refused(DataError, *words, method="gkd", teacher=LEARNER, on_policy=0.5, data=bad)
    refused(DataError, "The student is trained first", "has no completion", method="gkd", teacher=LEARNER, data=bad,
            **{"student": f"warm:5:{LEARNER}"})  # fmt: skip
    refused(DataError, "no rejected", method="dpo")


def test_a_line_that_is_not_json(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "1+1="}\n{"prompt": oops}\n')
    refused(DataError, "prompts.jsonl", "line 2", method="sft", data=path)


def test_records_that_are_no_questions():
    refused(DataError, "record 2", "'prompt'", method="sft", data=[RECORDS[0], 7])
    refused(DataError, "dict", "list of mappings", method="sft", data={"x": 1})


def test_examples_for_a_language_model_and_the_other_way_round():
    refused(ConfigError, "data is 'digits'", "'sft' trains language models", "addition", method="sft", data="digits")
    words = ("data is 'addition'", "'supervised' learns from examples", "breast_cancer")
    refused(ConfigError, *words, method="supervised", data="addition", sampling={}, student="mlp:4")
    words = ("sampling is", "'supervised' learns from examples")
    refused(ConfigError, *words, method="supervised", data="digits", student="mlp:4")
    refused(ConfigError, "target is 'kind'", "leave out target", method="sft", target="kind")
    refused(ConfigError, "labels is 10", "leave out labels", method="sft", labels=10)
    refused(ConfigError, "columns is", "built-in", method="sft", data="addition", columns="prompt=q")


# ---- tables


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("max_new_tokens", ("sampling is 'max_new_tokens'", "name=value")),
        ("max_new_token=4", ("sampling has no 'max_new_token'", "max_new_tokens")),
        ("samples=many", ("samples", "'many'")),
        ("samples=-1", ("samples is -1", "at least 0")),
        ("temperature=-1", ("temperature", "at least 0")),
        ("max_new_tokens=4,samples=3", ("batch_size is 8", "samples = 3")),
    ],
)
def test_sampling_that_cannot_be_read(table, words):
    refused(ConfigError, *words, method="grpo", verifier="exact", sampling=table)


def test_columns_that_cannot_be_read():
    refused(ConfigError, "columns is 'prompt'", "name=value", method="sft", columns="prompt")
    refused(DidactError, "'question'", "prompt", method="sft", columns="prompt=question")
    refused(ConfigError, "'promt'", "prompt", method="sft", columns="promt=prompt")


# ---- verifiers


def test_a_verifier_that_is_missing_or_unknown():
    refused(ConfigError, "verifier is not given", "'grpo' learns from rewards", "numeric", method="grpo")
    refused(DidactError, "'exakt'", "exact", method="grpo", verifier="exakt")
    bad = [*RECORDS, {"prompt": "9+9="}]
    refused(DataError, "'9+9='", "has no answer", "exact", method="grpo", verifier="exact", data=bad)


@pytest.fixture
def rewards(tmp_path, monkeypatch):
    """A module of rewards of one's own."""
    (tmp_path / "my_rewards.py").write_text(
        "def all_right(text, question): return 1.0\n"
        "def none_right(text, question): return 0.0\n"
        "def broken(text, question): return float('nan') if len(text) % 2 else 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_rewards"
    sys.modules.pop("my_rewards", None)


def doctor(method="grpo", objects=None, **settings):
    from didact.experiment.running import split_arguments

    given = {**QUICK, **settings, **(objects or {})}
    config, found = split_arguments(method=method, **given)
    assert isinstance(config, RunConfig)
    assert isinstance(found, Objects)
    return diagnose(config, found)


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [("all_right", "fail", "accepts everything"), ("none_right", "warn", "accepts nothing")],
)
def test_a_verifier_that_accepts_everything_or_nothing(rewards, name, level, words):
    found = [check for check in doctor(verifier=f"{rewards}:{name}") if check.name == "verifier"]
    assert [check.level for check in found][:1] == [level]
    assert any(words in check.detail for check in found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rewards_that_are_not_finite_count_for_nothing_and_are_noted(rewards):
    result = run(method="grpo", verifier=f"{rewards}:broken", sampling="max_new_tokens=4,samples=4")
    assert result.status == "done"
    (note,) = (note for note in result.notes if "abstained on" in note)
    assert "returned NaN" in note
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_no_validation_questions_are_no_trouble():
    result = run(method="sft", validation=0.0)
    assert result.validation == {}
    assert result.metrics["nll"] > 0


# ---- going on


def test_a_checkpoint_of_another_architecture(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    didact.run(method="sft", directory=tmp_path / "run", progress=False, **{**QUICK, "data": path})
    (tmp_path / "run" / "result.json").unlink()
    stored = tmp_path / "run" / "config.json"
    stored.write_text(stored.read_text().replace(LEARNER, "decoder:2x32:32"))
    with pytest.raises(CheckpointError, match="is of another model or method") as caught:
        didact.resume(tmp_path / "run", progress=False)
    assert "begin anew" in str(caught.value)


# ---- the command line


def test_the_command_line_says_it_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--data", "addition", "--student", LEARNER]
    for given in (
        ["run", "grpo", *words, "--sampling", "max_new_tokens"],
        ["run", "grpo", *words, "--verifier", "exakt"],
        ["run", "sft", "--data", "nowhere.jsonl", "--student", LEARNER],
        ["distill", *words[:2], "--student", LEARNER, "--on-policy"],
        ["distill", *words[:2], "--student", LEARNER, "--on-policy", "2", "--teacher", LEARNER],
        ["chat", "nowhere"],
    ):
        assert main(given) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1, said.err
    assert not list(tmp_path.iterdir())


# ---- what could learn nothing


@pytest.mark.parametrize("method", ["grpo", "rloo", "nft", "score", "kdrl", "seeded_iterated", "clip_cov", "d3s"])
def test_a_method_that_compares_refuses_what_cannot_differ(method):
    more = {"verifier": "exact", **({"teacher": LEARNER} if method == "kdrl" else {})}
    words = ("samples is 1", repr(method), "samples=8")
    refused(ConfigError, *words, method=method, sampling="max_new_tokens=4,samples=1", **more)
    for option in ("temperature=0", "top_k=1", "min_p=1"):
        words = (option.replace("=", " is "), "are the same", repr(method))
        refused(ConfigError, *words, method=method, sampling=f"max_new_tokens=4,samples=4,{option}", **more)
    # A batch that no number of samples from 2 to 8 divides.
    refused(ConfigError, "samples is 1", "multiple", method=method, batch_size=11, **more)


@pytest.mark.parametrize(
    ("method", "size", "samples"), [("grpo", 64, 8), ("grpo", 12, 6), ("rloo", 4, 4), ("gkd", 8, 1)]
)
def test_how_many_completions_are_written_follows_the_method(method, size, samples):
    seen = []

    def told(text, question):
        seen.append(question.id)
        return float(len(text))

    more = {"teacher": LEARNER} if method == "gkd" else {"verifier": told}
    result = run(method=method, batch_size=size, steps=1, validation=0, **more)
    assert result.cost.examples == size
    assert max(1, result.config.sampling.samples) == samples
    if seen:
        assert {seen.count(i) for i in seen[:size]} >= {samples}


def test_a_single_completion_is_enough_where_earlier_rounds_are_known():
    settings = {"verifier": "exact", "sampling": "max_new_tokens=4,samples=1", "divergence": "forward"}
    refused(ConfigError, "samples is 1", method="posterior", **settings)
    assert run(method="posterior", normaliser="running", **settings).status == "done"


def broken(text, question):
    raise KeyError("solution")


def test_a_verifier_that_never_can_tell_is_refused_after_the_first_round():
    with pytest.warns(RuntimeWarning, match="raised KeyError"), pytest.raises(TeacherError) as caught:
        run(method="grpo", verifier=broken, steps=200, validation=0)
    said = str(caught.value)
    assert "could judge none of the first 8 completions (it raised KeyError)" in said
    with pytest.warns(RuntimeWarning, match="raised KeyError"):
        found = {c.name: c for c in doctor(method="grpo", objects={"verifier": broken})}
    assert any(check.level == "fail" and "could judge none" in check.detail for check in found.values())


def test_a_verifier_that_can_tell_of_one_is_heard():
    told = iter(range(10**6))

    def rarely(text, question):
        return 1.0 if next(told) % 8 == 0 else float("nan")

    with pytest.warns(RuntimeWarning, match="returned NaN"):
        assert run(method="grpo", verifier=rarely, validation=0).status == "done"


def test_a_length_that_would_mean_nothing():
    refused(ConfigError, "max_length is 64", "does not apply", method="sft", max_length=64)
    words = ("dropout is 'off'", "does not apply")
    refused(ConfigError, *words, method="supervised", data="digits", student="mlp:8", sampling={}, dropout="off")


def test_a_method_by_its_place():
    with pytest.raises(ConfigError, match="'sft' is given as the method, and method is 'gkd'"):
        didact.run("sft", method="gkd")
    with pytest.raises(ConfigError, match="config is dict, but must be a RunConfig"):
        didact.run({"method": "sft"})
    with pytest.raises(ConfigError, match="There is no method 'sfd'"):
        didact.run("sfd", **QUICK)
    assert didact.run("sft", progress=False, **QUICK).config.method == "sft"
    result = didact.run("score", progress=False, verifier="exact", **{**QUICK, "batch_size": 16})
    assert result.config.method == "score"
    assert result.status == "done"


def test_the_defaults_of_language_models_are_those_of_their_peers():
    config = run(method="sft").config
    assert (config.loop.clip_norm, config.optimizer.weight_decay) == (1.0, 0.0)
    config = run(method="sft", clip_norm=0.0, weight_decay=0.1).config
    assert (config.loop.clip_norm, config.optimizer.weight_decay) == (0.0, 0.1)
    rates = {}
    for method, more in {
        "sft": {},
        "dpo": {},
        "personalised": {"verifier": "exact"},
        "grpo": {"verifier": "exact"},
    }.items():
        pairs = [{**record, "rejected": "no"} for record in RECORDS]
        rates[method] = run(method=method, data=pairs, **{**more, "lr": None}).config.optimizer.lr
    # TRL's dpo learns at a twentieth of the rate of its sft, 1e-6 beside 2e-5.
    assert rates["dpo"] == pytest.approx(rates["sft"] / 20)
    assert rates["personalised"] == rates["sft"]
    assert rates["grpo"] == pytest.approx(rates["sft"] / 10)
