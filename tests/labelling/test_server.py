"""The server over HTTP: what it gives, and to whom."""

import http.client
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from didact.cli import main
from didact.errors import ConfigError
from didact.labelling.answers import Answers
from didact.labelling.rows import Pool, Row
from didact.labelling.server import HOST, LabelServer, listen

uvicorn = pytest.importorskip("uvicorn")

ROWS = tuple(Row(f"r{place}", text=f"text {place}") for place in range(4))
JSON = {"Content-Type": "application/json"}


@contextmanager
def serving(folder, people=("1",), overlap=0.0):
    answers = Answers(folder / "labels.csv", [row.id for row in ROWS], ("cat", "dog"), people, overlap)
    server = LabelServer(Pool("pool", ROWS), answers, 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.urls
    finally:
        server.stop()
        thread.join()
        answers.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A page that no test answers on."""
    with serving(tmp_path_factory.mktemp("page")) as urls:
        yield urls["1"]


def request(url, method="GET", body=None, headers=None):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    connection.request(method, parts.path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


def act(url, **told):
    status, content, _ = request(url + "act", "POST", json.dumps(told), JSON)
    return status, json.loads(content)


def test_a_row_after_the_other_until_all_are_labelled(tmp_path):
    with serving(tmp_path) as urls:
        url = urls["1"]
        state = json.loads(request(url + "state")[1])
        assert (state["at"], state["answered"], state["total"], state["classes"]) == (0, 0, 4, ["cat", "dog"])
        assert json.loads(request(url + "row/1")[1])["text"] == "text 1"
        assert act(url, act="answer", id="r0", place=0, label="dog")[1]["at"] == 1
        assert act(url, act="skip", id="r1", place=1)[1]["at"] == 2
        assert act(url, act="answer", id="r2", place=2, label="cat")[1]["at"] == 3
        assert json.loads(request(url + "row/2")[1])["label"] == "cat"
        assert act(url, act="undo")[1]["at"] == 2
        assert request(url + "labels.csv")[1] == b"id,label\nr0,dog\n"
    with serving(tmp_path) as urls:
        url = urls["1"]
        assert json.loads(request(url + "state")[1])["at"] == 2
        for place, following in ((2, 3), (3, 1), (1, None)):
            assert act(url, act="answer", id=f"r{place}", place=place, label="cat")[1]["at"] == following
    assert (tmp_path / "labels.csv").read_text() == "id,label\nr0,dog\nr1,cat\nr2,cat\nr3,cat\n"


def test_an_answer_that_arrives_twice_is_one(tmp_path):
    with serving(tmp_path) as urls:
        for _ in range(2):
            assert act(urls["1"], act="answer", id="r0", place=0, label="dog")[1]["answered"] == 1
    assert len((tmp_path / "labels.journal.jsonl").read_text().splitlines()) == 1


def test_two_people_have_pages_of_their_own(tmp_path):
    with serving(tmp_path, ("ann", "ben"), overlap=0.5) as urls:
        for person, url in urls.items():
            while (at := json.loads(request(url + "state")[1])["at"]) is not None:
                name = json.loads(request(url + f"row/{at}")[1])["id"]
                found = act(url, act="answer", id=name, place=at, label="cat" if person == "ann" else "dog")[1]
            assert found["answered"] == found["total"] == 3
        (pair,) = found["agreement"]
        assert (pair["people"], pair["rows"], pair["raw"], pair["kappa"]) == (["ann", "ben"], 2, 0.0, 0.0)
        assert json.loads(request(urls["ben"] + "agreement.json")[1]) == [pair]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"act": "answer", "id": "r0", "place": 0, "label": "bird"}, "label is 'bird'"),
        ({"act": "answer", "id": "r9", "place": 0, "label": "cat"}, "no row"),
        ({"act": "answer", "id": "r0", "place": 0}, "An act is"),
        ({"act": "answer", "id": ["r0"], "place": 0, "label": "cat"}, "needs the id"),
        ({"act": "dance", "id": "r0", "place": 0}, "An act is"),
    ],
)
def test_nonsense_is_answered_with_a_sentence(shared, told, words):
    status, found = act(shared, **told)
    assert status == 422 and words in found["error"]
    assert json.loads(request(shared + "state")[1])["answered"] == 0


@pytest.mark.parametrize(
    ("path", "method", "body", "headers", "status"),
    [
        ("", "GET", None, {}, 200),
        ("../wrong/1/", "GET", None, {}, 404),
        ("../../wrong/1/state", "GET", None, {}, 404),
        ("../2/state", "GET", None, {}, 404),
        ("", "GET", None, {"Host": "evil.example"}, 400),
        ("state", "GET", None, {"Host": f"evil.example:{8765}"}, 400),
        ("act", "POST", '{"act": "undo"}', {"Content-Type": "text/plain"}, 422),
        ("act", "POST", "act=undo", {"Content-Type": "application/x-www-form-urlencoded"}, 422),
        ("act", "POST", "{", JSON, 422),
        ("act", "POST", "[]", JSON, 422),
        ("act", "GET", None, {}, 405),
        ("row/4", "GET", None, {}, 404),
        ("row/-1", "GET", None, {}, 404),
        ("image/0", "GET", None, {}, 404),
        ("image/../../../../etc/passwd", "GET", None, {}, 404),
        ("%2e%2e/labels.csv", "GET", None, {}, 404),
    ],
)
def test_only_the_page_gets_answers(shared, path, method, body, headers, status):
    base = shared
    while path.startswith("../"):
        path, base = path[3:], base.rstrip("/").rsplit("/", 1)[0] + "/"
    assert request(base + path, method, body, headers)[0] == status


def test_the_page_needs_nothing_from_elsewhere_and_runs_its_own_script_alone(shared):
    _, content, headers = request(shared)
    assert set(re.findall(rb"(?:\w+:)?//[\w.]+", content)) == {b"http://www.w3.org"}
    lowered = {name.lower(): value for name, value in headers.items()}
    assert "default-src 'none'" in lowered["content-security-policy"]
    assert "unsafe" not in lowered["content-security-policy"]
    assert lowered["cache-control"] == "no-store" and lowered["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in lowered


def test_it_listens_on_the_loopback_address_and_says_when_the_port_is_taken():
    with listen(0) as taken:
        assert taken.getsockname()[0] == HOST == "127.0.0.1"
        with pytest.raises(ConfigError, match=r"port is \d+, .*in use.*--port 0"):
            listen(taken.getsockname()[1])
    with pytest.raises(ConfigError, match="port is 70000"):
        listen(70000)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--classes", "a"], "two names or more"),
        (["--classes", "a,b,a"], "two names or more"),
        ([], "two names or more"),
        (["--classes", "a,b", "--annotators", "0"], "must be 1 to 99"),
        (["--classes", "a,b", "--annotators", "x,x"], "all different"),
        (["--classes", "a,b", "--annotators", "../x"], "are of letters"),
        (["--classes", "a,b", "--annotators", "2", "--overlap", "2"], "overlap is 2"),
    ],
)
def test_the_command_refuses_what_cannot_work(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.csv").write_text("text\none\n")
    assert main(["label", "texts.csv", *words]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_the_command_prints_the_page_and_what_was_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.csv").write_text("text\none\ntwo\n")

    monkeypatch.setattr(uvicorn.Server, "run", lambda _server, sockets: None)
    assert main(["label", "texts.csv", "--classes", "a,b", "--annotators", "ann,ben", "--port", "0"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"ann +http://127\.0\.0\.1:\d+/[\w-]{22}/ann/\n", told)
    assert re.search(r"ben +0 of 1\n", told) and "no row in common yet" in told
