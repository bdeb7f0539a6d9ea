"""Why a server cannot be reached, where a cluster's own client says only that it has tried for some time."""

from __future__ import annotations

import asyncio
import os
import socket


async def connection_error(host: str, port: int, patience: float) -> OSError | None:
    """Why no connection is accepted there; None where one is."""
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return TimeoutError(f"no answer within {patience:g} s")
    except OSError as error:
        return error
    writer.close()
    return None


def error_text(error: OSError) -> str:
    """As the system says it: `Connection refused`."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)  # asyncio says it in another way
