"""The contracts of `agentdeck.testing`: agentdeck's own parts keep them, and parts that do not are caught."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agentdeck.testing import (
    AgentContract,
    FrameworkContract,
    PlaceContract,
    ProviderContract,
)
from agentdeck.workflow.model import Data
from tests.plugin_packages import write_package
from tests.providers.server import serving

ROOT = Path(__file__).resolve().parents[2]


class TestSimulated(ProviderContract):
    name = "simulated"
    failing_keys: ClassVar = {"throttles": "100%"}


class _HttpProvider(ProviderContract):
    model, typed_model, failing_model = "ok", "ok", "limited"

    @pytest.fixture
    async def deck_keys(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mapping[str, Data]]:
        monkeypatch.setenv("THE_KEY", "sk-live-0123456789")
        async with serving() as server:
            yield {"url": f"{server.url}/v1", "key": "${env.THE_KEY}"}


class TestOpenAI(_HttpProvider):
    name = "openai"


class TestAnthropic(_HttpProvider):
    name = "anthropic"


class TestSimulate(AgentContract):
    name = "simulate"
    agent: ClassVar = {"simulate": {"takes": "1ms", "returns": "${inputs.n}"}}
    failing_agent: ClassVar = {"simulate": {"takes": "1ms", "fails": "100%"}}
    slow_agent: ClassVar = {"simulate": "60s"}
    inputs: ClassVar = {"n": 1}


class TestCommand(AgentContract):
    name = "command"
    agent: ClassVar = {"command": ["echo", "${inputs.n}"]}
    failing_agent: ClassVar = {"command": ["false"]}
    slow_agent: ClassVar = {"command": ["sleep", "60"]}
    inputs: ClassVar = {"n": 1}


class TestPython(AgentContract):
    name = "python"
    agent: ClassVar = {"python": "agentdeck.testing.place_contract:add"}
    failing_agent: ClassVar = {"python": "agentdeck.testing.place_contract:fail"}
    slow_agent: ClassVar = {"python": "agentdeck.testing.place_contract:wait"}
    inputs: ClassVar = {"x": 1, "y": 2}


class TestPrompt(AgentContract):
    name = "prompt"
    agent: ClassVar = {"prompt": "What is ${inputs.n}?", "tier": "routing"}
    slow_agent: ClassVar = {"prompt": "What is ${inputs.n}?", "tier": "reasoning"}
    inputs: ClassVar = {"n": 1}


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        pass


class TestHttp(AgentContract):
    name = "http"

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        type(self).agent = {"http": {"url": f"{url}/there"}}
        type(self).failing_agent = {"http": {"url": f"{url}/none"}}
        yield
        server.shutdown()
        server.server_close()


class TestLocal(PlaceContract):
    name = "local"


class Later:
    async def ainvoke(self, values: Mapping[str, Data]) -> Data:
        return dict(values)


class InThread:
    def kickoff(self, values: Mapping[str, Data]) -> Data:
        return dict(values)


class TestMethods(FrameworkContract):
    name = "methods"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [Later(), InThread()]


BAD = """
    import asyncio
    from agentdeck.agents.frameworks.framework import Framework, Result
    from agentdeck.places.place import Place
    from agentdeck.providers.provider import PromptReply
    from agentdeck.providers.provider_type import ProviderType

    class Deaf(ProviderType):
        def create(self, context):
            return self

        async def answer(self, request, on_text, on_sent):
            on_text("x")
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                await asyncio.sleep(1.5)
            return PromptReply("y", tokens_in=-1)

        async def close(self):
            pass

    class Grabs(Framework):
        def recognises(self, found):
            return True

        async def call(self, found, given):
            yield Result(1)
            yield Result(object())

    class Elsewhere(Place):
        def prepare(self, agent, context):
            return self

        async def run(self, work):
            return 0

    class Loud:
        def observe(self, batch):
            raise KeyError(batch.first)

        def close(self):
            pass

    def loud(context):
        return Loud()
"""
BAD_TESTS = """
    import pytest
    from agentdeck.testing import FrameworkContract, ObserverContract, PlaceContract, ProviderContract

    class TestDeaf(ProviderContract):
        name = "deaf"

    class TestGrabs(FrameworkContract):
        name = "grabs"

        @pytest.fixture
        def objects(self):
            return [1]

    class TestElsewhere(PlaceContract):
        name = "elsewhere"

    class TestLoud(ObserverContract):
        name = "loud"
"""


def test_what_breaks_a_contract_is_caught(tmp_path: Path) -> None:
    entries = {
        "providers": {"deaf": "acme_bad:Deaf"},
        "frameworks": {"grabs": "acme_bad:Grabs"},
        "places": {"elsewhere": "acme_bad:Elsewhere"},
        "observers": {"loud": "acme_bad:loud"},
    }
    write_package(tmp_path, "acme", entries, {"acme_bad": BAD, "test_bad": BAD_TESTS})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_bad.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = (line.split(" - ")[0] for line in done.stdout.splitlines())
    failed = {line.partition("::")[2] for line in lines if line.startswith("FAILED")}
    assert {
        "TestDeaf::test_an_answer_is_streamed_and_whole",
        "TestDeaf::test_a_cancelled_answer_ends_at_once_and_the_next_is_answered",
        "TestGrabs::test_it_recognises_its_own_objects_only",
        "TestGrabs::test_a_call_yields_one_result_last",
        "TestElsewhere::test_an_attempt_returns_its_result_and_its_log",
        "TestElsewhere::test_an_attempt_fails_as_it_does_in_the_engine",
        "TestLoud::test_it_takes_a_run_in_batches_of_any_size[5]",
        "TestLoud::test_it_takes_the_rest_of_a_run_that_is_resumed",
    } <= failed
    assert "TestDeaf::test_the_type_is_installed" not in failed
