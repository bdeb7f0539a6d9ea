"""`http` against a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from agentdeck.agents.http import Http
from agentdeck.agents.http_runner import HttpVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import Fault, StepError
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider_errors import retry_after
from agentdeck.workflow.deck import Secret
from agentdeck.workflow.model import Agent, Data, Definition

pytestmark = pytest.mark.anyio


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    wait: float = 0


class Server:
    """Answers each request with what `reply` makes of it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.reply: Callable[[Asked], Reply] = lambda asked: Reply()
        self.base = ""

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            reply = self.reply(asked)
            await asyncio.sleep(reply.wait)
            fields = {"connection": "close", "content-length": str(len(reply.body)), **reply.headers}
            writer.write(f"HTTP/1.1 {reply.status} X\r\n".encode())
            writer.write("".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + reply.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    running = await one.start()
    yield one
    running.close()


@pytest.fixture
async def other() -> AsyncIterator[Server]:
    one = Server()
    running = await one.start()
    yield one
    running.close()


KEYS = {"T": "secret-123456"}, {"TOKEN": Secret(env="T")}


async def ask(url: str, scope: Mapping[str, Data] | None = None, **fields: Any) -> Data:
    agent = Agent("a", Http(url, **fields))
    setting = WorkflowContext(Definition("w", {"a": agent}), Path(), anyio.sleep, keys=KeyStore(*KEYS))
    work = AttemptContext("r1", "t1", "a", 1, agent, scope or {}, {}, lambda *a: None, lambda: None)
    try:
        return await HttpVerb(agent, setting).run(work)
    finally:
        assert len(setting.closing) <= 1
        for _, close in setting.closing:
            await close()


async def fault(url: str, scope: Mapping[str, Data] | None = None, **fields: Any) -> Fault:
    with pytest.raises(StepError) as caught:
        await ask(url, scope, **fields)
    return caught.value.fault


JSON = {"content-type": "application/json; charset=utf-8"}


async def test_json_and_templates(server: Server) -> None:
    server.reply = lambda asked: Reply(200, JSON, b'{"a": [1]}')
    scope = {"inputs": {"x": "é\n", "key": "k1", "none": None}}
    given = await ask(
        server.base + "/p?q=1",
        scope,
        method="post",
        headers={"X-Api-Key": "${inputs.key}", "X-None": "${inputs.none}"},
        body={"say": "${inputs.x}"},
    )
    assert given == {"a": [1]}
    asked = server.asked[0]
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/p?q=1", {"say": "é\n"})
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-api-key"] == "k1"
    assert "x-none" not in asked.headers


async def test_text_in_and_out(server: Server) -> None:
    server.reply = lambda asked: Reply(200, {"content-type": "text/plain; charset=latin-1"}, b"\xe9" + asked.body)
    assert await ask(server.base, method="PUT", body="hi") == "éhi"
    server.reply = lambda asked: Reply(200, {"content-type": "text/plain; charset=nonsense"}, b"x")
    assert await ask(server.base) == "x"
    server.reply = lambda asked: Reply(204, JSON)
    assert await ask(server.base) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "rejected"),
        (401, "auth"),
        (403, "auth"),
        (404, "rejected"),
        (429, "rate_limit"),
        (500, "server"),
        (503, "server"),
        (304, "rejected"),
    ],
)
async def test_status_classes(server: Server, status: int, kind: str) -> None:
    body = b"" if status == 304 else b"no\x1b[31m\n way " + b"z" * 5000
    server.reply = lambda asked: Reply(status, {"retry-after": "7"}, body)
    url = server.base.replace("//", "//user:secret@") + "/path?key=secret"
    got = await fault(url, method="POST")
    assert got.kind == kind
    assert got.message.startswith(f"POST {server.base}/path answered {status}")
    assert "secret" not in got.message
    assert got.message.isprintable()
    assert len(got.message) < 300
    assert len(got.detail) <= 2000
    assert got.retry_after == (7.0 if kind in ("rate_limit", "server") else None)


async def test_a_retry_after_of_hours_is_capped_and_shown(server: Server) -> None:
    server.reply = lambda asked: Reply(429, {"retry-after": "7200"}, b"slower")
    got = await fault(server.base + "/path")
    assert got.retry_after == 600
    assert "asked to wait 2h, capped at 10m" in got.message


