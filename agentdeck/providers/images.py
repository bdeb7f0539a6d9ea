"""Images of prompts."""

from __future__ import annotations

import base64
from pathlib import Path

import anyio

from agentdeck.errors import StepError

MOST = 20 * 1024 * 1024
#: The first bytes of files of each type.
KINDS = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)


async def read_image(file: str) -> tuple[str, str]:
    """The media type and the bytes in base64. Raises StepError of kind `setup`."""
    return await anyio.to_thread.run_sync(_read, file)


def _read(file: str) -> tuple[str, str]:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MOST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StepError("setup", f"the image {file} cannot be read: {reason}") from None
    if len(data) > MOST:
        raise StepError("setup", f"the image {file} is larger than {MOST // 1024 // 1024} MB")
    for start, at, kind in KINDS:
        if data[at : at + len(start)] == start:
            return kind, base64.b64encode(data).decode()
    raise StepError("setup", f"{file} is no PNG, JPEG, GIF or WebP")
