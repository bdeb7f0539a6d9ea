"""A provider's server that counts what it is asked, for one process of its own.

`python -m benchmarks.limit_server FILE SLOW SEED` prints its port. Like a busy server it accepts late: each
request is read up to SLOW seconds after it came. Then it is counted: one line in FILE, with the time, the
provider (the first part of the path) and the number of output tokens. The last word of the prompt says how the
answer comes, e.g. `3x12.0`: three pieces over 12 seconds. Half of the answers begin at once, the others with
their first piece.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio import StreamReader, StreamWriter
from random import Random


class CountingServer:
    """Counts requests when it has read them."""

    def __init__(self, file: str, slow: float, seed: int) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._slow = slow
        self._random = Random(seed)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(self._random.uniform(0, self._slow))
        lines = head.decode("latin-1").split("\r\n")
        length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
        question = json.loads(await reader.readexactly(length))
        provider = lines[0].split("/")[1]
        shape = question["messages"][-1]["content"].split()[-1]
        pieces, _, seconds = shape.partition("x")
        os.write(self._file, f"{time.time():.6f} {provider} {pieces}\n".encode())
        begin = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        if at_once := self._random.random() < 0.5:
            writer.write(begin)
        for n in range(int(pieces)):
            await asyncio.sleep(float(seconds) / int(pieces))
            if n == 0 and not at_once:
                writer.write(begin)
            writer.write(chunk({"choices": [{"delta": {"content": "word"}}]}))
            await writer.drain()
        usage = {"prompt_tokens": 10, "completion_tokens": int(pieces)}
        writer.write(chunk({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}))
        end = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
        await writer.drain()


def chunk(event: object) -> bytes:
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


async def main() -> None:
    file, slow, seed = sys.argv[1:]
    counting = CountingServer(file, float(slow), int(seed))
    server = await asyncio.start_server(counting.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
