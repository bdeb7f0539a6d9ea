"""Whole runs whose prompts are answered by a server of our own."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import ProviderError, UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from tests.observing import EventCollector
from tests.providers.conftest import SECRET
from tests.providers.server import SENTENCE, Server

pytestmark = pytest.mark.anyio
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"

DECK = """
agentdeck: 1
providers:
  it: {{ type: {kind}, url: "{url}", key: "${{env.THE_KEY}}" }}
models:
  small: {{ provider: it, id: ok-small, price: {{ in: 1, out: 5, cached: 0.1 }} }}
  large: {{ provider: it, id: ok-large, price: {{ in: 10, out: 50 }} }}
  odd: {{ provider: it, id: {odd}{limit} }}
tiers: {{ routing: small, execution: small, reasoning: [large, small], odd: odd }}
mcp:
  sums: {{ command: [{python}, -m, tests.providers.sums], env: {{ PYTHONPATH: "{root}" }} }}
"""
ASKS = """
agentdeck: 1
name: asks
defaults: { retry: { attempts: 3, delay: 10ms, escalate: %s }, tier: %s }
agents:
  it: { prompt: "What does it say?"%s }
output: ${it}
"""


class Place:
    """A folder with a deck, and runs in it."""

    def __init__(self, folder: Path, server: Server, kind: str) -> None:
        self.folder = folder
        self.server = server
        self.kind = kind
        self.db = folder / "runs.db"
        self.lines: list[LogLine] = []

    def deck(self, odd: str = "ok", reasoning: str = "[large, small]", limit: int | None = None) -> None:
        root = Path(__file__).resolve().parents[2]
        text = DECK.replace("[large, small]", reasoning).format(
            kind=self.kind,
            url=self.server.url + "/v1",
            odd=odd,
            python=sys.executable,
            root=root,
            limit="" if limit is None else f", max_output: {limit}",
        )
        (self.folder / "deck.yaml").write_text(text)

    async def run(self, workflow: Path | str, **inputs: Any) -> Outcome:
        if isinstance(workflow, str):
            (self.folder / "w.yaml").write_text(workflow)
            workflow = self.folder / "w.yaml"
        launch = Launch(load(workflow).definition, self.folder, inputs, db=self.db)
        control = RunControl()

        def seen(event: ev.Event) -> None:
            if isinstance(event, ev.Noted) and "is stopped" in event.text:
                control.drain()

        return await run(launch, Watch([EventCollector(seen)], self.lines.append, control))

    async def asks(
        self, odd: str, more: str = "", *, tier: str = "odd", escalate: str = "false", limit: int | None = None
    ) -> Outcome:
        self.deck(odd, limit=limit)
        return await self.run(ASKS % (escalate, tier, more))

    def said(self) -> str:
        return " ".join(line.text.rstrip() for line in self.lines)


@pytest.fixture(params=["openai", "anthropic"])
def place(
    tmp_path: Path, server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setenv("THE_KEY", SECRET)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Place(tmp_path, server, request.param)
    made.deck()
    return made


@pytest.mark.parametrize("name", ["code_review", "documents", "content", "assistant"])
async def test_examples_run_against_a_provider(place: Place, name: str) -> None:
    place.server.plan = {"ok-small": ["cut"]}
    outcome = await place.run(WORKFLOWS / f"{name}.yaml")
    assert outcome.state == "done"
    assert outcome.view.output
    assert {asked.body["model"] for asked in place.server.asked} <= {"ok-small", "ok-large"}


async def test_text_comes_into_the_log_and_usage_into_the_record(place: Place) -> None:
    outcome = await place.asks("ok", tier="execution")
    assert outcome.view.output == SENTENCE
    assert place.said() == SENTENCE
    (usage,) = [event.usage for event in events_of(place, outcome, ev.StepSucceeded)]
    assert (usage.tokens_in, usage.tokens_out, usage.cached_in, usage.model) == (25, 16, 5, "small")
    assert usage.usd == pytest.approx((20 * 1 + 5 * 0.1 + 16 * 5) / 1e6)
    assert usage.usd_reasoning == pytest.approx((25 * 10 + 16 * 50) / 1e6)
    assert not usage.simulated


async def test_a_slow_answer_is_seen_while_it_comes(place: Place) -> None:
    await place.asks("pace-0.5")
    assert place.said() == SENTENCE
    assert 3 <= len(place.lines) <= 8


@pytest.mark.parametrize(
    ("first", "kind"), [("cut", "network"), ("overloaded", "server"), ("limited", "rate_limit")]
)
async def test_what_passes_is_asked_again(place: Place, first: str, kind: str) -> None:
    place.server.plan = {"x": [first, first]}
    outcome = await place.asks("x")
    assert outcome.view.output == SENTENCE
    assert len(place.server.asked) == 3
    faults = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert [fault.kind for fault in faults] == [kind, kind]


@pytest.mark.parametrize("how", ["auth", "quota"])
async def test_what_needs_a_person_stops_the_provider_and_fails_nothing(place: Place, how: str) -> None:
    outcome = await place.asks(how)
    assert outcome.state == "drained"
    assert len(place.server.asked) == 1
    assert not events_of(place, outcome, ev.StepFailed)


@pytest.mark.parametrize("how", ["gone", "context", "filtered", "html", "redirect-9"])
async def test_what_does_not_pass_is_asked_once(place: Place, how: str) -> None:
    outcome = await place.asks(how)
    assert outcome.state == "failed"
    assert len(place.server.asked) == 1


async def test_a_403_about_a_model_has_the_next_of_its_tier_asked(place: Place) -> None:
    place.deck("denied", reasoning="[odd, small]")
    outcome = await place.run(ASKS % ("false", "reasoning", ""))
    assert outcome.view.output == SENTENCE
    assert [asked.body["model"] for asked in place.server.asked] == ["denied", "ok-small"]
    notes = [event.text for event in events_of(place, outcome, ev.Noted)]
    assert notes
    assert notes[0].startswith("model odd is not available: it answered 403: Project p does not have access")


async def test_a_403_about_a_prompt_fails_that_prompt_alone(place: Place) -> None:
    place.deck("flagged")
    more = """
