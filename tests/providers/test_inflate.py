"""Compressed bodies, decoded in bounded pieces."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from agentdeck.providers.decompression import PIECE, decoded

pytestmark = pytest.mark.anyio
TEXT = b"".join(b"%d," % i for i in range(16_000))  # more than a PIECE


def raw_deflate(data: bytes) -> bytes:
    maker = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return maker.compress(data) + maker.flush()


class Chunks(httpx.AsyncByteStream):
    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def answer(coding: str, body: bytes, size: int = 65_536) -> httpx.Response:
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    return httpx.Response(200, headers={"content-encoding": coding}, stream=Chunks(chunks))


async def read(response: httpx.Response) -> bytes:
    return b"".join([piece async for piece in decoded(response)])


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize(
    ("coding", "body", "text"),
    [
        ("", TEXT, TEXT),
        ("identity", TEXT, TEXT),
        ("gzip", gzip.compress(TEXT), TEXT),
        ("X-GZIP, identity", gzip.compress(TEXT), TEXT),
        ("gzip", gzip.compress(TEXT) + gzip.compress(b"more"), TEXT + b"more"),
        ("gzip", gzip.compress(TEXT) + bytes(100), TEXT),
        ("gzip", b"", b""),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", raw_deflate(TEXT), TEXT),
        ("gzip", gzip.compress(b""), b""),
        ("gzip", gzip.compress(bytes(PIECE * 3)), bytes(PIECE * 3)),
    ],
    ids=range(11),
)
async def test_a_body_is_decoded_however_it_comes_in(coding: str, body: bytes, text: bytes, size: int) -> None:
    assert await read(answer(coding, body, size)) == text


@pytest.mark.parametrize(
    ("coding", "body", "what"),
    [
        ("gzip", gzip.compress(TEXT)[:-9], "cut off"),
        ("gzip", b"no gzip", "header"),
        ("deflate", b"\xff\xff\xff\xff", "invalid"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), "more than once"),
        ("br", TEXT, "'br', which is not supported"),
    ],
    ids=range(5),
)
async def test_what_cannot_be_decoded(coding: str, body: bytes, what: str) -> None:
    with pytest.raises(httpx.DecodingError, match=what):
        await read(answer(coding, body))


async def test_a_bomb_is_paid_for_only_as_far_as_it_is_read() -> None:
    """One chunk of 64 KB may be 64 MB decoded; a reader that wants 1 MB of it gets no more."""
    bomb = gzip.compress(bytes(60_000_000))
    assert len(bomb) < 65_536
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    tracemalloc.start()
    size = 0
    async for piece in decoded(answer("gzip", bomb)):
        assert len(piece) <= PIECE
        size += len(piece)
        if size > 1_000_000:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ticker.cancel()
    assert peak < 1_000_000
    assert ticks >= size // PIECE - 3, "the loop goes round between two pieces"
