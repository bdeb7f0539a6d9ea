"""A provider that closes only once there is a file: its run has ended by then, and its process has not."""

from __future__ import annotations

from pathlib import Path

from tests.plugin_packages import write_package

DECK = """
agentdeck: 1
providers: { p: { type: slow } }
models: { m: { provider: p, id: m } }
tiers: { execution: m }
"""
MODULE = """
import asyncio
from pathlib import Path

from agentdeck.providers.provider import PromptReply
from agentdeck.providers.provider_type import ProviderType

class SlowType(ProviderType):
    simulated = True

    def create(self, context):
        return Slow()

class Slow:
    async def answer(self, request, on_text, on_sent):
        on_sent()
        return PromptReply("hello", tokens_in=5, tokens_out=1)

    async def close(self):
        while not Path(__file__).with_name("closed").exists():
            await asyncio.sleep(0.01)
"""


def write_slow_provider(packages: Path) -> None:
    """Write the package of the provider into a folder of the import path."""
    write_package(packages, "slow", {"providers": {"slow": "slow_provider:SlowType"}}, {"slow_provider": MODULE})


def let_close(packages: Path) -> None:
    """Let the providers of this package close."""
    (packages / "closed").touch()
