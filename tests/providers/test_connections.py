"""Connections to providers: encrypted or not, through a proxy or not, reused, lost, cancelled."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.providers.conftest import Asker
from tests.providers.server import WORDS, Server, listening, serving

pytestmark = pytest.mark.anyio
TLS = Path(__file__).resolve().parent.parent / "data" / "tls"
TEXT = " ".join(WORDS)


@pytest.fixture
async def secure() -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    async with serving(context) as server:
        yield server


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy for CONNECT, and what it was asked."""
    asked: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        host, _, port = head.split()[1].decode().partition(":")
        beyond = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        await asyncio.gather(pump(reader, beyond[1]), pump(beyond[0], writer), return_exceptions=True)

    async with listening(connected) as port:
        yield f"http://eva:secret@127.0.0.1:{port}", asked


async def test_an_encrypted_answer_is_read_and_its_connection_kept(
    asker: Callable[..., Asker], secure: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "cert.pem"))
    ask = asker("openai", f"{secure.url}/v1")
    assert [(await ask(how)).text for how in ("ok", "bytewise")] == [TEXT, TEXT]
    assert secure.connections == 1


async def test_who_is_not_trusted_is_told_nothing(asker: Callable[..., Asker], secure: Server) -> None:
    fault = await asker("openai", f"{secure.url}/v1").fault("ok")
    assert fault.kind == "network"
    assert "CERTIFICATE_VERIFY_FAILED" in fault.message
    assert secure.asked == []


async def test_an_encrypted_answer_comes_through_a_proxy(
    asker: Callable[..., Asker], secure: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "cert.pem"))
    async with tunnel() as (proxy, asked):
        monkeypatch.setenv("https_proxy", proxy)
        ask = asker("openai", f"{secure.url}/v1")
        assert [(await ask("ok")).text for _ in range(2)] == [TEXT, TEXT]
        (head,) = asked
    assert ask.sent == 2  # the request to the proxy is not one to the provider
    assert head.startswith(f"CONNECT {secure.url.removeprefix('https://')} ".encode())
    assert b"roxy-" in head  # and its own authorization, not the provider's
    assert b"Bearer" not in head


async def test_a_proxy_at_a_port_that_is_none_is_a_fault(
    asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:99999")
    assert (await asker("openai").fault("ok")).kind == "setup"
    monkeypatch.delenv("http_proxy")
    assert (await asker("openai", "http://127.0.0.1:99999/v1").fault("ok")).kind == "setup"


async def test_a_connection_that_the_server_closed_is_not_used_again(ask: Asker, server: Server) -> None:
    assert (await ask("ok")).text == TEXT
    server.close()
    await anyio.wait_all_tasks_blocked()
    assert (await ask("ok")).text == TEXT
    assert server.connections == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_request_that_is_cancelled_before_its_answer_closes_its_connection(
    asker: Callable[..., Asker], scheme: str
) -> None:
    came, gone = anyio.Event(), anyio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        came.set()
        await reader.read()
        gone.set()

    async with listening(connected) as port:
        ask = asker("openai", f"{scheme}://127.0.0.1:{port}/v1")
        task = asyncio.create_task(ask("ok"))
        with anyio.fail_after(60):
            await came.wait()
            task.cancel()
            await gone.wait()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_stream_that_is_cancelled_closes_its_connection_and_the_next_one_has_its_own(
    ask: Asker, server: Server
) -> None:
    begun = anyio.Event()
    task = asyncio.create_task(ask("stall"))
    ask.said = Pieces(begun)
    with anyio.fail_after(60):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ask("ok")).text == TEXT
    assert server.connections == 2


class Pieces(list[str]):
    """Sets an event when the first piece of an answer comes."""

    def __init__(self, event: anyio.Event) -> None:
        super().__init__()
        self._event = event

    def append(self, piece: str) -> None:
        super().append(piece)
        self._event.set()


@pytest.mark.parametrize("then", ["closes", "says what nobody understands"])
async def test_a_tunnel_that_breaks_is_dug_again(
    asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        await reader.read(10)
        if then != "closes":
            writer.write(b"what?" * 10)
        writer.close()

    async with listening(connected) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        ask = asker("openai", "https://127.0.0.1:9/v1")
        assert [(await ask.fault("ok")).kind for _ in range(2)] == ["network", "network"]
    assert ask.sent == 0


async def test_a_request_is_sent_whole(asker: Callable[..., Asker]) -> None:
    came = bytearray()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.extend(head := await reader.readuntil(b"\r\n\r\n"))
        (size,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        came.extend(await reader.readexactly(int(size.split()[1])))
        writer.close()

    async with listening(connected) as port:
        url = f"http://127.0.0.1:{port}/v1"
        ask = asker("openai", url)
        fault = await ask.fault("ok")
    assert (fault.kind, ask.sent) == ("network", 1)
    assert came.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert came.endswith(b"}")


async def test_a_connection_that_is_reset_is_a_fault(asker: Callable[..., Asker]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        now = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        writer.close()

    async with listening(connected) as port:
        url = f"http://127.0.0.1:{port}/v1"
        assert (await asker("openai", url).fault("ok")).kind == "network"


async def test_a_proxy_for_other_urls_may_be_unusable(
    asker: Callable[..., Asker], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("https_proxy", "foo://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "foo://127.0.0.1:9")
    assert (await asker("openai", "http://models.invalid/v1")("ok")).text == TEXT


async def test_a_redirect_to_no_url_is_a_refusal(asker: Callable[..., Asker]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://[x\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with listening(connected) as port:
        url = f"http://127.0.0.1:{port}/v1"
        fault = await asker("openai", url).fault("ok")
    assert fault.kind == "rejected"
    assert "answered 302: a redirect" in fault.message
