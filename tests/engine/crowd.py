"""The command line, with a provider that writes down when it is called, and with how many tokens.

`python -m tests.engine.crowd CALLS ARGS…` is `agentdeck ARGS…`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio

from agentdeck.cli import main as command
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.providers.registry import ProviderRegistry

TAKES = 0.05
TOKENS_IN, TOKENS_OUT = 20, 30


class Counting:
    """Each call is one line, written in one piece, before anything else."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        os.write(self._file, f"{time.time():.6f} {TOKENS_IN + TOKENS_OUT}\n".encode())
        sent()
        said("")
        await anyio.sleep(TAKES)
        return PromptReply("x", tokens_in=TOKENS_IN, tokens_out=TOKENS_OUT)

    async def close(self) -> None:
        os.close(self._file)


def main() -> None:
    ProviderRegistry._make = lambda room, name: Counting(Path(sys.argv[1]))  # type: ignore[method-assign,assignment]
    command.main(sys.argv[2:])


if __name__ == "__main__":
    main()
