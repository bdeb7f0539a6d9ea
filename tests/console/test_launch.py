"""The launch form: checked as it is typed, and dismissed with what `agentdeck run` would be given."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from agentdeck.console.screens.launch import LaunchScreen
from agentdeck.operations.engine_process import LaunchRequest
from agentdeck.store.runs import NewRun, create_run, save_definition, save_durations
from agentdeck.store.schema import open_for_writing
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Rate

ORDER = Path(__file__).parents[2] / "workflows" / "order.yaml"
pytestmark = pytest.mark.anyio


class Form(App[None]):
    def __init__(self, file: Path = ORDER, db: Path = Path("/nowhere/deck.db")) -> None:
        super().__init__()
        self.file = file
        self.db = db
        self.orders: list[LaunchRequest | None] = []

    def on_mount(self) -> None:
        form = LaunchScreen(load(self.file).definition, self.file, self.db, 20)
        self.push_screen(form, self.orders.append)


def shown(app: App[None], name: str) -> str:
    return str(app.screen.query_one(name, Static).visual)


FIVE = """
agentdeck: 1
name: five
agents:
  a: { python: "m:a" }
  b: { python: "m:b" }
  c: { python: "m:c" }
  d: { python: "m:d" }
  e: { python: "m:e" }
"""


def measured(folder: Path, workflow: str, taken: dict[str, float]) -> Path:
    """A store in which agents of this workflow took so many seconds, ten times each."""
    measured_in = str(folder.resolve()) if workflow == "five" else ""
    db, definition = folder / "deck.db", load(folder / "five.yaml").definition
    with closing(open_for_writing(db)) as connection, connection:
        identity = save_definition(connection, replace(definition, name=workflow))
        create_run(connection, NewRun("r", workflow, identity, 1.0))
        save_durations(connection, workflow, measured_in, {name: [each] * 10 for name, each in taken.items()})
    return db


async def test_the_forecast_uses_what_agents_took_in_other_workflows(tmp_path: Path) -> None:
    file = tmp_path / "five.yaml"
    file.write_text(FIVE)
    db = measured(tmp_path, "other", dict.fromkeys("abcde", 4.0))
    app = Form(file, db)
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.query_one("#workers", Input).value = "2"
        await forecast_with(app, pilot, "expected    12.0 s")
        assert "assumed" not in shown(app, "#forecast")


async def test_the_forecast_is_of_the_order_that_the_launch_would_search(tmp_path: Path) -> None:
    file = tmp_path / "five.yaml"
    file.write_text(FIVE)
    db = measured(tmp_path, "five", {"a": 3.0, "b": 3.0, "c": 2.0, "d": 2.0, "e": 2.0})
    app = Form(file, db)
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.query_one("#workers", Input).value = "2"
        await forecast_with(app, pilot, "expected    6.0 s")  # the longest path first takes 7


async def forecast_with(app: Form, pilot: Pilot[None], text: str) -> None:
    """Wait until the forecast has this text: each change of a field starts it anew, in a thread."""
    with anyio.fail_after(60):
        while text not in shown(app, "#forecast"):
            await pilot.pause(0.02)


async def test_nothing_changed_is_launched_as_the_file_says() -> None:
    app = Form()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+r")
        assert app.orders == [LaunchRequest({}, None, 20, {})]


async def test_what_was_changed_is_given_and_the_outlook_follows() -> None:
    app = Form()
    async with app.run_test(size=(120, 40)) as pilot:
        form = app.screen
        form.query_one("#input-0", Input).value = "B-7"
        form.query_one("#tasks", Input).value = "orders.jsonl"
        form.query_one("#workers", Input).value = "40"
        form.query_one("#set-0-timeout", Input).value = "5s"
        await forecast_with(app, pilot, "1,000 tasks")
        assert "1,000 tasks" in shown(app, "#note-tasks")
        await pilot.press("ctrl+r")
        tasks = ORDER.parent / "orders.jsonl"
        assert app.orders == [LaunchRequest({"id": "B-7"}, tasks, 40, {"agents.extract.timeout": "5s"})]


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
        app.screen.query_one("#back", Button).focus()
        await pilot.press("ctrl+r")
        assert app.orders == []
        assert app.screen.focused is app.screen.query_one(field)
        await pilot.press("escape")
        assert app.orders == [None]


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    """The demo, which asks models of its deck, in a folder of its own."""
    shutil.copytree(ORDER.parent / "demo", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "demo.yaml"
    file.write_text("# mine\n" + file.read_text())
    return file


@pytest.fixture
def broken(asking: Path) -> Path:
    """The same, with a deck that makes no sense."""
    asking.with_name("deck.yaml").write_text("agentdeck: 1\nproviders: { it: { type: simulatd } }\n")
    return asking


def text_of(file: Path) -> str:
    return file.read_text()


async def test_limits_of_providers_and_the_budget_are_given_and_only_tightened(asking: Path) -> None:
    app = Form(asking)
    async with app.run_test(size=(140, 48)) as pilot:
        form = app.screen
        assert form.query_one("#cap-0-requests", Input).value == "60/min"
        form.query_one("#cap-0-requests", Input).value = "70/min"
        await pilot.pause()
        assert "the deck allows 60/min" in shown(app, "#note-cap-0")
        form.query_one("#cap-0-requests", Input).value = "30/min"
        form.query_one("#budget-usd", Input).value = "2"
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.press("ctrl+r")
        assert app.orders == [LaunchRequest({}, None, 20, {"budget.usd": "2", "sage.requests": "30/min"})]


async def test_limits_are_written_into_the_file_and_comments_stay(asking: Path) -> None:
    app = Form(asking)
    async with app.run_test(size=(140, 48)) as pilot:
        form = app.screen
        assert form.query_one("#save", Button).disabled
        changes = {"workers": "8", "budget-usd": "2", "cap-0-requests": "30/min", "set-1-timeout": "9s"}
        for field, text in changes.items():
            form.query_one(f"#{field}", Input).value = text
        await pilot.pause()
        await pilot.press("ctrl+s")
        made = load(asking).definition
        assert text_of(asking).startswith("# mine\n")
        assert (made.limits.workers, made.budget and made.budget.usd) == (8, 2)
        assert made.limits.providers["sage"].requests == Rate(30, 60.0)
        assert made.agents["payment"].timeout.attempt == 9.0
        assert made.agents["stock"].timeout.attempt == 8.0
        assert app.orders == []


async def test_a_deck_with_faults_is_told_before_anything_is_launched(broken: Path) -> None:
    app = Form(broken)
    async with app.run_test(size=(140, 48)):
        assert "did you mean simulated?" in shown(app, "#note-deck")
        assert app.screen.query_one("#launch", Button).disabled


async def test_shared_resources_are_limits_of_the_form(tmp_path: Path) -> None:
    file = tmp_path / "share.yaml"
    file.write_text(
        "agentdeck: 1\nname: share\nlimits: { gpu: 4, mem: 1.5 }\n"
        "agents:\n  train: { simulate: 1s, uses: { gpu: 2, mem: 1 } }\n"
    )
    app = Form(file)
    async with app.run_test(size=(120, 40)) as pilot:
        form = app.screen
        assert form.query_one("#shared-0-gpu", Input).value == "4"
        form.query_one("#shared-0-gpu", Input).value = "1"
        await pilot.pause()
        await pilot.press("ctrl+r")
        assert app.orders == []
        form.query_one("#shared-0-gpu", Input).value = "6"
        form.query_one("#shared-0-mem", Input).value = "2.25"
        await pilot.pause()
        await pilot.press("ctrl+s")
        await app.workers.wait_for_complete()
        assert "limits: { gpu: 6, mem: 2.25 }" in file.read_text()
        await pilot.press("ctrl+r")
        assert app.orders[0] is not None