def test_retry_after() -> None:
    def of(**fields: str) -> float | None:
        return retry_after(httpx.Headers({name.replace("_", "-"): value for name, value in fields.items()}))

    assert of() is None
    assert of(retry_after="3") == 3
    assert of(retry_after=" 1.5 ") == 1.5
    assert of(retry_after="-4") == 0
    assert of(retry_after="9", retry_after_ms="250") == 0.25
    assert of(retry_after="9", retry_after_ms="x") == 9
    for nonsense in ("nan", "inf", "soon", "", "9" * 400):
        assert of(retry_after=nonsense) is None
    now = datetime.now(UTC)
    later = of(retry_after=format_datetime(now + timedelta(seconds=60), usegmt=True))
    assert later is not None
    assert 57 < later <= 60
    assert of(retry_after=format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0


async def test_redirect_within_the_origin_keeps_headers(server: Server) -> None:
    def reply(asked: Asked) -> Reply:
        return Reply(200, {}, b"done") if asked.path == "/b" else Reply(302, {"location": "/b"})

    server.reply = reply
    assert await ask(server.base + "/a", method="POST", headers={"x-api-key": "k"}, body={"a": 1}) == "done"
    assert [(a.method, a.headers["x-api-key"]) for a in server.asked] == [("POST", "k"), ("GET", "k")]
    assert server.asked[1].body == b""
    assert "content-type" not in server.asked[1].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_another_origin_drops_headers(server: Server, other: Server, status: int) -> None:
    headers = {"location": other.base + "/there", "set-cookie": "c=1; Path=/"}
    server.reply = lambda asked: Reply(status, headers)
    mine = {"Authorization": "Bearer s", "Cookie": "s", "x-api-key": "s", "X-Other": "s", "Host": "s"}
    url = server.base.replace("//", "//user:secret@")
    await ask(url, method="POST", headers=mine, body={"a": 1})
    got = other.asked[0]
    assert not {"authorization", "cookie", "x-api-key", "x-other"} & set(got.headers)
    assert got.headers["host"] == other.base.removeprefix("http://")
    assert (got.method, got.body) == (("POST", b'{"a": 1}') if status in (307, 308) else ("GET", b""))


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_a_secret_in_the_body_goes_to_no_other_origin(server: Server, other: Server, status: int) -> None:
    server.reply = lambda asked: Reply(status, {"location": other.base + "/there?key=k"})
    body = {"key": "${secret.TOKEN}"}
    if status == 302:  # asked again by GET, without the body
        await ask(server.base, method="POST", body=body)
        assert other.asked[0].body == b""
        return
    got = await fault(server.base, method="POST", body=body)
    assert got.kind == "rejected"
    assert (
        f"a redirect to {other.base}/there, which is not followed because the body contains a "
        "secret" in got.message
    )
    assert json.loads(server.asked[0].body) == {"key": "secret-123456"}
    assert other.asked == []


async def test_redirects_that_lead_nowhere(server: Server) -> None:
    server.reply = lambda asked: Reply(302, {"location": "/again"})
    got = await fault(server.base)
    assert (got.kind, len(server.asked)) == ("rejected", 6)
    for location in ("file:///etc/passwd", "http://", "http://[bad"):
        server.reply = lambda asked, location=location: Reply(302, {"location": location})  # type: ignore[misc]
        assert (await fault(server.base)).kind == "rejected"


async def test_bodies_too_large(server: Server) -> None:
    server.reply = lambda asked: Reply(200, JSON, b"x" * 20_000_000)
    got = await fault(server.base)
    assert got.kind == "invalid"
    assert "larger than 16 MB" in got.message
    bomb = gzip.compress(b"x" * 20_000_000)
    server.reply = lambda asked: Reply(200, {"content-encoding": "gzip"}, bomb)
    assert (await fault(server.base)).kind == "invalid"
    server.reply = lambda asked: Reply(200, {"content-encoding": "gzip, gzip"}, gzip.compress(bomb))
    assert "more than once" in (await fault(server.base)).message
    server.reply = lambda asked: Reply(200, {"content-encoding": "br"}, b"x")
    assert "encoded as 'br', which is not supported" in (await fault(server.base)).message
    server.reply = lambda asked: Reply(200, {"content-encoding": "gzip"}, gzip.compress(b"whole")[:-4])
    assert "cut off" in (await fault(server.base)).message
    server.reply = lambda asked: Reply(500, {"content-encoding": "gzip"}, bomb)
    got = await fault(server.base)
    assert got.message.endswith("x" * 200)
    server.reply = lambda asked: Reply(500, {}, b"x" * 20_000_000)
    assert (await fault(server.base)).kind == "server"


@pytest.mark.parametrize("body", [b"{", b"", b"[NaN]", b"[1e999]", b"\xff\xff\xff", b"[" * 100_000])
async def test_bad_json(server: Server, body: bytes) -> None:
    server.reply = lambda asked: Reply(200, JSON, body)
    got = await fault(server.base)
    assert got.kind == "invalid"
    assert "is not JSON" in got.message


async def test_connection_faults(server: Server) -> None:
    spare = Server()
    running = await spare.start()
    running.close()
    await running.wait_closed()
    got = await fault(spare.base + "/x?key=secret")
    assert got.kind == "network"
    assert got.message.startswith(f"GET {spare.base}/x: no connection")
    server.reply = lambda asked: Reply(200, {"content-length": "100"}, b"short")
    assert (await fault(server.base)).kind == "network"
    server.reply = lambda asked: Reply(200, {"content-encoding": "gzip"}, b"no gzip")
    assert (await fault(server.base)).kind == "invalid"


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file:///etc/passwd", "host/x", "http://", "http://[x", "", "http://h:99999/"]
)
async def test_urls_that_are_none(url: str) -> None:
    assert (await fault(url)).kind == "setup"


