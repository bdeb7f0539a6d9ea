from __future__ import annotations

import pytest

from agentdeck.console.pane import Selection
from agentdeck.console.panes.limits import LimitsPane, read, written
from agentdeck.insight.limits import Limit
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from tests.console.scenes import Stage, order, page, view_of

pytestmark = pytest.mark.anyio


class Owner:
    """Whoever is asked to change a limit."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.forecast: list[tuple[str, object]] = []

    def change(self, name: str, value: object) -> None:
        self.asked.append((name, value))

    def foresee(self, name: str, value: object) -> str:
        self.forecast.append((name, value))
        return f"then {value}"


def line_of(pane: LimitsPane, word: str) -> str:
    return next(line for line in page(pane) if word in line)


async def test_a_limit_is_turned_foreseen_asked_for_and_applied() -> None:
    owner = Owner()
    pane = LimitsPane(owner.change, owner.foresee)
    async with Stage(pane).run_test(size=(120, 8)) as pilot:
        view = view_of(order())
        pane.tick(view, 108.0)
        assert "3/16" in line_of(pane, "workers")
        await pilot.press("right", "right", "left")
        assert "16 → 17" in line_of(pane, "workers")
        assert "then 17" in line_of(pane, "workers")
        assert owner.asked == []
        await pilot.press("enter")
        assert owner.asked == [("workers", 17)]
        assert "…" in line_of(pane, "workers")
        view.apply(view.seq + 1, ev.LimitChanged(109.0, "workers", 16, 17))
        pane.tick(view, 109.0)
        assert f"applied #{view.seq}" in line_of(pane, "workers")
        await pilot.press("u")
        assert owner.asked[-1] == ("workers", 16)


async def test_typing_sets_a_value_and_what_is_out_of_range_is_said_and_not_asked_for() -> None:
    owner = Owner()
    pane = LimitsPane(owner.change, owner.foresee)
    async with Stage(pane).run_test(size=(120, 8)) as pilot:
        pane.tick(view_of(order()), 108.0)
        await pilot.press(*"123")
        assert "16" in line_of(pane, "workers")
        assert "123" not in line_of(pane, "workers")  # no field is open: digits are the screen's
        await pilot.press("enter", *"99999")
        assert "out of range: 0 to 10000" in line_of(pane, "workers")
        await pilot.press("enter")
        assert owner.asked == []
        await pilot.press("backspace", "backspace", "backspace", "enter")
        assert owner.asked == [("workers", 99)]
        await pilot.press("down", "down", "enter", *"90", "s", "enter")
        assert owner.asked[-1] == ("agents.shipping.timeout", 90.0)
        await pilot.press("up", "enter", "5", "escape")
        assert not pane.editing
        assert len(owner.asked) == 2


async def test_a_limit_lowered_below_its_use_drains() -> None:
    pane = LimitsPane(Owner().change)
    async with Stage(pane).run_test(size=(120, 8)):
        view = view_of([*order(), ev.LimitChanged(108.0, "workers", 16, 2)])
        pane.tick(view, 108.0)
        assert "3/2 draining" in line_of(pane, "workers")


async def test_what_is_refused_says_why_and_is_nothing_to_undo() -> None:
    owner = Owner()
    pane = LimitsPane(owner.change)
    async with Stage(pane).run_test(size=(120, 8)) as pilot:
        pane.tick(view_of(order()), 108.0)
        await pilot.press("right", "enter")
        pane.refused("workers", "nobody runs it\x1b[2J")
        assert "nobody runs it" in line_of(pane, "workers")
        await pilot.press("u")
        assert owner.asked == [("workers", 17)]


async def test_only_what_is_set_or_was_changed_is_listed_and_an_agent_brings_its_own() -> None:
    pane = LimitsPane(Owner().change)
    async with Stage(pane).run_test(size=(120, 8)):
        view = view_of([*order(), ev.LimitChanged(108.0, "agents.extract.attempts", 3, 9)])
        pane.tick(view, 108.0)
        names = [str(pane.rows.key(at)) for at in range(pane.rows.count)]
        assert names == [
            "workers",
            "agents.extract.attempts",
            "agents.payment.max_parallel",
            "agents.shipping.timeout",
            "agents.confirm.attempts",
        ]
        pane.show_selection(Selection("shipping"))
        assert pane.key == "agents.shipping.timeout"
        assert "oldest 4.0 s" in line_of(pane, "shipping")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("workers", 12, "12"), ("a.timeout", 90.0, "90s"), ("a.timeout", 0.25, "250ms"), ("a.timeout", 120.0, "2m")],
)
def test_what_is_written_is_read_again(name: str, value: float, text: str) -> None:
    limit = Limit(name, value)
    assert written(limit, value) == text
    assert read(limit, text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("workers", ""), ("workers", "1.5"), ("a.timeout", "soon"), ("b.attempts", "0")]
)
def test_what_makes_no_sense_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"type|whole|duration|range"):
        read(Limit(name, 5), text)


async def test_a_shared_resource_shows_its_use_and_what_waits_and_takes_decimals() -> None:
    owner = Owner()
    pane = LimitsPane(owner.change, owner.foresee)
    definition = loads(
        "agentdeck: 1\nname: share\nlimits: { workers: 8, gpu: 4, mem: 1.5 }\nagents:\n"
        "  train: { simulate: 4s, uses: { gpu: 2, mem: 0.5 } }\n"
    ).definition
    view = RunView(definition)
    log: list[ev.Event] = [ev.RunStarted(100.0, "r", "share", "", {}, {"workers": 8, "gpu": 4, "mem": 1.5})]
    log += [ev.TaskOpened(100.0, str(n), {}) for n in (1, 2, 3)]
    uses = dict(definition.agents["train"].uses)
    log += [ev.StepStarted(101.0, str(n), "train", "train", 1, 100.0, uses=uses) for n in (1, 2)]
    for seq, event in enumerate(log, 1):
        view.apply(seq, event)
    async with Stage(pane).run_test(size=(120, 8)) as pilot:
        pane.tick(view, 108.0)
        assert line_of(pane, "gpu").split()[:4] == ["gpu", "4", "4/4", "1"]
        assert line_of(pane, "mem").split()[:4] == ["mem", "1.5", "1/1.5", "·"]
        await pilot.press("down", "right")
        assert "4 → 5" in line_of(pane, "gpu")
        await pilot.press("escape", "down", "enter", *"2.25", "enter")
        assert owner.asked == [("mem", 2.25)]
        await pilot.press("enter", *"1.2345")
        assert "1.2345 has more than three" in line_of(pane, "mem")
        await pilot.press("enter", "escape", "enter", *"..", "enter")
        assert "write a number like 4 or 0.5" in line_of(pane, "mem")
        assert owner.asked == [("mem", 2.25)]
