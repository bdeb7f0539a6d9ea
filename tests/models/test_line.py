"""Connections to providers: encrypted or not, by a proxy or not, kept, lost, and read no faster than used."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpcore
import pytest

from agentdeck.models.socket import Sockets
from tests.models.conftest import Asker
from tests.models.server import WORDS, Server, serving

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

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        yield f"http://eva:secret@127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked


@asynccontextmanager
async def saying(say: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[httpcore.AsyncNetworkStream]:
    """A connection to a server that does what `say` does, once it was sent something."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if asyncio.iscoroutine(done := say(writer)):
            await done

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        stream = await Sockets().connect_tcp("127.0.0.1", listening.sockets[0].getsockname()[1], 5.0)
        await stream.write(b"go")
        yield stream
        await stream.aclose()


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
    assert head.startswith(f"CONNECT {secure.url.removeprefix('https://')} ".encode())
    assert b"roxy-" in head  # and its own authorization, not the provider's
    assert b"Bearer" not in head


async def test_a_proxy_at_a_port_that_is_none_is_a_fault(
    asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:99999")
    assert (await asker("openai").fault("ok")).kind in ("network", "setup")


async def test_a_connection_that_the_server_closed_is_not_used_again(ask: Asker, server: Server) -> None:
    assert (await ask("ok")).text == TEXT
    server.close()
    await anyio.wait_all_tasks_blocked()
    assert (await ask("ok")).text == TEXT
    assert server.connections == 2


async def test_an_end_is_seen_before_the_loop_has_seen_it() -> None:
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        with listening, listening.accept()[0] as one:
            one.recv(10)
            one.send(b"answer")
        over.set()

    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listening,)).start()
    stream = await Sockets().connect_tcp("127.0.0.1", listening.getsockname()[1], 5.0)
    assert not stream.get_extra_info("is_readable")
    await stream.write(b"go")
    assert await stream.read(100) == b"answer"
    over.wait(10)  # which holds up the loop
    assert stream.get_extra_info("is_readable")
    await stream.aclose()


async def test_a_connection_that_nobody_waits_for_any_more_is_closed() -> None:
    gone = anyio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        sockets = Sockets()
        task = asyncio.create_task(sockets.connect_tcp("127.0.0.1", listening.sockets[0].getsockname()[1]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with anyio.fail_after(10):
            await gone.wait()


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

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        ask = asker("openai", "https://127.0.0.1:9/v1")
        assert [(await ask.fault("ok")).kind for _ in range(2)] == ["network", "network"]


async def test_a_request_is_one_piece(asker: Callable[..., Asker]) -> None:
    come: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come.append(await reader.read(65536))
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        fault = await asker("openai", url).fault("ok")
    assert fault.kind == "network"
    (request,) = come
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert request.endswith(b"}")


async def test_no_more_is_taken_than_somebody_reads() -> None:
    size, sent = 20_000_000, anyio.Event()

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * size)
        await writer.drain()
        sent.set()
        writer.close()

    async with saying(flood) as stream:
        got = len(await stream.read(1000))
        with anyio.move_on_after(0.2):
            await sent.wait()
        assert not sent.is_set()
        while data := await stream.read(65536):
            got += len(data)
            assert len(data) <= 65536
    assert (got, sent.is_set()) == (size, True)


async def test_whoever_says_nothing_is_not_waited_for_longer_than_asked() -> None:
    async with saying(lambda writer: None) as stream:
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(100, timeout=0.01)
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=0.01)


async def test_a_connection_that_breaks_says_so() -> None:
    def reset(writer: asyncio.StreamWriter) -> None:
        now = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        writer.close()

    async with saying(reset) as stream:
        with pytest.raises(httpcore.ReadError):
            await stream.read(100)
