from __future__ import annotations

import pytest
from rich.cells import cell_len

from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.header import Header
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.scheduler import events as ev
from agentdeck.terminal_text import clean
from agentdeck.views.run_view import RunView
from tests.console.scenes import ELSEWHERE, Recorded, Stage, failed, order, page, placed, view_of

pytestmark = pytest.mark.anyio


def foci(app: Stage) -> list[tuple[Selection, bool]]:
    return [(message.selection, message.opened) for message in app.told if isinstance(message, SelectionChanged)]


def line_of(lines: list[str], word: str) -> str:
    return next(line for line in lines if word in line)


async def test_agents_show_state_counts_and_what_they_waited_for() -> None:
    pane = AgentsPane()
    async with Stage(pane).run_test(size=(150, 10)):
        pane.tick(view_of(order()), 108.0)
        lines = page(pane)
        assert lines[0].split()[:5] == ["agent", "queued", "running", "done", "failed"]
        assert line_of(lines, "extract").split()[0] == "●"
        assert "2.0 s" in line_of(lines, "extract")  # p50 of what ended
        payment = line_of(lines, "payment")
        assert "pool" in payment and "2.5 s" in payment and "0%" in payment  # noqa: PT018
        assert line_of(lines, "confirm").lstrip().startswith("·")


@pytest.mark.parametrize("width", [80, 160])
async def test_agents_show_where_they_run_in_a_run_with_places(width: int) -> None:
    pane = AgentsPane()
    async with Stage(pane).run_test(size=(width, 10)):
        pane.tick(view_of(order()), 108.0)
        assert "place" not in page(pane)[0]
        pane.tick(view_of(placed(), ELSEWHERE), 108.0)
        lines = page(pane)
        assert "place" in lines[0].split()
        assert "big 2× w1 1 w2 1" in line_of(lines, "payment")
        assert "big w2 1" in line_of(lines, "shipping")
        assert "w" not in line_of(lines, "extract").replace("–", "").split("extract")[1]
        many = [ev.AttemptPlaced(108.0, "A", "shipping", 1, f"node-{number}") for number in range(9)]
        pane.tick(view_of([*placed(), *many], ELSEWHERE), 108.0)
        assert "big 10× w2 1" in line_of(page(pane), "shipping")


async def test_agents_and_tasks_follow_what_is_looked_at_and_say_what_they_look_at() -> None:
    agents = AgentsPane()
    app = Stage(agents)
    async with app.run_test(size=(100, 10)) as pilot:
        agents.tick(view_of(order()), 108.0)
        agents.show_selection(Selection("shipping", "A"))
        assert agents.key == "shipping"
        await pilot.pause()
        assert foci(app) == []
        await pilot.press("down", "enter")
        await pilot.pause()
        assert foci(app) == [(Selection("confirm", "A"), False), (Selection("confirm", "A"), True)]


async def test_tasks_show_steps_errors_and_each_task_once() -> None:
    pane = TasksPane()
    app = Stage(pane)
    events = [
        *order(),
        ev.StepSucceeded(108.0, "A", "payment", 2),
        ev.AttemptFailed(108.5, "B", "extract", 1, failed("unreadable")),
        ev.StepFailed(108.5, "B", "extract", failed("unreadable")),
        ev.TaskEnded(108.5, "B", "failed", None, failed("unreadable")),
        ev.TaskOpened(109.0, "C", {}),
        ev.TaskEnded(110.0, "C", "done"),
    ]
    async with app.run_test(size=(100, 8)) as pilot:
        pane.tick(view_of(order()), 108.0)
        assert "payment: card refused" in line_of(page(pane), " A ")
        pane.tick(view_of(events), 110.0)
        lines = page(pane)
        assert [line.split()[:3] for line in lines[1:4]] == [
            ["●", "A", "running"],
            ["✗", "B", "failed"],
            ["✓", "C", "done"],
        ]
        assert "✓✓●·" in lines[1]
        assert "10.0 s" in lines[1]
        assert "unreadable" in lines[2]
        await pilot.press("slash", *"unread", "enter", "enter")
        await pilot.pause()
        assert foci(app)[-1] == (Selection("", "B"), True)


