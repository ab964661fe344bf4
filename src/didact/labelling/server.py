"""The server of the page: on the loopback address alone, for who knows the token in its address.

Requests for another host are refused, so that a page elsewhere cannot reach it by a name that it points here (DNS
rebinding). Rows are named by their place, so that no request names a file. What changes something needs the token, too,
and JSON, which a form of another page cannot send.
"""

import base64
import contextlib
import hashlib
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from didact.errors import ConfigError, DataError, DidactError, import_optional
from didact.labelling.answers import Answers, as_csv
from didact.labelling.rows import Pool, image_bytes, to_json

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"


@cache
def page() -> str:
    """The page, one file without anything from elsewhere."""
    return resources.files("didact.labelling").joinpath("page.html").read_text("utf-8")


def headers() -> list[tuple[str, str]]:
    """What every answer of the server says: the browser runs this page's script alone, and keeps nothing."""
    script, style = (
        base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        for tag in ("script", "style")
        if (found := re.search(rf"<{tag}>(.*?)</{tag}>", page(), re.DOTALL))
    )
    policy = (
        f"default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'sha256-{script}'; "
        f"style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]


def listen(port: int) -> socket.socket:
    """A socket on the loopback address.

    Args:
        port: 0 takes a free one.

    Raises:
        ConfigError: the port is in use or not allowed.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"port is {port}, but must be 0 (a free one) to 65535.")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(
            f"port is {port}, which cannot be used: {error.strerror}. --port 0 takes a free one."
        ) from None


class LabelServer:
    """The page for all people.

    Args:
        pool: the rows.
        answers: of their ids.
        port: see `listen`.

    Raises:
        ConfigError: the port cannot be used.
        MissingExtraError: starlette or uvicorn is not installed.
    """

    def __init__(self, pool: Pool, answers: Answers, port: int) -> None:
        self._server = _server(application(pool, answers, token := secrets.token_urlsafe(16)))
        self._socket = listen(port)
        self.urls = {name: f"http://{HOST}:{self._socket.getsockname()[1]}/{token}/{name}/" for name in answers.people}
        """The address of each person's page."""

    def run(self) -> None:
        """Serve until the process is interrupted."""
        with contextlib.suppress(KeyboardInterrupt), self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run` from another thread."""
        self._server.should_exit = True


def _server(app: "Starlette") -> "uvicorn.Server":
    uvicorn = import_optional("uvicorn", "label", "The labelling page")
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        headers=headers(),
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def application(pool: Pool, answers: Answers, token: str) -> "Starlette":
    """The page and what it asks for, below `/TOKEN/PERSON/`.

    Args:
        pool: the rows.
        answers: of their ids.
        token: without which nothing is answered.

    Raises:
        MissingExtraError: starlette is not installed.
    """
    applications = import_optional("starlette.applications", "label", "The labelling page")
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def guarded(handle: "Callable[[Request, str], Awaitable[Response]]") -> "Callable[[Request], Awaitable[Response]]":
        async def checked(request: "Request") -> "Response":
            given, person = request.path_params["token"], request.path_params["person"]
            if not secrets.compare_digest(given.encode(), token.encode()) or person not in answers.people:
                return PlainTextResponse("There is no such page; take the address that `didact label` printed.\n", 404)
            try:
                return await handle(request, person)
            except (IndexError, DidactError) as error:
                return JSONResponse(
                    {"error": str(error) or "There is no such row."}, 404 if request.method == "GET" else 422
                )
            except OSError as error:
                return JSONResponse({"error": f"Nothing was kept: {error.strerror or error}."}, 507)

        return checked

    def state(person: str, at: int | None) -> "Response":
        found = {
            "at": at,
            "person": person,
            "people": len(answers.people),
            "name": pool.name,
            "classes": answers.classes,
        }
        done = at is None and len(answers.people) > 1
        return JSONResponse({**found, **answers.progress(person), "agreement": answers.agreement() if done else []})

    async def show(_request: "Request", _person: str) -> "Response":
        return HTMLResponse(page())

    async def begin(_request: "Request", person: str) -> "Response":
        return state(person, answers.next_of(person))

    async def row(request: "Request", person: str) -> "Response":
        place = request.path_params["place"]
        found = to_json(pool.rows[answers.row_of(person, place)])
        return JSONResponse({**found, "label": answers.label_of(person, place)})

    async def image(request: "Request", person: str) -> "Response":
        content, kind = image_bytes(pool.rows[answers.row_of(person, request.path_params["place"])])
        return Response(content, media_type=kind)

    async def act(request: "Request", person: str) -> "Response":
        told = await _told(request)
        if told.get("act") == "undo":
            at = answers.undo(person)
            return state(person, answers.next_of(person) if at is None else at)
        name, place = told.get("id"), told.get("place")
        if not isinstance(name, str) or not isinstance(place, int):
            raise ConfigError("An act needs the id of a row and its place.")
        if told.get("act") == "skip":
            answers.skip(person, name)
        elif told.get("act") == "answer" and isinstance(told.get("label"), str):
            answers.answer(person, name, told["label"])
        else:
            raise ConfigError("An act is an answer with a label, a skip, or an undo.")
        return state(person, answers.next_of(person, place))

    async def labels(_request: "Request", _person: str) -> "Response":
        agreed = answers.agreed()
        return Response(as_csv((name, agreed[name]) for name in answers.ids if name in agreed), media_type="text/csv")

    async def agreement(_request: "Request", _person: str) -> "Response":
        return JSONResponse(answers.agreement())

    gets = {"": show, "state": begin, "row/{place:int}": row, "image/{place:int}": image, "labels.csv": labels}
    gets["agreement.json"] = agreement
    routes = [Route(f"/{{token}}/{{person}}/{path}", guarded(handle)) for path, handle in gets.items()]
    return applications.Starlette(
        routes=[*routes, Route("/{token}/{person}/act", guarded(act), methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)],
    )


async def _told(request: "Request") -> dict[str, Any]:
    """What the page sends: an object of JSON, which no form can send without being asked first."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise DataError("Acts are sent as application/json.")
    try:
        found = await request.json()
    except ValueError:
        raise DataError("That is no JSON.") from None
    if not isinstance(found, dict):
        raise DataError("An act is an object of JSON.")
    return found
