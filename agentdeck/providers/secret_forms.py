"""The encodings in which a secret may appear in output."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

#: Shorter encoded pieces are words of ordinary text.
LEAST_PIECE = 8


def forms(secret: str, least: int) -> set[str]:
    """The secret, each of its lines, and both in JSON, URL, base64 and hexadecimal encoding; none shorter than
    `least` characters."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
    found: set[str] = set()
    for part in (secret, *lines):
        if len(part) >= least:
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
            found |= {form for form in _encoded(part) if len(form) >= max(least, LEAST_PIECE)}
    return found


def _encoded(text: str) -> Iterator[str]:
    data = text.encode("utf-8", "replace")
    yield quote(text, safe="")
    yield quote_plus(text)
    yield quote(text)
    yield data.hex()
    yield data.hex().upper()
    # Inside a longer text (`user:secret`) base64 begins at one of three places; the characters at both ends that
    # depend on the neighbours are left out.
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * before + data).decode().rstrip("=")
            start = (before * 8 + 5) // 6
            end = (before + len(data)) * 8 // 6
            yield whole[start:end]
