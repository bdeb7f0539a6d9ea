"""The log pane as a reader meets it: it follows until one scrolls, finds, folds, copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot

from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.pane import LineDetail, LogPane
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.pane import Pane, Selection
from agentdeck.views.run_view import RunView
from tests.console.log.samples import Shown, row, rows

pytestmark = pytest.mark.anyio


def screen(pane: LogPane) -> list[str]:
    body = pane.body
    body.render_lines(body.size.region)
    return [body.render_line(y).text.rstrip() for y in range(body.size.height)]


def head(pane: LogPane) -> str:
    return pane.head.render_line(0).text


def many(number: int = 500, start: int = 1) -> LineStore:
    lines = LineStore()
    lines.append(rows((f"line {i}" for i in range(start, start + number)), start))
    return lines


async def ready(pilot: Pilot[None], pane: LogPane) -> None:
    pane.body.focus()
    await pilot.pause()
    pane.frame()
    await pilot.pause()


async def searched(pilot: Pilot[None], pane: LogPane) -> None:
    """Until all lines were looked at."""
    pane.frame()
    while pane.body.line_filter.searching:
        await pilot.pause(0.01)
        pane.frame()


async def test_it_follows_until_the_reader_scrolls_and_then_counts_what_is_new() -> None:
    lines = many()
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        assert screen(pane)[-1].endswith("line 500")
        lines.append(rows(["line 501"], 501))
        pane.frame()
        assert screen(pane)[-1].endswith("line 501")
        assert "following" in head(pane)

        await pilot.press("pageup")
        before = screen(pane)
        lines.append(rows((f"line {i}" for i in range(502, 536)), 502))
        pane.frame()
        assert screen(pane) == before
        assert "34 new" in head(pane)

        await pilot.press("end")
        assert screen(pane)[-1].endswith("line 535")
        assert "following" in head(pane) or pane.body.following
        assert pane.body.new == 0


async def test_the_word_about_new_lines_can_be_clicked() -> None:
    lines = many()
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("home")
        lines.append(rows(["line 501"], 501))
        pane.frame()
        await pilot.click(pane.head, offset=(75, 0))
        assert pane.body.following
        assert screen(pane)[-1].endswith("line 501")


async def test_the_wheel_takes_the_reader_away_from_the_end_whatever_comes() -> None:
    lines = many()
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        pane.body.post_message(MouseScrollUp(pane.body, 5, 5, 0, -1, 0, False, False, False))
        for start in range(501, 1501, 100):
            lines.append(rows((f"line {i}" for i in range(start, start + 100)), start))
            await pilot.pause(0)
            pane.frame()
        assert screen(pane)[-1].endswith("line 497")
        for _ in range(400):
            pane.body.post_message(MouseScrollDown(pane.body, 5, 5, 0, 1, 0, False, False, False))
        await pilot.pause()
        assert pane.body.following


async def test_scrolling_back_to_the_end_follows_again() -> None:
    pane = LogPane(many())
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("pageup")
        assert not pane.body.following
        await pilot.press("pagedown")
        assert pane.body.following


async def test_the_reader_stays_at_a_line_while_the_oldest_are_dropped() -> None:
    lines = LineStore(200)
    lines.append(rows(f"line {i}" for i in range(1, 201)))
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("pageup")
        before = screen(pane)
        lines.append(rows((f"line {i}" for i in range(201, 241)), 201))
        assert lines.dropped
        pane.frame()
        assert screen(pane) == before
        assert f"{lines.dropped} dropped" in head(pane)
        await pilot.press("home")
        assert screen(pane)[0].strip() == f"… {lines.dropped} lines dropped"


async def test_a_pattern_is_typed_found_walked_and_cleared() -> None:
    pane = LogPane(many())
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("slash", *"7$")
        await searched(pilot, pane)
        assert "50 matches" in head(pane)
        assert [text[-1] for text in screen(pane)] == ["7"] * len(screen(pane))
        await pilot.press("enter", "N")
        first = pane.body.current()
        await pilot.press("N")
        second = pane.body.current()
        assert first is not None
        assert second is not None
        assert (first.text, second.text) == ("line 497", "line 487")
        await pilot.press("slash", "backspace", "backspace", "(")
        assert "not a regular expression" in head(pane)
        await pilot.press("escape")
        pane.frame()
        assert "500 lines" in head(pane)


async def test_least_level_and_task_narrow_what_is_shown() -> None:
    lines = LineStore()
    lines.append(
        row(i, f"line {i}", task=str(i % 5), level=("debug", "info", "warning", "error")[i % 4])
        for i in range(1, 41)
    )
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("l", "l")
        assert "warning and above · 20 lines" in head(pane)
        await pilot.press("f")
        assert [text.split()[-1] for text in screen(pane) if text] == ["14", "19", "34", "39"]
        await pilot.press("f")
        await pilot.press("escape")
        assert "40 lines" in head(pane)


async def test_wrapped_lines_can_all_be_reached() -> None:
    lines = LineStore()
    lines.append(rows(f"begin{i} {'x' * 150} end{i}" for i in range(60)))
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("W")
        assert screen(pane)[-1].endswith("59")
        seen: set[str] = set()
        await pilot.press("home")
        for _ in range(61):
            seen |= {word for text in screen(pane) for word in text.split() if word.startswith("begin")}
            pane.body.scroll_down(animate=False, force=True)
            await pilot.pause(0)
        assert seen == {f"begin{i}" for i in range(60)}
        assert pane.body.following


async def test_it_follows_what_is_looked_at_unless_it_is_pinned() -> None:
    lines = LineStore()
    lines.append(rows(["a"], 1, "one") + rows(["b"], 2, "two"))
    free, pinned = LogPane(lines), LogPane(lines, agent="one")
    for pane, expected in ((free, "b"), (pinned, "a")):
        async with Shown(pane).run_test(size=(80, 24)) as pilot:
            await ready(pilot, pane)
            pane.show_selection(Selection("two"))
            await pilot.pause()
            assert [text.split()[-1] for text in screen(pane) if text] == [expected]


async def test_a_sub_workflow_stands_for_the_agents_below_it() -> None:
    lines = LineStore()
    lines.append([row(1, "a", step="review"), row(2, "b", step="reviewer")])
    pane: Pane = (shown := LogPane(lines))
    async with Shown(shown).run_test(size=(80, 24)) as pilot:
        await ready(pilot, shown)
        pane.show_selection(Selection("review"))
        lines.append([row(3, "c", step="security", task="1/review")])
        pane.tick(RunView(), 0.0)
        assert [text.split()[-1] for text in screen(shown) if text] == ["a", "c"]


async def test_columns_can_be_hidden_and_make_way_in_narrow_panes() -> None:
    lines = LineStore()
    lines.append([row(1, "hello", level="warning")])
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        assert screen(pane)[0].split()[1:] == ["warn", "extract", "1", "hello"]
        await pilot.press("T", "V", "A")
        assert screen(pane)[0].split() == ["hello"]
        await pilot.press("T", "V", "A")
        await pilot.resize_terminal(30, 24)
        await pilot.pause()
        assert screen(pane)[0].split() == ["hello"]


async def test_json_is_folded_and_opens_pretty() -> None:
    lines = LineStore()
    lines.append(rows(['{"order":7,  "items":[{"sku":"A"}]}']))
    pane = LogPane(lines)
    app = Shown(pane)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        assert '{"order": 7, "items": [{"sku": "A"}]}' in screen(pane)[0]
        await pilot.press("enter")
        assert isinstance(app.screen, LineDetail)
        await pilot.press("escape")
        assert not isinstance(app.screen, LineDetail)


async def test_copy_takes_the_line_and_a_selection_takes_what_was_dragged_over() -> None:
    pane = LogPane(many(10))
    app = Shown(pane)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("up", "up", "y")
        assert app.clipboard == "line 9"
        text = screen(pane)[2]
        x = text.index("line 3")
        await pilot.mouse_down(pane.body, offset=(x + 2, 2))
        await pilot.hover(pane.body, offset=(x + 3, 4))
        await pilot.mouse_up(pane.body, offset=(x + 3, 4))
        assert app.screen.get_selected_text() == "ne 3\nline 4\nline"


async def test_lines_are_saved(tmp_path: Path) -> None:
    pane = LogPane(many(1000))
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        pane.find("7$")
        while pane.body.line_filter.left:
            pane.frame()
        pane.save(tmp_path / "some.log")
        for _ in range(20):
            pane.frame()
        saved = (tmp_path / "some.log").read_text().splitlines()
        assert len(saved) == 100
        assert saved[0].endswith("info 1/extract line 7")


async def test_panes_are_pinned_beside_the_one_that_follows() -> None:
    lines = LineStore()
    for i in range(9):
        lines.append(rows([f"by {i}"], i + 1, f"agent{i}"))
    tiles = LogTiles(lines)
    async with Shown(tiles).run_test(size=(160, 48)) as pilot:
        tiles.show_selection(Selection("agent0"))
        tiles.following.body.focus()
        await pilot.press("i")
        assert tiles.pinned == ["agent0"]
        assert not tiles.pin("agent0")
        for i in range(1, 6):
            assert tiles.pin(f"agent{i}")
        await pilot.pause()
        assert not tiles.pin("agent7")
        assert len(tiles.panes) == 7
        tiles.frame()
        assert screen(tiles.panes[3])[0].endswith("by 2")
        tiles.panes[2].body.focus()
        await pilot.press("i")
        await pilot.pause()
        assert tiles.pinned == ["agent0", "agent2", "agent3", "agent4", "agent5"]
        await pilot.press("I")
        await pilot.pause()
        assert tiles.panes == [tiles.following]


async def test_a_pattern_that_takes_too_long_says_so_and_every_key_still_works() -> None:
    lines = many()
    lines.append(rows(["a" * 60 + "c"], 2000))
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 24)) as pilot:
        await ready(pilot, pane)
        await pilot.press("slash", *"(a|aa)+$")
        await searched(pilot, pane)
        assert "this pattern takes too long: stopped after 1 s" in head(pane)
        await pilot.press("escape")
        pane.frame()
        assert "501 lines" in head(pane)
