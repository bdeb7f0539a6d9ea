"""`mcp`: agents that call tools of real MCP servers, in runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentdeck import InvalidFile, Result, UsageError, Workflow, open_store
from agentdeck.workflow.loader import loads

pytest.importorskip("mcp")
pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
DECK = f"""
agentdeck: 1
secrets: {{ TOKEN: {{ env: MCP_TOKEN }} }}
mcp:
  sums:
    command: [{sys.executable}, -m, tests.providers.sums]
    env: {{ PYTHONPATH: {ROOT}, TOKEN: "${{secret.TOKEN}}" }}
  plain: {{ command: [{sys.executable}, -m, tests.providers.mcp_plain], env: {{ PYTHONPATH: {ROOT} }} }}
  broken:
    command: [{sys.executable}, -c, "import sys; sys.exit('no database at /srv/x')"]
"""
SECRET = "token-0123456789"


def workflow(folder: Path, agents: str) -> Workflow:
    (folder / "deck.yaml").write_text(DECK)
    (folder / "w.yaml").write_text(f"agentdeck: 1\nname: w\nagents:\n{agents}")
    return Workflow.from_file(folder / "w.yaml")


async def ran(folder: Path, agents: str) -> tuple[Result, list[tuple[str, str]]]:
    """The result of a run, and the lines that its agents logged, with their levels."""
    result = await workflow(folder, agents).run(db=folder / "deck.db", check=False)
    async with open_store(folder / "deck.db") as store:
        return result, [(line.level, line.text) async for line in store.logs(result.run)]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", SECRET)


async def test_arguments_are_rendered_and_structured_data_is_the_result(tmp_path: Path) -> None:
    agents = """
  two: { simulate: { takes: 0s, returns: 2 } }
  sum: { mcp: { server: sums, tool: add, arguments: { a: "${two}", b: 40 } } }
  again: { mcp: { server: sums, tool: add, arguments: { a: 1, b: "${sum.result}" } } }
"""
    result, lines = await ran(tmp_path, agents)
    assert result.state == "done", result.error
    assert result.steps["again"].output == {"result": "43"}
    assert lines.count(("err", "adding")) == 2  # the server's stderr, in the log of each step


async def test_progress_is_logged_and_parts_that_are_not_text_stay_as_they_are(tmp_path: Path) -> None:
    agents = """
  work: { mcp: { server: plain, tool: work } }
  show: { mcp: { server: plain, tool: show } }
"""
    result, lines = await ran(tmp_path, agents)
    assert result.steps["work"].output == "worked"
    assert [text for _, text in lines] == ["1 of 3 part 1 None", "2 of 3 part 2 None", "3 of 3 part 3 None"]
    assert [part["type"] for part in result.steps["show"].output] == [
        *("text", "resource", "resource", "resource_link", "image"),
    ]


async def test_an_error_of_the_tool_is_a_failure_and_secrets_are_masked(tmp_path: Path) -> None:
    agents = """
  fail: { mcp: { server: sums, tool: fail, arguments: { a: 1 } }, retry: 1, on_error: continue }
  wrong: { mcp: { server: sums, tool: add, arguments: { a: x, b: 1 } }, retry: 1, on_error: continue }
  token: { mcp: { server: sums, tool: token } }
"""
    result, _ = await ran(tmp_path, agents)
    failed, wrong = result.steps["fail"].error, result.steps["wrong"].error
    assert failed is not None
    assert wrong is not None
    assert (failed.kind, wrong.kind) == ("exception", "exception")
    assert failed.message.startswith("sums/fail failed: ")
    assert wrong.message.startswith("sums/add failed: ")
    assert result.steps["token"].output == {"result": "[key]"}


async def test_a_server_that_does_not_start_says_why_in_error_and_log(tmp_path: Path) -> None:
    result, lines = await ran(tmp_path, "  ask: { mcp: { server: broken, tool: x }, retry: 1 }\n")
    failure = result.error
    assert failure is not None
    assert failure.kind == "setup"
    assert "the MCP server broken cannot be used: it ended with code 1: no database at /srv/x" in failure.message
    assert any("no database at /srv/x" in text for level, text in lines if level == "err")


async def test_an_unknown_tool_is_named_with_those_that_exist(tmp_path: Path) -> None:
    result, _ = await ran(tmp_path, "  ask: { mcp: { server: sums, tool: ad } }\n")
    assert "the MCP server sums has no tool ad; it has add, fail" in str(result.error)


async def test_a_server_that_the_deck_does_not_have_is_found_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ask: the MCP server sum is not in deck.yaml; did you mean sums\?"):
        await ran(tmp_path, "  ask: { mcp: { server: sum, tool: add } }\n")


async def test_arguments_may_hold_secrets_which_are_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_TOKEN", "770011")
    agents = """
  sum: { mcp: { server: sums, tool: add, arguments: { a: "${secret.TOKEN}", b: 1 } } }
"""
    result, _ = await ran(tmp_path, agents)
    assert result.steps["sum"].output == {"result": "770012"}
    assert b"770011" not in (tmp_path / "deck.db").read_bytes()


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("{ server: sums }", "f.yaml:4:13: tool is missing; add tool:"),
        ("{ server: '', tool: add }", "f.yaml:4:23: "),
        ("{ server: sums, tool: add, arguments: 3 }", "f.yaml:4:51: "),
        ("{ server: sums, tool: add, argument: {} }", "argument is not a key here; did you mean arguments?"),
        ("{ server: sums, tool: add, arguments: { a: '${b}' } }", "b is neither an agent nor a known name"),
        ("add", "f.yaml:4:13: "),
    ],
)
def test_bad_input_is_named_with_its_place(spec: str, fault: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        loads(f"agentdeck: 1\nname: w\nagents:\n  a: {{ mcp: {spec} }}\n", "f.yaml")
    assert any(fault in str(issue) for issue in caught.value.issues), [str(i) for i in caught.value.issues]
