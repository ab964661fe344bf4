"""Set-ups with a teacher or a judge behind a server that talks like OpenAI's: here a stand-in on the loopback."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from exam.language import COMMON as LANGUAGE
from exam.language import GROUPS, student, sums
from exam.room import Room, fault, healthy
from exam.tables import NAMES, NUMBERS, STUDENT, rows

Reply = tuple[int, dict[str, Any]]
Answers = Callable[[str, dict[str, Any]], Reply]
"""Makes the status and the document of an answer, of the path and the document of a request."""
MODEL = "stand-in"


def serve(room: Room, answers: Answers) -> str:
    """Start a server for as long as the room is used; returns its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(200, {"data": [{"id": MODEL}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._reply(*answers(self.path, body))

        def _reply(self, status: int, document: dict[str, Any]) -> None:
            usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
            text = json.dumps({"model": MODEL, "usage": usage, **document}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    room.stack.callback(server.server_close)
    room.stack.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"


def chat(content: str | None, finish: str = "stop", **more: Any) -> Reply:
    """An answer of a chat."""
    return 200, {"choices": [{"index": 0, "finish_reason": finish, "message": {"content": content, **more}}]}


def _named(_path: str, body: dict[str, Any]) -> Reply:
    """The class whose number is the largest in a row; the score of an answer that is to be judged."""
    said = body["messages"][-1]["content"]
    if not said.startswith("{"):
        return chat('{"ok": true}')
    row = json.loads(said)
    if "answer" in row:
        right = row.get("reference") == row["answer"].strip()
        return chat(json.dumps({"reason": "compared", "score": float(right)}))
    best = max(range(3), key=lambda place: row[NUMBERS[place]])
    return chat(json.dumps({"label": NAMES[best]}))


def _taught(room: Room, answers: Answers, *options: str) -> list[str]:
    where = ",".join([f"server:{serve(room, answers)}", "retries=0", *options])
    return ["distill", "--data", room.table("table.csv", rows(160)), "--teacher", where, *STUDENT, "--batch-size", "8"]


@healthy("server", "a chat that names the class of a row")
def _(room: Room) -> list[str]:
    return _taught(room, _named)


@healthy("server", "a judge that compares an answer with its reference")
def _(room: Room) -> list[str]:
    words = [*student(room, trained=True), "--verifier", f"judge:{serve(room, _named)},retries=0"]
    return ["grpo", "--data", room.lines("sums.jsonl", sums()), *words, *GROUPS]


@fault("server", "a server that is not there", r"127\.0\.0\.1:9")
def _(room: Room) -> list[str]:
    words = ["--teacher", "server:http://127.0.0.1:9,retries=0"]
    return ["distill", "--data", room.table("table.csv", rows(80)), *words, *STUDENT]


@fault("server", "a server that wants a key", r"DIDACT_SERVER_KEY")
def _(room: Room) -> list[str]:
    return _taught(room, lambda _path, _body: (401, {"error": {"message": "no key"}}), f"model={MODEL}")


@fault("server", "a chat that refuses every row", r"abstained")
def _(room: Room) -> list[str]:
    return _taught(room, lambda _path, _body: chat(None, refusal="I would rather not."))


@fault("server", "a chat whose answers are cut off", r"abstained")
def _(room: Room) -> list[str]:
    return _taught(room, lambda _path, _body: chat('{"label": "a', "length"))


@fault("server", "a chat that names classes that the data do not have", r"abstained")
def _(room: Room) -> list[str]:
    return _taught(room, lambda _path, _body: chat('{"label": "dog"}'))


@fault("server", "a server without log-probabilities of a prompt", r"gives no log-probabilities")
def _(room: Room) -> list[str]:
    def plain(_path: str, _body: dict[str, Any]) -> Reply:
        return 200, {"choices": [{"index": 0, "finish_reason": "stop", "text": "7", "logprobs": None}]}

    words = [*student(room), "--teacher", f"server:{serve(room, plain)},retries=0"]
    return ["taid", "--data", room.lines("sums.jsonl", sums()), *words, *LANGUAGE]


@fault("server", "a server whose tokens are others than the student's", r"has another tokenizer")
def _(room: Room) -> list[str]:
    def other(_path: str, body: dict[str, Any]) -> Reply:
        ids = body["prompt"]
        places = [{str(token): {"logprob": -0.1, "decoded_token": "oh"}} for token in ids[1:]]
        choice = {"index": 0, "finish_reason": "length", "text": "", "prompt_logprobs": [None, *places]}
        return 200, {"choices": [choice]}

    words = [*student(room), "--teacher", f"server:{serve(room, other)},retries=0,top_k=1"]
    return ["taid", "--data", room.lines("sums.jsonl", sums()), *words, *LANGUAGE]


@fault("server", "a judge that likes everything", r"accepts everything")
def _(room: Room) -> list[str]:
    liked = chat(json.dumps({"reason": "nice", "score": 1.0}))
    words = [*student(room, trained=True), "--verifier", f"judge:{serve(room, lambda _path, _body: liked)},retries=0"]
    return ["grpo", "--data", room.lines("sums.jsonl", sums()), *words, *GROUPS]
