"""`cli` with the real programs, as far as they are installed, against a local server. `make test-cli`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentdeck.agents.cli import CliKind
from agentdeck.agents.cli_runner import CliVerb
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.model import Agent, Data, Definition
from tests.agents.model_server import TEXT, ModelServer

pytestmark = [pytest.mark.live, pytest.mark.anyio]
PROGRAMS = ("claude", "codex", "gemini")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs reach the server without a proxy of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=[0, 500, 401])
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    made = ModelServer(request.param)
    made.paths.append(str(request.param))
    yield made
    made.close()


async def run(folder: Path, name: str, url: str, lines: list[str]) -> Data | VerbResult:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    env = {
        "claude": {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "any"},
        "codex": {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "any"},
        "gemini": {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "any"},
    }[name]
    options: dict[str, dict[str, Data]] = {
        "claude": {"allow": ["Bash(echo:*)"]},
        "codex": {},
        "gemini": {"model": "gemini-2.5-flash"},
    }
    given = {"program": [name], "prompt": "What is it?", "env": env, **options[name]}
    agent = Agent("a", CliKind().make({"cli": given}))
    context = WorkflowContext(Definition("w", {"a": agent}), folder, anyio.sleep)

    def log(text: str, level: str = "info") -> None:
        lines.extend(text.split("\n"))

    work = AttemptContext("r1", "1", "a", 1, agent, {}, {}, log, lambda: None)
    return await CliVerb(agent, context).run(work)


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_coding_agent_calls_a_tool_and_answers_or_says_what_failed(
    tmp_path: Path, server: ModelServer, name: str
) -> None:
    lines: list[str] = []
    status = server.paths[0]
    if status == "0":
        result = await run(tmp_path, name, server.url, lines)
        assert isinstance(result, VerbResult)
        assert result.output == TEXT
        assert result.usage is not None
        assert (result.usage.tokens_out, result.usage.cached_in) == (14, 10)
        assert any(line.startswith("→ ") for line in lines)
        assert any(line.startswith("← ") for line in lines)
        return
    with pytest.raises(StepError) as caught:
        await run(tmp_path, name, server.url, lines)
    kinds = {"401": {"auth"}, "500": {"server"}}[status] | ({"exit"} if name == "codex" else set())
    assert caught.value.fault.kind in kinds  # codex may not say the status
    assert len(server.paths) <= 5, "it asks again and again by itself"
