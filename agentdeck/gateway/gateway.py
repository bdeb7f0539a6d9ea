"""The gateway of a run: a server on the loopback interface, through which running attempts call models.

Each attempt gets a key of its own, which is forgotten when the attempt ends. A call with it becomes a nested
task, which `CallOpener` opens: the scheduler decides when it starts, and the client waits.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import uuid4

from agentdeck.gateway.chat_completions import ChatCompletions
from agentdeck.gateway.dialect import AnswerStream, Dialect
from agentdeck.gateway.http_server import HOST, HttpRequest, HttpResponse, HttpServer
from agentdeck.gateway.messages import Messages
from agentdeck.gateway.model_names import names_of, target_of
from agentdeck.gateway.model_request import BadRequest, CallFailure, ModelAnswer, ModelRequest
from agentdeck.gateway.open_call import AttemptOver, ClientGone, OpenCall
from agentdeck.gateway.responses import Responses
from agentdeck.providers.keys import KeyStore
from agentdeck.workflow.deck import Deck

#: Seconds after which a stream that waits gets a sign of life.
KEEP_ALIVE = 10.0
#: The path of each API, and the list of models, which both OpenAI's and Anthropic's clients read.
CALLS: Mapping[str, Dialect] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}
MODELS = "/v1/models"
ANTHROPIC = CALLS["/v1/messages"]
#: What is wrong with a key. Clients show it, so it says what to do.
WRONG_KEY = CallFailure(
    401, "auth", "this key is not valid here: agentdeck gives each attempt a key of its own, which ends with it"
)
#: Clients of both APIs retry by themselves unless a header forbids it. agentdeck has already retried the call.
FINAL = {"x-should-retry": "false"}

#: An attempt: task, step, number.
Attempt: TypeAlias = tuple[str, str, int]


class CallOpener(Protocol):
    """Turns calls into tasks. `open` returns the id of the task, or raises AttemptOver; `cancel` ends it."""

    def open(self, access: Access, target: str, api: str, call: OpenCall) -> str: ...

    def cancel(self, task: str) -> None: ...


@dataclass(slots=True, eq=False)
class Access:
    """The access of one attempt. `alive` is called while its calls wait or are answered; `mask` hides its key;
    `calls` counts them."""

    attempt: Attempt
    key: str
    alive: Callable[[], None]
    mask: KeyStore
    calls: int = field(default=0)


class Gateway:
    """Answers the calls of all attempts of a run. It listens from the first `admit` on."""

    def __init__(self, deck: Deck, opener: CallOpener) -> None:
        self._deck = deck
        self._opener = opener
        self._server = HttpServer(self._handle, self._too_large)
        self._starting = asyncio.Lock()
        self._port = 0
        self._accesses: dict[str, Access] = {}

    @contextmanager
    def admit(self, attempt: Attempt, alive: Callable[[], None]) -> Iterator[Access]:
        """Give an attempt access until it ends."""
        key = f"agentdeck-{secrets.token_urlsafe(24)}"
        mask = KeyStore({})
        mask.add(key)
        access = self._accesses[key] = Access(attempt, key, alive, mask)
        try:
            yield access
        finally:
            del self._accesses[key]

    async def environment(self, access: Access) -> dict[str, str]:
        """The variables through which clients find the gateway."""
        async with self._starting:
            if not self._port:
                self._port = await self._server.start()
        url = f"http://{HOST}:{self._port}"
        return {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": access.key,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": access.key,
        }

    async def close(self) -> None:
        await self._server.close()

    # Requests

    async def _handle(self, request: HttpRequest, response: HttpResponse) -> None:
        dialect = CALLS.get(request.path)
        words = dialect or (
            ANTHROPIC if "anthropic-version" in request.headers else CALLS["/v1/chat/completions"]
        )
        access = self._access(request.headers)
        if access is None:
            await _refuse(response, words, WRONG_KEY)
        elif request.path == MODELS and request.method in ("GET", "HEAD"):
            await response.send(200, words.models(list(names_of(self._deck))))
        elif dialect is None:
            what = f"the gateway of agentdeck has no {request.path}; it has {', '.join([*CALLS, MODELS])}"
            await _refuse(response, words, CallFailure(404, "rejected", what))
        elif request.method != "POST":
            await _refuse(response, words, CallFailure(405, "rejected", f"{request.path} takes POST only"))
        else:
            await self._call(access, dialect, request, response)

    def _access(self, headers: Mapping[str, str]) -> Access | None:
        """The access whose key a request has. All keys are compared, in a time that says nothing about them."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = (headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")).strip().encode()
        found = None
        for key, access in self._accesses.items():
            if secrets.compare_digest(key.encode(), given):
                found = access
        return found

    def _too_large(self, message: str) -> object:
        return CALLS["/v1/chat/completions"].error(CallFailure(413, "context", message))

    async def _call(self, access: Access, dialect: Dialect, request: HttpRequest, response: HttpResponse) -> None:
        try:
            asked = _parsed(dialect, request.body)
            target = target_of(self._deck, asked.model)
        except BadRequest as error:
            await _refuse(response, dialect, CallFailure(400, "rejected", str(error), error.param))
            return
        if target is None:
            known = ", ".join(names_of(self._deck))
            what = f"no model is mapped to {asked.model[:200]!r} in the deck; there are {known}"
            await _refuse(response, dialect, CallFailure(404, "model", what, "model"))
            return
        call = OpenCall(asked)
        try:
            task = self._opener.open(access, target, dialect.name, call)
        except AttemptOver:
            await _refuse(response, dialect, WRONG_KEY)
            return
        response.on_disconnect(call.abandon)
        try:
            await self._answer(access, dialect, call, response)
        except (ClientGone, ConnectionError):
            pass
        finally:
            if not call.ended:
                self._opener.cancel(task)

    async def _answer(self, access: Access, dialect: Dialect, call: OpenCall, response: HttpResponse) -> None:
        """Pass the answer on as it comes. A stream begins with its first text, or when it has to be kept alive,
        so that an error before that has a status."""
        id_, created = uuid4().hex[:24], int(time.time())
        stream = dialect.stream(id_, created, call.request) if call.request.stream else None
        async for piece in call.pieces(KEEP_ALIVE):
            access.alive()
            if stream is not None:
                begun = _begin(response, stream)
                await response.write(begun + (stream.text(piece) if piece else stream.keep_alive))
        if call.failure is not None or call.reply is None:
            failure = call.failure or CallFailure(502, "server", "the call ended without an answer")
            if stream is not None and response.begun:
                await response.end(stream.fail(failure))
            else:
                await _refuse(response, dialect, failure)
        elif stream is not None:
            await response.end(_begin(response, stream) + stream.end(call.reply))
        else:
            await response.send(200, dialect.answer(ModelAnswer(id_, created, call.request, call.reply)))


def _parsed(dialect: Dialect, body: bytes) -> ModelRequest:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadRequest("the body is not a JSON object")
    return dialect.request(data)


def _begin(response: HttpResponse, stream: AnswerStream) -> bytes:
    """Begin the answer, unless it has begun. Returns what its stream begins with."""
    if response.begun:
        return b""
    response.begin(200)
    return stream.begin()


async def _refuse(response: HttpResponse, dialect: Dialect, failure: CallFailure) -> None:
    await response.send(failure.status, dialect.error(failure), FINAL)
