"""Rollouts by an OpenAI-compatible server: vLLM, SGLang, llama.cpp, `transformers serve`.

Each completion is a request of its own, with a seed of its own, so that a failed one is repeated alone. Servers that
take and return token ids are given those. For others the prompt is sent as text, and the answer's text is encoded: its
ids may be others than those that were sampled, where a text has several, so that its log-probabilities are the
student's own.
"""

import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from didact import trusting
from didact.documents import Document, parse_json
from didact.errors import DataError, EngineError
from didact.learners.causal import save_causal
from didact.rollouts.answers import Answer, completions_of, read_answer
from didact.rollouts.completions import Completions
from didact.rollouts.draws import rollout_keys
from didact.rollouts.engine_config import EngineConfig
from didact.rollouts.sampler import check_prompts
from didact.rollouts.sampling import Sampling
from didact.rollouts.stopping import Stopping
from didact.teachers.remote.client import Client
from didact.types import Question

KEY = "DIDACT_SERVER_KEY"
"""The environment variable with the server's key; no other is sent."""
BYTES = 1 << 16, 1 << 10
"""The largest answer: so many bytes, and so many more a token."""
_RELOADS = {
    "sglang": (("update_weights_from_disk", lambda folder: {"model_path": folder}),),
    "vllm": (
        ("collective_rpc", lambda _folder: {"method": "reload_weights"}),
        # It keeps the keys and values of prompts that the old weights have read.
        ("reset_prefix_cache", lambda _folder: {}),
    ),
}
"""The requests by which servers take new weights: SGLang from any folder, and vLLM, in its development mode, from the
folder that it was started with."""


