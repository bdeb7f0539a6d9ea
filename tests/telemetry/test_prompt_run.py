"""A run whose prompt calls a tool, against a provider of our own: from the request to the spans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentdeck.operations.span_export import export_spans
from tests.providers.conftest import SECRET
from tests.providers.server import serving
from tests.providers.test_run import Place
from tests.telemetry.receiver import Receiver


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_prompt_with_a_tool(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pytest.importorskip("mcp")
    monkeypatch.setenv("THE_KEY", SECRET)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    async with serving() as server:
        outcome = await Place(tmp_path, server, kind).asks("tool", ", tools: [sums/add], timeout: 30s")
    live = {(span.id, span.name) for span in receiver.spans}  # it was sent while it ran
    receiver.spans.clear()
    export_spans(str(tmp_path / "runs.db"), outcome.run, content=True, again=True)
    assert {(span.id, span.name) for span in receiver.spans} == live
    attempt = receiver.one("attempt 1")
    assert receiver.children(attempt) == ["chat tool", "execute_tool sums/add", "chat tool"]
    tool = receiver.one("execute_tool sums/add")
    assert (json.loads(tool["gen_ai.tool.call.arguments"]), tool["gen_ai.tool.call.result"]) == (
        {"a": 2, "b": 3},
        "5",
    )
    first, last = receiver.named("chat tool")
    assert (
        attempt.start
        <= first.start
        <= first.end
        <= tool.start
        <= tool.end
        <= last.start
        <= last.end
        <= attempt.end
    )
    assert (last["gen_ai.provider.name"], last["agentdeck.model"], last["agentdeck.requests"]) == (kind, "odd", 2)
    usage = outcome.view.agents["it"]
    assert (last["gen_ai.usage.input_tokens"], last["gen_ai.usage.output_tokens"]) == (
        usage.tokens_in,
        usage.tokens_out,
    )
    assert "The tool said 5" in last["gen_ai.output.messages"]
    assert SECRET not in repr(receiver.spans)
