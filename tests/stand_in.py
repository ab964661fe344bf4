"""A server on the loopback that answers like vLLM, SGLang or `transformers serve`, or misbehaves as it is told."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from didact.learners.causal import load_causal
from didact.rollouts import Sampler, Sampling

PLAIN = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"}
"""What `transformers serve` knows; it refuses other fields with status 422."""


class StandIn:
    """Answers with a model's own samples; each request may take a misdeed from `misdeeds` first."""

    def __init__(self, learner, *, text_only=False, names_only=False):
        self.learner, self.first, self.text_only, self.names_only = learner, learner, text_only, names_only
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
            found = Sampler(self.learner, sampling, seed=body["seed"]).sample([prompt], [0])
        ids, text = found.tokens[0].tolist(), found.texts[0]
        choice = {"text": text, "finish_reason": "stop" if found.finished[0] else "length", "index": 0}
        if not self.text_only:
            names = [f"token_id:{token}" for token in ids]
            choice["logprobs"] = {"tokens": names, "token_logprobs": found.log_probs[0].tolist()}
            if not self.names_only:
                choice |= {"token_ids": ids, "prompt_token_ids": prompt}
        return 200, {"choices": [choice]}

    def reload(self, path, body):
        self.reloads.append((path, body))
        with self.lock:
            if path == "/update_weights_from_disk":
                self.learner = load_causal(body["model_path"])
            elif path == "/collective_rpc":
                self.learner = load_causal(self.folder)
        return {"success": True}


def spoiled(misdeed, answer, body):
    """An answer as a misdeed makes it."""
    choice = answer["choices"][0]
    if misdeed == "two choices":
        return {"choices": [choice, choice]}
    if misdeed == "no choices":
        return {"choices": []}
    if misdeed == "unfinished":
        return {"choices": [{**choice, "finish_reason": None}]}
    if misdeed == "too many tokens":
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
            self.reply(200, json.dumps({"data": [{"id": "student"}]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
            stand_in.keys.append(self.headers.get("authorization"))
            if not self.path.endswith("/completions"):
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
            status, answer = stand_in.complete(body)
            text = json.dumps(spoiled(misdeed, answer, body) if status == 200 else answer).encode()
            if misdeed == "no JSON":
                text = b"<html>busy</html>"
            if misdeed == "flood":
                text = text[:-1] + b', "more": "' + b"x" * 200_000 + b'"}'
            return status, text, misdeed == "half"

        def reply(self, status, text, half=False):
            self.send_response(status)
            self.send_header("content-type", "application/json")
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