async def test_the_header_tells_progress_pace_and_who_needs_a_person() -> None:
    header = Header()
    header.badges, header.age, header.total = ("watching",), 2.5, 10
    view, seq = view_of([ev.RunStarted(0.0, "r1", "order", "", {}, {"workers": 4})]), 1
    async with Stage(header).run_test(size=(120, 3)):
        for second in range(1, 6):
            for event in (
                ev.TaskOpened(second - 1.0, str(second), {}),
                ev.StepStarted(second - 0.5, str(second), "extract", "extract", 1, second - 1.0),
                ev.StepSucceeded(float(second), str(second), "extract", 1),
                ev.StepFailed(float(second), str(second), "payment", failed("no")),
                ev.TaskEnded(float(second), str(second), "failed" if second == 5 else "done"),
            ):
                seq += 1
                view.apply(seq, event)
            header.tick(view, float(second))
        lines = page(header)
        assert "● running" in lines[0] and "watching" in lines[0] and "data 2.5 s old" in lines[0]  # noqa: PT018
        assert "ETA 5.0 s" in lines[0]
        assert "4 done" in lines[1] and "1 failed" in lines[1] and "of 10 tasks" in lines[1]  # noqa: PT018
        assert "pool 2.5 s" in lines[2] and "✗ 5 dead letters" in lines[2]  # noqa: PT018
        header.tick(RunView(), 0.0)  # a replay that went back to before the run
        assert "ETA –" in page(header)[0]


@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("width", [40, 80, 160])
async def test_the_header_fits_wherever_it_is(width: int, height: int) -> None:
    header = Header()
    async with Stage(header).run_test(size=(width, height)):
        header.tick(view_of(order()), 108.0)
        assert all(cell_len(line) <= width for line in page(header))
        assert "running" in page(header)[0]


async def test_the_timeline_draws_attempts_waits_and_the_critical_path() -> None:
    source = Recorded(order())
    pane = TimelinePane(source)
    app = Stage(pane)
    view = view_of(order())
    async with app.run_test(size=(120, 20)) as pilot:
        pane.show_selection(Selection("", "A"))
        pane.tick(view, 108.0)
        await app.workers.wait_for_complete()
        await pilot.pause()
        pane.tick(view, 108.0)
        lines = page(pane)
        assert source.asked == ["A"]
        assert lines[0].startswith(" task A") and "╷0s" in lines[0]  # noqa: PT018
        payment = line_of(lines, " payment")
        assert "◆" in payment and "✗" in payment and "2" in payment and "pool" in payment  # noqa: PT018
        assert "◆" not in line_of(lines, " shipping")
        assert "requests" in line_of(lines, " shipping")
        assert payment.index("✗") < payment.index("backoff") < payment.index("2█")
        assert "card refused" in line_of(lines, "failure")
        await pilot.press("down", "enter")
        await pilot.pause()
        assert foci(app)[-1] == (Selection("payment", "A", "payment"), True)


async def test_the_timeline_has_a_lane_per_worker_below_the_agents() -> None:
    pane = TimelinePane(Recorded(placed()))
    app = Stage(pane)
    view = view_of(placed(), ELSEWHERE)
    async with app.run_test(size=(80, 16)) as pilot:
        pane.tick(view, 110.0)
        await app.workers.wait_for_complete()
        pane.tick(view, 110.0)
        lines = page(pane)
        assert [line.split()[:2] for line in lines[5:7]] == [["@", "w1"], ["@", "w2"]]
        first, second = (line[27:] for line in lines[5:7])
        # w1 had one attempt from 104 to 105, w2 one from 104 on, and a second one from 107.5.
        assert "✗" not in second
        busy = [[mark not in " ·" for mark in line] for line in (first, second)]
        assert 0 < sum(busy[0]) < sum(busy[1])
        assert busy[0].index(True) == busy[1].index(True)
        await pilot.press("end", *["down"] * 5)
        assert pane.cursor == 5
        await pilot.pause()
        assert foci(app)[-1] == (Selection(), False)
        pane.tick(view_of(placed()[:3], ELSEWHERE), 101.0)  # a replay that went back
        assert pane.cursor == 3


async def test_the_timeline_of_a_run_that_ended_while_it_was_hidden_is_read_again() -> None:
    source = Recorded(placed()[:3])
    pane = TimelinePane(source)
    app = Stage(pane)
    async with app.run_test(size=(80, 16)):
        pane.tick(view_of(placed()[:3], ELSEWHERE), 101.0)
        await app.workers.wait_for_complete()
        pane.tick(view_of(placed()[:3], ELSEWHERE), 101.0)
        log = [*placed(), ev.RunEnded(130.0, "done")]
        source.events = list(enumerate(log, 1))
        for _ in range(3):
            pane.tick(view_of(log, ELSEWHERE), 500.0)
            await app.workers.wait_for_complete()
        assert any(mark not in " ·" for mark in line_of(page(pane), "@ w1")[27:])
        assert source.asked == ["", ""], "it is read once more, not at each tick"


