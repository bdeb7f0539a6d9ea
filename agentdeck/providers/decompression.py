"""The body of an HTTP answer, decoded in bounded pieces.

`httpx.Response.aiter_bytes` decodes each chunk as a whole: 64 KB of gzip may become 64 MB at once, before any
limit is looked at. Here no piece is larger than PIECE, so a reader that stops at its limit paid for that much.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.lowlevel
import httpx

#: What `decoded` understands, for the request's `accept-encoding`.
ACCEPTED = "gzip, deflate"
PIECE = 64 * 1024


async def decoded(response: httpx.Response, *, whole: bool = True) -> AsyncIterator[bytes]:
    """The body's pieces. Raises httpx.DecodingError for a body that is cut or garbled, encoded in an unknown way,
    or more than once: each further layer lets a few bytes grow a thousandfold.

    Without `whole` the content may end early, for streams that say themselves where they end: some gateways never
    finish the compression of one."""
    header = response.headers.get("content-encoding", "")
    codings = [coding for part in header.split(",") if (coding := part.strip().lower()) not in ("", "identity")]
    if not codings:
        async for chunk in response.aiter_raw():
            yield chunk
        return
    if len(codings) > 1:
        raise httpx.DecodingError("its content is encoded more than once")
    if codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise httpx.DecodingError(f"its content is encoded as {codings[0][:20]!r}, which is not supported")
    inflate, empty = _Inflate(codings[0]), True
    async for chunk in response.aiter_raw():
        empty = empty and not chunk
        for piece in inflate.pieces(chunk):
            yield piece
            await anyio.lowlevel.checkpoint()  # a flood of pieces leaves room for other tasks
    if whole and not empty:
        inflate.end()


class _Inflate:
    """Decodes gzip, and deflate with or without its header: servers send both under that name."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding != "deflate"
        self._decoder: Any = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._gzip else None
        self._head = b""

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            self._head += chunk
            if len(self._head) < 2:
                return
            chunk = self._head
            has_header = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2]) % 31 == 0
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        more = True
        while more or chunk:
            if self._decoder.eof:
                if not self._gzip or not chunk.startswith(b"\x1f"):
                    return  # padding, as some servers send it
                self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)  # one more member
            try:
                piece = self._decoder.decompress(chunk, PIECE)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from None
            if piece:
                yield piece
            chunk = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            more = len(piece) == PIECE  # the decoder may hold more than it was asked for

    def end(self) -> None:
        """Raises httpx.DecodingError where the content has not come to its end."""
        if self._decoder is None or not self._decoder.eof:
            raise httpx.DecodingError("its compressed content is cut off")
