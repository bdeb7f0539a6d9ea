"""What runs inside attempts, in the panes: folded at first, and unfolded by a key."""

from __future__ import annotations

import pytest

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.console.step_detail import items_of
from agentdeck.console.throttle import Throttle
from agentdeck.insight.step import step_story
from agentdeck.scheduler import events as ev
from tests.console.scenes import ORDER, Recorded, Stage, failed, inside, order, page, view_of

pytestmark = pytest.mark.anyio


def rows(pane: AgentsPane) -> list[str]:
    """The mark and the name of each row, with its indentation."""
    return [line[4:20].rstrip() for line in page(pane)[1:] if line.strip()]


async def test_inner_steps_are_rows_below_their_agent_that_fold() -> None:
    pane = AgentsPane()
    app = Stage(pane)
    async with app.run_test(size=(150, 12)) as pilot:
        pane.tick(view_of(inside()), 108.0)
        assert rows(pane) == ["  extract", "▸ payment", "  shipping", "  confirm"]
        pane.show_selection(Selection("payment"))
        await pilot.press("space")
        pane.tick(view_of(inside()), 108.0)
        assert rows(pane)[1:6] == ["▾ payment", "    check", "  ▾ charge", "      search", "      model"]
        (check,) = (line for line in page(pane) if "check" in line)
        assert check.split()[0] == "✓"
        assert "100→20" in check
        assert "$0.25" in check
        assert next(line for line in page(pane) if "search" in line).split()[0] == "✗"
        await pilot.press("down", "down", "space")
        pane.tick(view_of(inside()), 108.0)
        assert rows(pane)[2:5] == ["    check", "  ▸ charge", "  shipping"]
        selected = [one.selection for one in app.told if isinstance(one, SelectionChanged)]
        assert set(selected) == {Selection("payment")}, "keys act on the agent"
        assert pane.cursor_selection is None
        await pilot.press("up", "up", "space")
        pane.tick(view_of(inside()), 108.0)
        assert rows(pane) == ["  extract", "▸ payment", "  shipping", "  confirm"]


async def test_the_key_that_folds_marks_an_agent_without_inner_steps() -> None:
    pane = AgentsPane()
    async with Stage(pane).run_test(size=(100, 12)) as pilot:
        pane.tick(view_of(order()), 108.0)
        await pilot.press("space")
        assert pane.marks == {"extract"}
        assert page(pane)[2].split()[1] == "payment"


async def test_sorted_rows_have_whole_names() -> None:
    pane = AgentsPane()
    async with Stage(pane).run_test(size=(150, 12)) as pilot:
        pane.tick(view_of(inside()), 108.0)
        pane.show_selection(Selection("payment"))
        await pilot.press("space")
        pane.tick(view_of(inside()), 108.0)
        await pilot.press("slash", *"model", "enter")
        pane.tick(view_of(inside()), 108.0)
        assert page(pane)[1].split()[1] == "payment/charge/model"


async def test_the_card_of_an_agent_says_what_runs_inside_and_unfolds() -> None:
    pane = GraphPane(ORDER)
    async with Stage(pane).run_test(size=(130, 30)) as pilot:
        pane.tick(view_of(inside()), 108.0)
        text = "\n".join(drawn(pane))
        assert "payment ▸" in text
        assert "▸ model" in text
        assert "search" not in text
        pane.show_selection(Selection("payment"))
        pane.tick(view_of(inside()), 108.0)
        await pilot.press("space")
        pane.tick(view_of(inside()), 108.0)
        text = "\n".join(drawn(pane))
        assert "payment ▾" in text
        for row in ("✓ check", "● charge", "  ✗ search", "  ● model"):
            assert row in text
        height = pane._drawing.region_of("payment")[3]  # type: ignore[union-attr]
        more = ev.InnerStarted(108.0, "A", "payment", 2, 5, "report")
        pane.tick(view_of([*inside(), more]), 108.0)
        assert pane._drawing.region_of("payment")[3] == height + 1  # type: ignore[union-attr]
        await pilot.press("space")
        pane.tick(view_of(inside()), 108.0)
        assert "payment ▸" in "\n".join(drawn(pane))


def drawn(pane: GraphPane) -> list[str]:
    return ["".join(one.text for one in pane.render_line(y)) for y in range(pane.size.height)]


async def test_a_card_has_rows_for_so_many_names() -> None:
    pane = GraphPane(ORDER)
    pane.unfolded.add("payment")
    names = [ev.InnerStarted(108.0, "A", "payment", 2, n, f"node{n}") for n in range(5, 45)]
    async with Stage(pane).run_test(size=(130, 40)):
        pane.tick(view_of([*inside(), *names]), 108.0)
        text = "\n".join(drawn(pane))
        assert "… 33 more names" in text
        assert "node20" not in text


def test_the_detail_of_a_step_shows_inner_steps_and_opens_those_that_failed() -> None:
    running = items_of(step_story(ORDER, inside(), "A", "payment"))
    (whole,) = (item for item in running if item.label == "inside")
    assert (whole.text, whole.shut) == ("4 inner steps, 1 failed", True)
    done = ev.AttemptFailed(109.0, "A", "payment", 2, failed("no answer"))
    items = items_of(step_story(ORDER, [*inside(), done], "A", "payment"))
    (whole,) = (item for item in items if item.label == "inside")
    assert not whole.shut
    assert [(item.depth, item.label, item.shut) for item in items if item.label[1:2] == " "] == [
        (3, "✓ check", True), (3, "⊘ charge", False), (4, "✗ search", False), (4, "⊘ model", False)
    ]  # fmt: skip
    assert any("in charge › search: error: no answer" in item.text for item in items)


async def test_the_timeline_unfolds_the_inner_steps_of_a_step() -> None:
    events = inside()
    for number in range(5, 45):
        events.append(ev.InnerStarted(108.0, "A", "payment", 2, number, f"node{number}"))
        events.append(ev.InnerEnded(108.5, "A", "payment", 2, number))

    async def lanes(task: str, step: str, after: int) -> list[tuple[int, ev.Event]]:
        of = [(seq, event) for seq, event in enumerate(events, 1) if getattr(event, "step", "") == step]
        return [(seq, event) for seq, event in of if getattr(event, "task", "") == task and seq > after]

    pane = TimelinePane(Recorded(order()), lanes)
    few = len(inside())
    app = Stage(pane)
    async with app.run_test(size=(100, 40)) as pilot:
        pane.show_selection(Selection("payment", "A", "payment"))

        async def tick(number: int) -> list[str]:
            for _ in range(4):
                pane._throttle = Throttle()
                pane.tick(view_of(events[:number]), 109.0)
                await pilot.pause()
            return [line[:25].rstrip() for line in page(pane)[1:]]

        assert any("▸ payment" in line for line in await tick(few))
        await pilot.press("space")
        shown = await tick(few)
        at = next(at for at, line in enumerate(shown) if "▾ payment" in line)
        assert [line.strip() for line in shown[at + 1 : at + 5]] == [
            "✓ check", "● charge", "✗   search", "●   model"
        ]  # fmt: skip
        assert "shipping" in shown[at + 5]
        assert [line.strip() for line in (await tick(few - 1))[at + 1 : at + 5]][:3] == [
            "✓ check", "● charge", "✗   search"
        ], "what was not known then is not shown"  # fmt: skip
        shown = await tick(len(events))
        assert shown[at + 1].strip() == "… 24 more"
        assert shown[at + 21].strip() == "✓ node44"
        await pilot.press("down", "down")
        assert pane.cursor_selection is None, "keys act on the step"
        await pilot.press("space")
        assert "▸ payment" in (await tick(few))[at]