async def test_the_timeline_of_a_replay_shows_what_was_known_then() -> None:
    pane = TimelinePane(Recorded(order()))
    app = Stage(pane)
    async with app.run_test(size=(120, 20)) as pilot:
        pane.show_selection(Selection("", "A"))
        early = view_of(order()[:6])
        pane.tick(early, 102.0)
        await app.workers.wait_for_complete()
        await pilot.pause()
        pane.tick(early, 102.0)
        assert "payment" not in "".join(page(pane))
        pane.tick(view_of(order()), 108.0)
        assert "✗" in line_of(page(pane), "payment")


async def test_the_timeline_is_live_before_anything_was_read() -> None:
    pane = TimelinePane(Recorded([]))
    async with Stage(pane).run_test(size=(120, 20)):
        pane.show_selection(Selection("", "A"))
        pane.tick(view_of(order()), 108.0)
        assert "2━" in line_of(page(pane), "payment").replace("█", "━")


async def test_zoom_and_pan_change_the_ruler_and_fit_brings_all_back() -> None:
    pane = TimelinePane(Recorded(order()))
    app = Stage(pane)
    async with app.run_test(size=(120, 20)) as pilot:
        pane.show_selection(Selection("", "A"))
        pane.tick(view_of(order()), 108.0)
        whole = page(pane)[0]
        await pilot.press("plus", "plus")
        near = page(pane)[0]
        assert "╷0s" in whole
        assert "╷0s" not in near
        await pilot.press(*["left"] * 8)
        assert "╷0s" in page(pane)[0]
        await pilot.press("0")
        assert page(pane)[0] == whole


async def test_activity_of_agents_where_no_task_is_looked_at() -> None:
    pane = TimelinePane(Recorded(order()))
    app = Stage(pane)
    async with app.run_test(size=(120, 20)) as pilot:
        view = view_of(order())
        pane.tick(view, 108.0)
        await app.workers.wait_for_complete()
        await pilot.pause()
        pane.tick(view, 108.3)
        assert set("▁▂▃▄▅▆▇█") & set(line_of(page(pane), "extract"))
        assert "─" not in line_of(page(pane), "confirm")


async def test_a_source_that_fails_is_told_and_ends_nothing() -> None:
    async def broken(task: str) -> list[tuple[int, ev.Event]]:
        raise OSError("the \x1b[31mdisk is gone")

    pane = TimelinePane(broken)
    app = Stage(pane)
    async with app.run_test(size=(100, 10)) as pilot:
        pane.show_selection(Selection("", "Z"))
        pane.tick(view_of(order()), 108.0)
        await pilot.pause(0.05)
        pane.tick(view_of(order()), 108.0)
        assert "the record cannot be read: the disk is gone" in page(pane)[1]


async def test_nothing_an_agent_says_gets_through() -> None:
    evil = "\x1b]0;title\x07\x9b2J‮[red]oops[/x]\nnext"
    events: list[ev.Event] = [
        ev.RunStarted(0.0, evil, evil, "", {}, {"workers": 1, evil: 3}),
        ev.TaskOpened(0.0, evil, {}),
        ev.StepStarted(0.0, evil, evil, evil, 1, 0.0),
        ev.RunPaused(1.0, evil),
        ev.AttemptFailed(1.0, evil, evil, 1, failed(evil)),
        ev.StepRetrying(1.0, evil, evil, 9.0, evil),
    ]
    view = view_of(events)
    for pane in (AgentsPane(), TasksPane(), Header(), TimelinePane(Recorded(events))):
        app = Stage(pane)
        async with app.run_test(size=(120, 12)) as pilot:
            if not isinstance(pane, Header):
                pane.show_selection(Selection("", evil))
            pane.tick(view, 2.0)
            await app.workers.wait_for_complete()
            await pilot.pause()
            pane.tick(view, 3.0)
            lines = page(pane)
            assert "[red]oops" in "".join(lines)
            assert [line for line in lines if line != clean(line)] == []
            assert all(cell_len(line) <= 120 for line in lines)


async def test_activity_is_read_again_for_another_run_and_after_a_while_unseen() -> None:
    source = Recorded(order())
    pane = TimelinePane(source)
    app = Stage(pane)

    async def tick(view: RunView, now: float) -> None:
        pane.tick(view, now)
        await app.workers.wait_for_complete()
        await pilot.pause()

    async with app.run_test(size=(120, 20)) as pilot:
        view = view_of(order())
        await tick(view, 108.0)
        await tick(view, 109.0)
        assert source.asked == [""]
        await tick(view, 140.0)
        await tick(view, 140.1)
        await tick(view, 140.2)
        assert source.asked == ["", ""]
        other = view_of([ev.RunStarted(100.0, "r2", "order", "", {}, {"workers": 1}), *order()[1:]])
        await tick(other, 108.0)
        assert source.asked == ["", "", ""]
