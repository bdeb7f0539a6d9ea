"""Each state has a glyph, a word and a look of its own in every theme; a budget that is used up says so."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from agentdeck.console.app import DeckApp
from agentdeck.console.graph.card import Card, Progress, card_of, state_of
from agentdeck.console.graph.nodes import nodes_of
from agentdeck.console.pane import Selection
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.header import Header
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.console.state_style import GLYPHS, role_styles
from agentdeck.insight.attention import AttentionCounts, AttentionItem, attention_counts, attention_items
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.views.agent_totals import DISPLAY_STATES
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from tests.console.scenes import Recorded, Stage, page

pytestmark = pytest.mark.anyio

SIGN = """
agentdeck: 1
name: sign
budget: { usd: 1 }
agents:
  read: { python: shop:read }
  sign: { needs: read, approve: { ask: "Go?" } }
  ship: { needs: sign, when: "sign.approved", python: shop:ship }
"""


def asked(*more: ev.Event) -> list[ev.Event]:
    return [
        ev.RunStarted(0.0, "r", "sign", "", {}, {"workers": 4, "budget.usd": 1.0}),
        ev.TaskOpened(0.0, "1", {}),
        ev.StepStarted(0.0, "1", "read", "read", 1, 0.0),
        ev.StepSucceeded(1.0, "1", "read", 1),
        ev.StepStarted(1.0, "1", "sign", "sign", 1, 1.0),
        *more,
    ]


NO = (
    ev.StepAnswered(5.0, "1", "sign", False, {}, "ada"),
    ev.StepSkipped(5.0, "1", "ship", "when: sign.approved is false"),
    ev.TaskEnded(5.0, "1", "done"),
)


def view_of(*more: ev.Event) -> RunView:
    view = RunView(loads(SIGN).definition)
    for seq, event in enumerate(asked(*more), 1):
        view.apply(seq, event)
    return view


def card(view: RunView) -> Card:
    assert view.definition is not None
    return card_of(nodes_of(view.definition)["sign"], Progress(view.agents, 1))


def test_asking_is_not_running_and_rejected_is_not_done() -> None:
    assert card(view_of()).state == "asking"
    assert card(view_of(*NO)).state == "rejected"
    assert card(view_of(NO[0]._replace(approved=True))).state == "done"
    assert state_of({**dict.fromkeys(DISPLAY_STATES, 0), "cancelled": 2}) == "cancelled"
    assert view_of().open["1"].display_state == "asking"
    assert view_of().agents["sign"].steps["running"] == 1  # what is printed as JSON stays


def test_a_rejected_approval_that_goes_again_is_not_rejected_any_more() -> None:
    again = ev.StepReopened(6.0, "1", "sign", was="done", again={"sign": "done", "ship": "skipped"})
    assert view_of(*NO, again).agents["sign"].display_counts["rejected"] == 0


REVIEW = """
agentdeck: 1
name: review
agents:
  check: { workflow: sign.yaml }
  other: { approve: { ask: "Now?" } }
"""


def test_an_approval_inside_a_sub_workflow_asks_too() -> None:
    view = RunView(loads(REVIEW).definition)
    events: list[ev.Event] = [
        ev.RunStarted(0.0, "r", "review", "", {}, {"workers": 4}),
        ev.TaskOpened(0.0, "1", {}),
        ev.StepStarted(0.0, "1", "check", "check", 1, 0.0),
        ev.TaskOpened(0.0, "1/check", {}, ("1", "check")),
        ev.StepStarted(0.0, "1/check", "sign", "sign", 1, 0.0),
        ev.Noted(0.0, "Go?", "1/check", "sign", {"asks": "Go?", "shows": None}),
    ]
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    assert view.open["1/check"].display_state == "asking"
    assert view.open["1"].display_state == "asking", "the task above it only waits for that"
    assert view.open["1"].steps["check"].display_state == "asking"
    assert view.agents["check/sign"].display_counts["asking"] == 1
    assert attention_counts(view, 3600.0) == AttentionCounts(
        0, 1, 0, 0
    )  # the step that waits for it is not silent
    assert list(attention_items(view, 1.0)) == [AttentionItem("asking", "1/check", "sign")]
    assert view.definition is not None
    assert explain(view, view.definition, "1/check", "sign", 9.0).text == "waiting for an approval for 9.0 s"


async def test_every_pane_tells_them_apart() -> None:
    for events, glyph, word in (((), "?", "asking"), (NO, "¬", "rejected")):
        view = view_of(*events)
        agents, tasks = AgentsPane(), TasksPane()
        timeline = TimelinePane(Recorded(asked(*events)))
        for pane in (agents, tasks, timeline):
            async with Stage(pane).run_test(size=(120, 12)) as pilot:
                timeline.show_selection(Selection(task="1"))
                for _ in range(50):
                    pane.tick(view, 6.0)
                    await pilot.pause(0.01)
                    if pane is not timeline or timeline._names:
                        break
                shown = next(line for line in page(pane) if ("1" if pane is tasks else "sign") in line)
                if pane is not tasks or word == "asking":
                    assert glyph in shown, (word, shown)


async def test_no_two_states_look_alike_in_any_theme(tmp_path: Path) -> None:
    assert len({GLYPHS[state] for state in DISPLAY_STATES}) == len(DISPLAY_STATES)
    app = DeckApp(tmp_path / "deck.db")
    async with app.run_test() as pilot:
        app._read_themes()
        for theme in app.theme_names():
            app.theme = theme
            await pilot.pause()
            look = role_styles(app)  # type: ignore[arg-type]
            for one, other in combinations(("running", "asking", "done", "rejected", "failed", "cancelled"), 2):
                if look[one].color is not None:
                    assert look[one] != look[other], (theme, one, other)


async def test_a_run_paused_by_its_budget_says_so_and_what_to_do() -> None:
    view = view_of(ev.RunPaused(2.0, "budget of the run: $0.98 of $1.00 used; the next prompt needs about $0.04"))
    header = Header()
    for size in ((80, 1), (160, 3)):
        async with Stage(header).run_test(size=size):
            header.tick(view, 3.0)
            top = page(header)[0]
            assert "‖ paused: budget" in top
            assert "B raises it" in top
        header = Header()
    assert attention_counts(view, 3.0) == AttentionCounts(0, 1, 0, 1)
    assert next(attention_items(view, 3.0)).why == "budget"
    by_hand = view_of(ev.RunPaused(2.0, "", "ada"))
    assert attention_counts(by_hand, 3.0) == AttentionCounts(0, 1, 0, 0)


def test_a_limit_that_is_not_set_reads_none() -> None:
    view = view_of(ev.LimitChanged(2.0, "agents.read.max_parallel", None, 0, "ada"))
    assert [one.text for one in view.timeline if one.kind == "limit"] == [
        "agents.read.max_parallel: none -> 0, by ada"
    ]