@pytest.mark.parametrize(
    ("url", "value", "path"),
    [
        ("/items/${inputs.x}", "@other-host/", "/items/%40other-host%2F"),
        ("/items/${inputs.x}/all", "a/../b", "/items/a%2F..%2Fb/all"),
        ("/items/${inputs.x}", "a?b#c", "/items/a%3Fb%23c"),
        ("/items/${inputs.x}", "50% é", "/items/50%25%20%C3%A9"),
        ("/items?q=${inputs.x}&r=1", "a&b=c+d #e", "/items?q=a%26b%3Dc%2Bd%20%23e&r=1"),
        ("/items?${inputs.x}=1", "a=b&c", "/items?a%3Db%26c=1"),
        ("/items?q=${inputs.x}", [1, None], "/items?q=%5B1%2C%20null%5D"),
        ("/items/${inputs.x}", "a\r\nX-Evil: 1", "/items/a%0D%0AX-Evil%3A%201"),
        ("/items/${inputs.x}", "a\\b", "/items/a%5Cb"),
        ("/items/v${inputs.x}", "..", "/items/v.."),
        ("/items#${inputs.x}", "a b", "/items"),
    ],
)
async def test_values_in_a_url_are_encoded(server: Server, url: str, value: Data, path: str) -> None:
    await ask(server.base + url, {"inputs": {"x": value}})
    assert server.asked[0].path == path
    assert "x-evil" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("/items/${inputs.x}/all", ".."),
        ("/items/${inputs.x}", "."),
        ("/items/.${inputs.x}?a", "."),
        ("/items/%2e${inputs.x}", "."),
    ],
)
async def test_a_value_cannot_lead_to_another_path(server: Server, url: str, value: str) -> None:
    got = await fault(server.base + url, {"inputs": {"x": value}})
    assert got.kind == "setup"
    assert "a segment of the url's path" in got.message
    assert not server.asked


@pytest.mark.parametrize(
    "value", ["@127.0.0.1:PORT/", ".evil.test", "/", ":PORT", "\\@evil", "\r\nHost: x", "%2f"]
)
async def test_a_value_behind_the_host_leads_nowhere(server: Server, value: str) -> None:
    """Nothing is sent, whether the value is no part of a host or makes one that is not listed."""
    value = value.replace("PORT", server.base.rpartition(":")[2])
    got = await fault("http://127.0.0.1${inputs.x}", {"inputs": {"x": value}})
    assert got.kind == "setup"
    assert "is not allowed in the host" in got.message or "is not listed; add hosts: [" in got.message
    assert not server.asked


