"""A server on the loopback that answers like vLLM, SGLang or `transformers serve`, or misbehaves as it is told."""

import contextlib
import copy
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import didact
from didact.errors import PausedError
from didact.learners.causal import load_causal
from didact.rollouts import Sampler, Sampling

PLAIN = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"}
"""What `transformers serve` knows; it refuses other fields with status 422."""


class StandIn:
    """Answers with a model's own samples; each request may take a misdeed from `misdeeds` first."""

    def __init__(
        self,
        learner,
        *,
        text_only=False,
        names_only=False,
        ways=("prompt_logprobs", "echo"),
        say=None,
        structured=True,
        entries=False,
    ):
        self.learner, self.first, self.text_only, self.names_only = learner, learner, text_only, names_only
        self.ways, self.say, self.structured, self.entries = ways, say, structured, entries
        self.model, self.wants, self.later = "student", None, "0"
        self.misdeeds, self.seen, self.reloads, self.keys = [], [], [], []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def complete(self, body):
        if self.text_only and set(body) - PLAIN:
            return 422, {"detail": "Unexpected fields in the request"}
        prompt = body["prompt"]
        if isinstance(prompt, str):
            prompt = [self.learner.tokenizer.bos, *self.learner.tokenizer.encode(prompt)]
        options = {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p") if name in body}
        sampling = Sampling(max_new_tokens=body["max_tokens"], stop=tuple(body.get("stop", ())), **options)
        with self.lock:
            found = Sampler(self.learner, sampling, seed=body.get("seed", 0)).sample([prompt], [0])
        ids, text = found.tokens[0].tolist(), found.texts[0]
        choice = {"text": text, "finish_reason": "stop" if found.finished[0] else "length", "index": 0}
        if not self.text_only:
            names = [f"token_id:{token}" for token in ids]
            choice["logprobs"] = {"tokens": names, "token_logprobs": found.log_probs[0].tolist()}
            if not self.names_only:
                choice |= {"token_ids": ids, "prompt_token_ids": prompt}
        return 200, {"choices": [choice]}

    @torch.no_grad()
    def told(self, body):
        """The log-probabilities of the prompt, in one of the ways that servers have."""
        prompt = body["prompt"]
        logs = (self.learner.module(torch.tensor([prompt])) @ self.learner.head.weight.t())[0].log_softmax(-1)
        spell = lambda token: self.learner.tokenizer.decode([token], special=True)  # noqa: E731
        named = self.names_only or body.get("return_tokens_as_token_ids", False)
        choice = {"text": "", "finish_reason": "length", "index": 0}
        if count := body.get("prompt_logprobs"):
            rows = [None]
            for place, row in zip(prompt[1:], logs, strict=False):
                best = {*row.topk(count).indices.tolist(), place}
                rows.append({str(i): {"logprob": float(row[i]), "decoded_token": spell(i)} for i in sorted(best)})
            return {**choice, "prompt_logprobs": rows}
        words = [f"token_id:{token}" if named else spell(token) for token in prompt]
        tops = [None]
        for row in logs:
            best = row.topk(body["logprobs"]).indices.tolist()
            tops.append({(f"token_id:{i}" if named else spell(i)): float(row[i]) for i in best})
        return {**choice, "logprobs": {"tokens": [*words, "x"], "top_logprobs": tops}}

    def write(self, body):
        """What `say` says of a prompt, with the likeliest tokens at each place of it."""
        tokenizer, text = self.learner.tokenizer, self.say(body["prompt"])
        prompt, ids = [tokenizer.bos, *tokenizer.encode(body["prompt"])], tokenizer.encode(text)[: body["max_tokens"]]
        end = "stop" if len(ids) < body["max_tokens"] else "length"
        found = self.told({**body, "prompt": [*prompt, *ids]})["logprobs"]
        logs = {name: rows[len(prompt) : len(prompt) + len(ids)] for name, rows in found.items()}
        logs = {"content": [entry(*one) for one in zip(*logs.values(), strict=True)]} if self.entries else logs
        return 200, {"choices": [{"text": tokenizer.decode(ids), "finish_reason": end, "index": 0, "logprobs": logs}]}

    def talk(self, body):
        """A chat, as `say` answers it."""
        if "response_format" in body and not self.structured:
            return 422, {"detail": "Unexpected fields in the request"}
        said = self.say(body["messages"]) if self.say else '{"ok": true}'
        return 200, {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": said}}]}

    def embed(self, body):
        """An embedding of each text: how often each of eight letters is in it."""
        vectors = [[text.count(letter) + 0.5 for letter in "abcdefgh"] for text in body["input"]]
        return 200, {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}

    def answer(self, path, body):
        """The status and the document of an answer, with what it cost and the model's name."""
        if self.wants and self.keys[-1] != f"Bearer {self.wants}":
            return 401, {"error": {"message": f"{self.keys[-1]} is no key"}}
        if path.endswith("/chat/completions"):
            status, found = self.talk(body)
        elif path.endswith("/embeddings"):
            status, found = self.embed(body)
        elif body.get("prompt_logprobs") and "prompt_logprobs" in self.ways:
            status, found = 200, {"choices": [self.told(body)]}
        elif body.get("echo"):
            status, found = (200, {"choices": [self.told(body)]}) if "echo" in self.ways else (400, {"detail": "echo"})
        elif self.say:
            status, found = self.write(body)
        else:
            status, found = self.complete(body)
        if status == 200:
            usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
            found = {**found, "model": self.model, "usage": usage}
        return status, found

    def reload(self, path, body):
        self.reloads.append((path, body))
        with self.lock:
            if path == "/update_weights_from_disk":
                self.learner = load_causal(body["model_path"])
            elif path == "/collective_rpc":
                self.learner = load_causal(self.folder)
        return {"success": True}


def entry(word, tops=None):
    """How llama.cpp names a token: an id, and a word that other tokens may have, too."""
    more = {} if tops is None else {"top_logprobs": [{**entry(one), "logprob": logs} for one, logs in tops.items()]}
    return {"id": int(word.removeprefix("token_id:")), "token": "\ufffd", **more}


CHATS = {
    "refusal": lambda choice: {**choice, "message": {"content": None, "refusal": "I'd rather not."}},
    "filtered": lambda choice: {**choice, "finish_reason": "content_filter"},
    "cut": lambda choice: {**choice, "finish_reason": "length"},
    "silence": lambda choice: {**choice, "message": {"content": " "}},
    "prose": lambda choice: {**choice, "message": {"content": "Well, that depends."}},
    "another schema": lambda choice: {**choice, "message": {"content": '{"score": 7}'}},
}
"""Chats that are no answers."""


def spoiled(misdeed, answer, body):
    """An answer as a misdeed makes it."""
    if "data" in answer:
        one = answer["data"][0]
        return {"other order": {"data": [{**one, "index": 1}]}, "two choices": {"data": [one, one]}}.get(
            misdeed, answer
        )
    choice = answer["choices"][0]
    if "message" in choice and misdeed in CHATS:
        return {**answer, "choices": [CHATS[misdeed](choice)]}
    if "prompt_logprobs" in choice and misdeed == "other prompt":
        rows = choice["prompt_logprobs"]
        return {"choices": [{**choice, "prompt_logprobs": [rows[0], *rows[:0:-1]]}]}
    if "prompt_logprobs" in choice and misdeed == "half the places":
        return {"choices": [{**choice, "prompt_logprobs": choice["prompt_logprobs"][:2]}]}
    if misdeed == "two choices":
        return {"choices": [choice, choice]}
    if misdeed == "no choices":
        return {"choices": []}
    if misdeed == "unfinished":
        return {"choices": [{**choice, "finish_reason": None}]}
    if misdeed == "too many tokens":
        if "message" in choice:
            return {**answer, "usage": {"prompt_tokens": 1, "completion_tokens": 10**6, "total_tokens": 10**6 + 1}}
        return {"choices": [{**choice, "token_ids": [70] * (body["max_tokens"] + 1)}]}
    if misdeed == "unknown ids":
        return {"choices": [{**choice, "token_ids": [10**6]}]}
    if misdeed == "other prompt":
        return {"choices": [{**choice, "prompt_token_ids": [*body["prompt"][:-1], 9]}]}
    if misdeed == "impossible":
        count = len(choice["token_ids"])
        return {"choices": [{**choice, "logprobs": {"token_logprobs": [0.5] * count}}]}
    return answer


@contextlib.contextmanager
def serving(learner, *, port=0, **options):
    """A stand-in and its address; `port` is a free one by default."""
    stand_in = StandIn(learner, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(200, json.dumps({"data": [{"id": stand_in.model}]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
            stand_in.keys.append(self.headers.get("authorization"))
            if not self.path.endswith(("/completions", "/embeddings")):
                self.reply(200, json.dumps(stand_in.reload(self.path, body)).encode())
                return
            with stand_in.lock:
                stand_in.seen.append(body)
                misdeed = stand_in.misdeeds.pop(0) if stand_in.misdeeds else ""
                stand_in.at_once += 1
                stand_in.most_at_once = max(stand_in.most_at_once, stand_in.at_once)
            try:
                found = self.answer(misdeed, body)
            finally:
                # Before the reply: whoever has read it may ask again at once.
                with stand_in.lock:
                    stand_in.at_once -= 1
            if found is not None:
                self.reply(*found)

        def answer(self, misdeed, body):
            """The arguments of `reply`; None where the connection breaks off."""
            if misdeed in ("restart", "gone"):
                # It is killed, and where it begins anew it has the weights that it was first started with.
                stand_in.learner = stand_in.first
                stand_in.misdeeds = ["gone"] * 10_000 if misdeed == "gone" else stand_in.misdeeds
                return None
            if misdeed.isdigit():
                return int(misdeed), b'{"error": {"message": "not now"}}'
            if misdeed == "slow":
                time.sleep(1.0)
            status, answer = stand_in.answer(self.path, body)
            text = json.dumps(spoiled(misdeed, answer, body) if status == 200 else answer).encode()
            if misdeed == "no JSON":
                text = b"<html>busy</html>"
            if misdeed == "flood":
                text = text[:-1] + b', "more": "' + b"x" * 200_000 + b'"}'
            return status, text, misdeed == "half"

        def reply(self, status, text, half=False):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            if status == 429:
                self.send_header("retry-after", stand_in.later)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(text[: len(text) // 2] if half else text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stand_in, f"server:http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def moved(learner, amount=0.05):
    """The learner with other weights."""
    with torch.no_grad():
        for number, parameter in enumerate(learner.parameters()):
            parameter.add_(amount * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return learner


@contextlib.contextmanager
def transformers_serve(folder, port):
    """The real server, in a process that is killed at the end."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 400
            while time.monotonic() < until:
                assert process.poll() is None
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield
        finally:
            process.kill()
            process.wait(30)


def check_killed_server(learner, settings, folder, *, back):
    """A run whose server is killed ends as one whose server is left alone.

    It is there again at once; or, without `back`, the run pauses, and is resumed when it is.
    """
    (folder / "data.jsonl").write_text("".join(json.dumps({"prompt": f"{i}?"}) + "\n" for i in range(40)))
    shown = {}
    for name in ("calm", "killed"):
        with serving(copy.deepcopy(learner)) as (stand_in, kind):
            # Of 16 requests a round: in the third, after the checkpoint of the second step.
            stand_in.misdeeds = [""] * 40 + (["restart"] if back else ["gone"]) if name == "killed" else []
            engine = f"{kind},reload=sglang,concurrency=1"
            run = partial(didact.run, **settings, data=folder / "data.jsonl", engine=engine, directory=folder / name)
            if name == "calm":
                shown[name] = run()
                continue
            with pytest.warns(RuntimeWarning, match="failed: no connection"):
                if back:
                    shown[name] = run()
                else:
                    with pytest.raises(PausedError, match=r"no connection.*go on with: didact resume .*killed"):
                        run()
        if not back:
            with serving(copy.deepcopy(learner), port=int(kind.rpartition(":")[2])):
                trust = (kind, settings["student"])
                shown[name] = didact.resume(folder / name, progress=False, trust=trust)
    calm, killed = (dict(shown[name].learner.named_parameters()) for name in ("calm", "killed"))
    assert all(torch.equal(calm[name], parameter) for name, parameter in killed.items())
    assert any(not torch.equal(p, q) for p, q in zip(learner.parameters(), calm.values(), strict=True))
    assert shown["calm"].cost.sampled_tokens == shown["killed"].cost.sampled_tokens
