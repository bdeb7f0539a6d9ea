"""The launch form: checked as it is typed, and dismissed with what `agentdeck run` would be given."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Button, Input, Static

from agentdeck.console.background import Order
from agentdeck.console.screens.launch import LaunchScreen
from agentdeck.workflow.loader import load

ORDER = Path(__file__).parents[2] / "workflows" / "order.yaml"
pytestmark = pytest.mark.anyio


class Form(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.orders: list[Order | None] = []

    def on_mount(self) -> None:
        form = LaunchScreen(load(ORDER).definition, ORDER, Path("/nowhere/deck.db"), 20)
        self.push_screen(form, self.orders.append)


def shown(app: App[None], name: str) -> str:
    return str(app.screen.query_one(name, Static).visual)


async def test_nothing_changed_is_launched_as_the_file_says() -> None:
    app = Form()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+r")
        assert app.orders == [Order({}, None, 20, {})]


async def test_what_was_changed_is_given_and_the_outlook_follows() -> None:
    app = Form()
    async with app.run_test(size=(120, 40)) as pilot:
        form = app.screen
        form.query_one("#input-0", Input).value = "B-7"
        form.query_one("#tasks", Input).value = "orders.jsonl"
        form.query_one("#workers", Input).value = "40"
        form.query_one("#set-0-timeout", Input).value = "5s"
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "1,000 tasks" in shown(app, "#told")
        assert "1,000 tasks" in shown(app, "#note-tasks")
        await pilot.press("ctrl+r")
        tasks = ORDER.parent / "orders.jsonl"
        assert app.orders == [Order({"id": "B-7"}, tasks, 40, {"agents.extract.timeout": "5s"})]


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("#workers", "0", "whole number"),
        ("#set-1-timeout", "1x", "not a duration"),
        ("#set-1-attempts", "many", "not a whole number"),
        ("#tasks", "none.jsonl", "No such file"),
        ("#input-3", "[1, 2", "not JSON"),
    ],
)
async def test_what_makes_no_sense_is_told_and_not_launched(field: str, text: str, told: str) -> None:
    app = Form()
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.query_one(field, Input).value = text
        await pilot.pause()
        note = "#note-" + field.strip("#").removesuffix("-timeout").removesuffix("-attempts")
        assert told in shown(app, note)
        assert app.screen.query_one("#launch", Button).disabled
        await pilot.press("ctrl+r")
        assert app.orders == []
        await pilot.press("escape")
        assert app.orders == [None]