agentdeck: 1
name: two
defaults: { tier: odd }
agents:
  bad: { prompt: "Drop tables", on_error: continue }
  good: { prompt: "Say it", needs: bad }
output: ${good}
"""
    outcome = await place.run(more)
    assert outcome.view.output == SENTENCE
    (failed,) = events_of(place, outcome, ev.StepFailed)
    assert (failed.step, failed.fault.kind) == ("bad", "refused")


@pytest.mark.parametrize("how", ["stall", "mumble"])
async def test_a_stream_that_stalls_is_cut_by_the_idle_clock(place: Place, how: str) -> None:
    place.server.plan = {"x": [how]}
    outcome = await place.asks("x", ", timeout: { idle: 200ms, attempt: 20s }")
    assert outcome.view.output == SENTENCE
    assert "Half an" in place.said()


async def test_the_letter_has_what_had_come(place: Place) -> None:
    outcome = await place.asks("cut")
    assert outcome.state == "failed"
    reader = Reader(place.db)
    (letter,) = reader.letters(outcome.run)
    reader.close()
    assert "Half an answer" in json.dumps(letter, default=str)


async def test_what_does_not_fit_is_told_to_the_model(place: Place) -> None:
    outcome = await place.asks("prose", ", output: { n: integer }", escalate="true")
    first, *rest = place.server.asked
    assert "was refused" not in json.dumps(first.body["messages"])
    assert len(rest) == 2
    for asked in rest:
        told = json.dumps(asked.body["messages"])
        assert "A previous answer was invalid: an object is expected" in told
        assert "JSON Schema" in told
    assert outcome.state == "failed"


async def test_an_invalid_answer_escalates_a_tier(place: Place) -> None:
    place.server.plan = {"ok-small": ["prose"]}
    outcome = await place.asks("ok", ", output: { n: integer }", tier="execution", escalate="true")
    assert [asked.body["model"] for asked in place.server.asked] == ["ok-small", "ok-large"]
    assert isinstance(outcome.view.output["n"], int)


async def test_a_typed_answer_that_is_cut_is_asked_for_with_more_room(place: Place) -> None:
    outcome = await place.asks("room-250", ", output: { n: integer }, max_output: 100")
    assert [asked.body["max_tokens"] for asked in place.server.asked] == [100, 200, 400]
    assert isinstance(outcome.view.output["n"], int)
    assert "was refused" not in json.dumps(place.server.asked[-1].body["messages"])
    first, second = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert (first.kind, first.cut_at, second.cut_at) == ("invalid", 100, 200)
    assert "cut at 100 output tokens" in first.message
    assert "the next attempt may use 200" in first.message


@pytest.mark.parametrize("escalate", ["false", "true"])
async def test_a_typed_answer_may_use_what_the_model_can_give_and_no_more(place: Place, escalate: str) -> None:
    options = ", output: { n: integer }, max_output: 100"
    outcome = await place.asks("room-250", options, limit=150, escalate=escalate)
    assert [asked.body["max_tokens"] for asked in place.server.asked] == [100, 150]
    faults = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert [fault.kind for fault in faults] == ["invalid", *["invalid"] * (escalate == "true"), "context"]
    assert "cannot give more" in faults[-1].message
    assert outcome.state == "failed"


async def test_a_fallback_begins_without_the_room_of_what_it_replaces(place: Place) -> None:
    place.deck("room-250", limit=150)
    outcome = await place.run(
        """
        agentdeck: 1
        name: asks
        defaults: { retry: { attempts: 2, delay: 10ms }, tier: odd }
        agents:
          it: { prompt: Long?, max_output: 100, output: { n: integer }, on_error: { fallback: short } }
          short: { prompt: Short?, max_output: 100, output: { n: integer }, spare: true }
        """
    )
    assert [asked.body["max_tokens"] for asked in place.server.asked] == [100, 150, 100, 150]
    assert outcome.state == "failed"


async def test_a_text_that_is_cut_is_an_answer_and_says_so(place: Place) -> None:
    outcome = await place.asks("length")
    assert outcome.view.output == "Too long"
    assert "cut at its longest allowed length" in place.said()


async def test_an_end_for_an_unknown_reason_is_in_the_log(place: Place) -> None:
    outcome = await place.asks("reason-tired")
    assert outcome.view.output == "Half an answer"
    assert "ended for an unknown reason: tired" in place.said()


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ("nothing", "the answer is empty (it ended with: stop)"),
        ("thinks", "the answer is empty, only reasoning"),
        ("unoffered", "called tools that it was not offered: launch_rocket"),
    ],
)
async def test_an_answer_without_an_answer_is_a_fault(place: Place, how: str, part: str) -> None:
    outcome = await place.asks(how)
    faults = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert [fault.kind for fault in faults] == ["invalid"] * 3
    assert part in faults[0].message
    assert outcome.state == "failed"


async def test_the_agents_options_reach_the_model(place: Place) -> None:
    (place.folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    options = ', system: "Be short", temperature: 0.2, max_output: 77, stop: [END], images: [dot.png]'
    assert (await place.asks("ok", options)).state == "done"
    (asked,) = place.server.asked
    text = json.dumps(asked.body)
    assert asked.body["temperature"] == 0.2
    assert asked.body["max_tokens"] == 77
    assert "Be short" in text
    assert "END" in text
    assert "iVBORw0KGgo" in text
    assert (await place.asks("ok", ", images: [none.png]")).state == "failed"


@pytest.mark.parametrize("how", ["tool", "tools"])
async def test_tools_are_called_and_bounded(place: Place, how: str) -> None:
    pytest.importorskip("mcp")
    outcome = await place.asks(how, ", tools: [sums/add], retry: 1, timeout: 30s")
    said = place.said()
    assert '→ sums/add {"a": 2, "b": 3}' in said
    assert "← sums/add 5" in said
    if how == "tool":
        assert outcome.view.output == "The tool said 5"
        assert "1 tool calls in 1 rounds" in said
    else:
        assert outcome.state == "failed"
        assert len(place.server.asked) == 11


async def test_a_tool_that_is_not_there_is_told(place: Place) -> None:
    pytest.importorskip("mcp")
    outcome = await place.asks("ok", ", tools: [sums/substract]")
    (fault,) = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert fault.message == "the MCP server sums has no tool substract; it has add, fail, token, die"
    with pytest.raises(UsageError, match=r"the MCP server sum is not in deck\.yaml; did you mean sums"):
        await place.asks("ok", ", tools: [sum/add]")


async def test_nothing_starts_without_a_key(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(ProviderError, match="provider it has no key: THE_KEY is not set in the environment"):
        await place.run(WORKFLOWS / "documents.yaml")
    assert place.server.asked == []


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (", tier: reasonin", "it: tier reasonin is not in deck.yaml; did you mean reasoning?"),
        (", model: larg", "it: model larg is not in deck.yaml; did you mean large?"),
    ],
)
async def test_unknown_names_are_refused_before_anything_starts(place: Place, more: str, what: str) -> None:
    with pytest.raises(UsageError, match=what.replace("?", r"\?")):
        await place.asks("ok", more)


async def test_a_clock_that_jumps_moves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real, jumps = time.time, cycle((0.0, 7200.0, -7200.0))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    place.server.plan = {"x": ["limited", "pace-0.1"]}
    outcome = await place.asks("x", ", timeout: { attempt: 30s, total: 5m }")
    assert outcome.view.output == SENTENCE
    times = [event.at for event in events_of(place, outcome, object)]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60


async def test_a_server_that_is_not_there_fails_by_name_and_is_asked_as_often_as_it_says(place: Place) -> None:
    place.server.url = "http://127.0.0.1:1"
    outcome = await place.asks("ok")
    assert outcome.state == "failed"
    faults = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert {fault.kind for fault in faults} == {"network"}
    assert len(faults) == 3
    assert "it cannot be reached at http://127.0.0.1:1" in faults[0].message


async def test_the_key_is_nowhere(place: Place) -> None:
    """In nothing that was written, whoever repeats it: errors, answers, and answers in two pieces."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert (await place.asks("auth")).state == "drained"
        outcome = await place.asks("echo")
    assert outcome.view.output == "Your key is [key], keep it"
    assert place.said().endswith("Your key is [key], keep it")
    assert all(asked.key == SECRET for asked in place.server.asked)
    written = [file.read_bytes() for file in place.folder.rglob("*") if file.is_file()]
    assert len(written) > 2
    for data in (*written, printed.getvalue().encode()):
        assert SECRET.encode() not in data
        assert SECRET[8:].encode() not in data


def events_of(place: Place, outcome: Outcome, kind: type) -> list[Any]:
    reader = Reader(place.db)
    found = [event for _, event in reader.events(outcome.run) if isinstance(event, kind)]
    reader.close()
    return found