class ServerEngine:
    """Samples completions at a server; see `didact.rollouts.engine_config.Engine`.

    Args:
        learner: the student; the server must have its tokenizer, and its weights at first.
        config: its `kind` is `server:URL`.
        seed: of all requests; the server decides what it makes of it.

    Raises:
        EngineError: the server does not answer, or has no model.
        MissingExtraError: openai is not installed.
        TrustError: an untrusted file names the server.
    """

    def __init__(self, learner: Any, config: EngineConfig, *, seed: int = 0) -> None:
        trusting.check(config.kind, "server")
        self.learner, self.config, self.seed = learner, config, seed
        self.client = Client(
            config.url, key=KEY, timeout=config.timeout, retries=config.retries, purpose="A rollout server"
        )
        self.root, self.failures = self.client.root, self.client.failures
        self._sending, self._folder = threading.Lock(), ""
        self._sent, self._took = "", 0
        """The folder with the weights that the server is to have, and how many answers had been lost when it took them:
        it may have begun anew since."""
        self.version = -1
        self.model = config.model or self._first_model()
        self.takes_ids = self._takes_ids()
        """Whether prompts are sent as token ids."""

    def _first_model(self) -> str:
        """The first model that the server lists."""
        name = self.client.first_model()
        if not name:
            raise EngineError(f"The server {self.root} lists no model; give its name, as in engine's model=NAME.")
        return name

    def _takes_ids(self) -> bool:
        """Whether the server takes a prompt of token ids."""
        prompt = self.learner.tokenizer.prompt(Question(id=0, prompt="1"))
        request = self._request(prompt, Sampling(max_new_tokens=1), 1, 0, ids=True)
        try:
            self.client.repeated(lambda: self.client.fetch(self._create, request), "trial")
        except EngineError as error:
            if error.status in (400, 422):
                return False
            raise
        return True

    def load(self, version: int) -> None:
        """Have the server take the student's weights from a folder.

        Raises:
            EngineError: it refuses, or has no such request.
        """
        if self.config.reload == "none" or version == self.version:
            return
        folder = (Path(self.config.folder) if self.config.folder else Path(self._temporary()) / "weights").resolve()
        save_causal(self.learner, folder)
        self._sent, self._took = str(folder), -1
        self.client.repeated(self._send, f"reload by {self.config.reload}")
        self.version = version

    def _send(self) -> None:
        """Have the server take the weights, if it did not since an answer was lost."""
        with self._sending:
            lost = len(self.client.losses)
            if not self._sent or self._took == lost:
                return
            for path, body in _RELOADS[self.config.reload]:
                found = self._post(path, body(self._sent))
                if isinstance(found, dict) and found.get("success") is False:
                    raise EngineError(f"The server {self.root} did not take the weights: {found.get('message')!s:.200}")
            self._took = lost

    def _temporary(self) -> str:
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="didact-weights-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _post(self, path: str, body: Document) -> Any:
        text = self.client.api.post(f"{self.root}/{path}", body=body, cast_to=str)
        try:
            return parse_json(text) if text else {}
        except ValueError:
            return {}

    def sample(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, *, visit: int
    ) -> Completions:
        """Sample completions.

        Raises:
            EngineError: a request failed as often as it is repeated.
            DataError: a prompt can't be sent.
        """
        check_prompts(self.learner, prompts, ids)
        self._check_options(sampling)
        keys = rollout_keys(torch.tensor(ids), seed=self.seed, visit=visit, samples=sampling.samples)
        stopping = Stopping(sampling.stop, self.learner.tokenizer, self.learner.head.vocabulary)
        asked = [prompt for prompt in prompts for _ in range(sampling.samples)]

        def ask(place: int) -> tuple[Answer, int, float]:
            answer, took = self._ask(asked[place], int(keys[place]) & 0x7FFFFFFF, sampling, stopping)
            return answer, took, time.monotonic()

        pool = ThreadPoolExecutor(min(self.config.concurrency, len(asked)), "didact-requests")
        try:
            found = dict(enumerate(pool.map(ask, range(len(asked)))))
            while doubted := [place for place, (_, took, ended) in found.items() if self._in_doubt(took, ended)]:
                found.update(zip(doubted, pool.map(ask, doubted), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        answers = [found[place][0] for place in range(len(asked))]
        return completions_of(answers, self.learner.tokenizer, read=sum(map(len, prompts)))

    def _in_doubt(self, took: int, ended: float) -> bool:
        """Whether an answer may be by a server that had begun anew, without the weights, before that was noticed.

        Args:
            took: how many answers were lost before the weights that it rests on were sent.
            ended: when it came.
        """
        return bool(self._sent) and any(ended > began for began in self.client.losses[took:])

    def _check_options(self, sampling: Sampling) -> None:
        if not self.takes_ids and (sampling.top_k or sampling.min_p):
            raise EngineError(
                f"sampling's top_k is {sampling.top_k} and min_p {sampling.min_p:g}, which the server {self.root} does "
                "not know; leave them out, and use top_p."
            )

    def _ask(self, prompt: Sequence[int], seed: int, sampling: Sampling, stopping: Stopping) -> tuple[Answer, int]:
        """One completion of one prompt, and how many answers were lost before its weights were sent."""
        most = min(sampling.max_new_tokens, self.learner.context - len(prompt))
        request = self._request(prompt, sampling, most, seed, ids=self.takes_ids)

        def read() -> tuple[Answer, int]:
            self._send()
            took = self._took
            choice = self.client.fetch(self._create, request, most=BYTES[0] + BYTES[1] * (len(prompt) + most))
            # Its log-probabilities are those at temperature 1.
            trusted = sampling.temperature == 1.0
            return read_answer(choice, prompt, most, self.learner, stopping, trusted=trusted), took

        return self.client.repeated(read, "completion")

    @property
    def _create(self) -> Any:
        return self.client.api.completions.with_streaming_response.create

    def _request(self, prompt: Sequence[int], sampling: Sampling, most: int, seed: int, *, ids: bool) -> Document:
        """The arguments of a request."""
        plain: Document = {
            "model": self.model,
            "max_tokens": most,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
        }
        if not ids:
            return {**plain, "prompt": self._as_text(prompt)}
        more: Document = {"return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": False}
        more |= {"include_stop_str_in_output": True} if sampling.stop else {}
        more |= {name: getattr(sampling, name) for name in ("top_k", "min_p") if getattr(sampling, name)}
        ends = sorted(self.learner.tokenizer.ends)
        stop = {"stop": list(sampling.stop)} if sampling.stop else {}
        return {**plain, **stop, "prompt": list(prompt), "logprobs": 1, "extra_body": {**more, "stop_token_ids": ends}}

    def _as_text(self, prompt: Sequence[int]) -> str:
        """A prompt as the text that the server's tokenizer makes the same ids of.

        Raises:
            DataError: there is none.
        """
        tokenizer = self.learner.tokenizer
        inner = list(prompt[1:] if prompt[0] == tokenizer.bos else prompt)
        text = tokenizer.decode(inner, special=True)
        if tokenizer.encode(text) != inner:
            raise DataError(
                f"The prompt {text[:60]!r} has token ids that its text does not have, and the server {self.root} takes "
                "text only; use a server that takes token ids, such as vLLM."
            )
        return text