async def test_a_host_from_a_value_has_to_be_listed(server: Server) -> None:
    port = server.base.rpartition(":")[2]
    scope = {"inputs": {"url": server.base + "/a/b?c=d&e", "host": f"127.0.0.1:{port}", "port": int(port)}}
    got = await fault("${inputs.url}", scope)
    assert got.kind == "setup"
    assert "127.0.0.1 comes from a value and is not listed; add hosts: [127.0.0.1]" in got.message
    assert "its `hosts` has a.example" in (await fault("${inputs.url}", scope, hosts=("a.example",))).message
    assert (await fault("${inputs.url}", scope, hosts=("127.0.0.1:1",))).kind == "setup"
    assert not server.asked
    for hosts in (("127.0.0.1",), (f"127.0.0.1:{port}",), ("x", "*"), ("*.0.0.1",)):
        await ask("${inputs.url}", scope, hosts=hosts)
        assert server.asked.pop().path == "/a/b?c=d&e"
    await ask("http://${inputs.host}/x", scope, hosts=("127.0.0.1",))
    await ask("http://127.0.0.1:${inputs.port}/x", scope)
    assert len(server.asked) == 2
    tricks = ("http://127.0.0.1@evil.test/", "http://127.0.0.1\\@evil.test/", "http://evil.test#127.0.0.1")
    for url in tricks:
        got = await fault("${inputs.url}", {"inputs": {"url": url}}, hosts=("127.0.0.1",))
        assert "evil.test comes from a value" in got.message


async def test_a_password_from_a_value_is_no_host(server: Server) -> None:
    url = server.base.replace("//", "//ada:${inputs.x}@")
    await ask(url + "/a", {"inputs": {"x": "p@evil/:"}})
    assert server.asked[0].headers["authorization"] == "Basic " + b64encode(b"ada:p@evil/:").decode()


async def test_a_redirect_to_a_host_that_is_not_listed_is_not_followed(server: Server) -> None:
    port = server.base.rpartition(":")[2]
    away = f"http://localhost:{port}/there"
    server.reply = lambda asked: (
        Reply(200, {}, b"there") if asked.path == "/there" else Reply(302, {"location": away})
    )
    got = await fault(server.base + "/a")
    assert got.kind == "rejected"
    assert "a redirect to localhost, which is not in `hosts`" in got.message
    assert len(server.asked) == 1
    assert await ask(server.base + "/a", hosts=("localhost",)) == "there"


async def test_other_setup_faults(server: Server) -> None:
    scope = {"inputs": {"x": "a\r\nInjected: secret"}}
    got = await fault(server.base, scope, headers={"X-A": "${inputs.x}"})
    assert got.kind == "setup"
    assert "secret" not in got.message
    assert (await fault(server.base, headers={"X A": "1"})).kind == "setup"
    assert (await fault(server.base, method="GET /\r\n")).kind == "setup"
    assert (await fault(server.base, body="${1 / 0}")).kind == "expression"
    assert not server.asked


async def test_one_client_and_no_shared_cookies(server: Server) -> None:
    server.reply = lambda asked: Reply(200, {"set-cookie": "c=1; Path=/"}, b"ok")
    agent = Agent("a", Http(server.base))
    setting = WorkflowContext(Definition("w", {"a": agent}), Path(), anyio.sleep)
    work = AttemptContext("r1", "t1", "a", 1, agent, {}, {}, lambda *a: None, lambda: None)
    for verb in (HttpVerb(agent, setting), HttpVerb(agent, setting)):
        assert await verb.run(work) == "ok"
    assert len(setting.closing) == 1
    assert all("cookie" not in asked.headers for asked in server.asked)
    await setting.closing[0][1]()


async def test_cancel_does_not_wait_for_the_reply(server: Server) -> None:
    server.reply = lambda asked: Reply(wait=300)
    with anyio.fail_after(60), anyio.move_on_after(0.2) as scope:
        await ask(server.base)
    assert scope.cancelled_caught
