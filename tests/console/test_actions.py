"""The registry of actions agrees with all that uses it: bindings, keymap, palette, engine and command line."""

from __future__ import annotations

import importlib
import pkgutil
import re
import string
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from textual.app import App
from textual.binding import Binding
from textual.command import CommandPalette
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.events import Key
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, OptionList

from agentdeck import console, operations
from agentdeck.cli.main import HELP, MODULES, cli, one_line_help
from agentdeck.console.actions import resolve_keymap
from agentdeck.console.app import DeckApp
from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.log.lines_widget import LogLines
from agentdeck.console.panes.limits import LimitsPane
from agentdeck.console.panes.playbar import PlayBar
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.screens.dialogs import Choice, Confirm, Help
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.screens.run_controls import SELECTABLE, TYPED
from agentdeck.console.table import Table
from agentdeck.engine.commands import COMMANDS
from agentdeck.engine.launch import Outcome
from agentdeck.insight.replay import Playback
from agentdeck.operations.actions import ACTIONS, BY_ID
from tests.console.conftest import newest, until
from tests.insight.test_playback import DEFINITION, LOG

VERBS = [action.verb for action in ACTIONS if action.verb]
#: Of these, Textual's own keys stay: to move the focus, to copy, to edit text, and in the list of the palette.
TEXTUAL = (Screen, App, Input, CommandPalette)
#: Handlers that see keys without a binding. The first three only edit a text field, while it is open.
HANDLERS = {
    "Table.on_key", "LimitsPane.on_key", "PlayBar.on_key",
    "RunScreen.on_key",  # draws sooner; handles no key
}  # fmt: skip


@cache
def widgets() -> list[type[DOMNode]]:
    """Returns the app, the screens and the widgets that the console defines."""
    modules = pkgutil.walk_packages(console.__path__, f"{console.__name__}.")
    return [
        kind
        for module in modules
        for kind in vars(importlib.import_module(module.name)).values()
        if isinstance(kind, type) and issubclass(kind, DOMNode) and kind.__module__ == module.name
    ]


def bound() -> Iterator[tuple[type[DOMNode], str, Binding]]:
    """Yields every binding that is not Textual's own."""
    for kind in widgets():
        own = {
            (key, binding.action)
            for base in TEXTUAL
            if issubclass(kind, base)
            for key, binding in base._merge_bindings()
        }
        for key, binding in kind._merge_bindings():
            if (key, binding.action) not in own:
                yield kind, key, binding


# Keys ---------------------------------------------------------------------------------------------------------


def test_every_binding_is_an_action_of_the_registry() -> None:
    without = {(kind.__name__, key, binding.action) for kind, key, binding in bound() if binding.id not in BY_ID}
    assert not without


def test_no_widget_scrolls_by_keys_that_are_no_actions() -> None:
    """A `VerticalScroll` of Textual would bring its own keys into a screen."""
    made = [
        file.name
        for file in Path(str(console.__path__[0])).rglob("*.py")
        if re.search(r"(with|yield|=) (VerticalScroll|ScrollableContainer|HorizontalScroll)\(", file.read_text())
    ]
    assert not made
    assert any(issubclass(kind, VerticalScroll) for kind in widgets())


def test_every_action_with_a_key_is_bound_and_has_its_method() -> None:
    done = set()
    kinds = {kind.__name__: kind for kind in widgets()}
    for kind, _, binding in bound():
        namespace, _, call = binding.action.rpartition(".")
        where = DeckApp if namespace == "app" else kind
        assert callable(getattr(where, f"action_{call.partition('(')[0]}")), binding.action
        done.add(binding.id)
    choices = {action.id for action in ACTIONS if action.scope == "choice"}  # bound by each question for itself
    assert callable(kinds["Confirm"].action_take)  # type: ignore[attr-defined]
    assert done | choices == {action.id for action in ACTIONS if action.keys}


def test_every_action_says_what_it_does() -> None:
    assert len(BY_ID) == len(ACTIONS)
    assert all(action.title and action.help.endswith(".") for action in ACTIONS)
    assert all(action.keys or action.verb or action.typed for action in ACTIONS)


@pytest.mark.parametrize("scope", sorted({action.scope for action in ACTIONS}))
def test_no_two_actions_of_a_scope_have_the_same_key(scope: str) -> None:
    keys = Counter(key for action in ACTIONS if action.scope == scope for key in action.keys)
    assert [key for key, count in keys.items() if count > 1] == []


def test_keys_are_handled_by_bindings() -> None:
    found = {
        f"{kind.__name__}.{name}"
        for kind in widgets()
        for name in vars(kind)
        if name in ("on_key", "_on_key", "handle_key", "dispatch_key") or name.startswith("key_")
    }
    assert found == HANDLERS


@pytest.mark.parametrize("kind", ["table", "limits", "playbar"])
def test_a_handler_takes_no_key_while_its_field_is_closed(kind: str) -> None:
    made: dict[str, Widget] = {
        "table": TasksPane(),
        "limits": LimitsPane(lambda name, value: None),
        "playbar": PlayBar(Playback(DEFINITION, LOG)),
    }
    widget = made[kind]
    assert isinstance(widget, Table | PlayBar)
    for character in string.printable[:-6]:
        event = Key(character, character)
        widget.on_key(event)
        assert not event._stop_propagation, character
        assert not event._no_default_action, character


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"limits.less": "r"}, "r already belongs to table.reverse"),
        ({"log.pin": "W"}, "W already belongs to log.wrap"),
        ({"table.copy": "ctrl+q"}, "ctrl+q already belongs to everywhere.quit"),
        ({"step.pager": "ctrl+q"}, "ctrl+q already belongs to everywhere.quit"),
        ({"choice.yes": "j"}, "j already belongs to confirm.next"),
        ({"table.srot": "o"}, "did you mean table.sort"),
        ({"run.go": "x"}, "run.go cannot have a key"),
    ],
)
def test_keys_of_panes_and_dialogs_that_cannot_be_used(wanted: dict[str, object], said: str) -> None:
    keys, faults = resolve_keymap(wanted)
    assert not keys
    assert len(faults) == 1
    assert said in faults[0]


def test_a_key_that_two_actions_of_a_widget_share_can_be_kept() -> None:
    keys, faults = resolve_keymap({"table.open": ["enter", "o"], "confirm.previous": ["up", "k"]})
    assert keys == {"table.open": "enter,o", "confirm.previous": "up,k"}
    assert not faults


def test_an_entry_that_is_left_out_keeps_the_key_of_its_action() -> None:
    keys, faults = resolve_keymap({"run.pause": "d", "run.hurry": "p"})
    assert not keys
    assert [fault.partition(":")[2].partition(";")[0].strip() for fault in faults] == [
        "run.pause: d already belongs to run.drain",
        "run.hurry: p already belongs to run.pause",
    ]


def test_a_pane_may_have_a_key_of_its_screen() -> None:
    keys, faults = resolve_keymap({"table.sort": "p", "log.wrap": "v", "graph.fit": "z", "step.pager": "f2"})
    assert len(keys) == 4
    assert not faults


@pytest.mark.anyio
async def test_keys_of_a_table_a_log_and_a_graph_are_changed_by_a_keymap(
    recorded: tuple[Path, Outcome], home: Path
) -> None:
    (home / "keymap.yaml").write_text(
        "table.reverse: f6\ngraph.zoom_out: f7\nlog.wrap: [f8, w]\nchoice.no: m\n", encoding="utf-8"
    )
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: bool(app.screen.query(TasksPane) and app.screen.query(LogLines)))
        table, graph = app.screen.query_one(TasksPane), app.screen.query_one(GraphPane)
        log = app.screen.query_one(LogLines)
        await pilot.press("3")
        await until(pilot, lambda: table.has_focus)
        await pilot.press("r")
        assert not table.reversed
        await pilot.press("f6")
        assert table.reversed

        await pilot.press("1")
        await until(pilot, lambda: graph.has_focus and graph.level == "boxes")
        await pilot.press("minus")
        assert graph.level == "boxes"
        await pilot.press("f7")
        await until(pilot, lambda: graph.level != "boxes")

        await pilot.press("5")
        await until(pilot, lambda: log.has_focus)
        wrapped = log.wrap
        await pilot.press("W")
        assert log.wrap == wrapped
        await pilot.press("f8")
        assert log.wrap != wrapped
        await pilot.press("w")
        assert log.wrap == wrapped

        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help))
        assert isinstance(app.screen, Help)
        shown = {title: keys for group in app.screen._groups().values() for (title, _), keys in group.items()}
        assert shown["Wrap"] == ["f8", "w"]
        await pilot.press("escape")

        answers: list[str | None] = []
        app.push_screen(
            Confirm("Sure?", [], [Choice("yes", "y", "Yes"), Choice("no", "n", "No")]), answers.append
        )
        await pilot.pause()
        await pilot.press("n")
        assert not answers
        await pilot.press("m")
        await until(pilot, lambda: answers == ["no"])


@pytest.mark.anyio
async def test_the_palette_finds_the_actions_of_the_focused_pane(recorded: tuple[Path, Outcome]) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: bool(app.screen.query(LogLines)))
        log = app.screen.query_one(LogLines)
        await pilot.press("5")
        await until(pilot, lambda: log.has_focus)
        wrapped = log.wrap
        await pilot.press("colon", *"wrap")
        palette = app.screen
        await until(pilot, lambda: [one.option_count for one in palette.query(OptionList)] == [1])
        await pilot.press("enter")
        await until(pilot, lambda: log.wrap != wrapped)


# The palette, the engine and the command line -----------------------------------------------------------------


def test_what_can_be_typed() -> None:
    assert set(TYPED) == {
        "hurry", "cancel", "skip", "release", "hold", "retry", "why", "answer", "go", "budget", "limits",
    }  # fmt: skip


@pytest.mark.anyio
async def test_every_command_on_a_target_is_carried_out(recorded: tuple[Path, Outcome]) -> None:
    typed = {name for name, action in TYPED.items() if SELECTABLE.issuperset(action.targets) and name != "go"}
    bound = set(re.findall(r"command\('(\w+)'\)", " ".join(action.does for action in ACTIONS)))
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert isinstance(app.screen, RunScreen)
        assert bound == app.screen.controls.commands.keys()
        assert typed <= bound


def test_every_command_of_an_action_has_a_handler_and_every_handler_an_action() -> None:
    assert {command for action in ACTIONS for command in action.commands} == COMMANDS.keys()


def test_every_command_that_can_be_sent_has_a_handler() -> None:
    folder = Path(str(operations.__path__[0]))
    sent = {verb for file in folder.glob("*.py") for verb in re.findall(r'RunCommand\("(\w+)"', file.read_text())}
    assert sent == COMMANDS.keys()


def test_an_action_that_sends_a_command_has_a_target() -> None:
    assert all(action.targets for action in ACTIONS if action.commands)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_command_of_the_engine_has_a_verb(verb: str) -> None:
    assert verb in VERBS
    assert cli.get_command(click.Context(cli), verb) is not None


def test_the_command_line_takes_the_help_of_its_verbs_from_the_registry() -> None:
    assert len(set(VERBS)) == len(VERBS)
    assert set(VERBS) <= MODULES.keys()
    assert HELP.keys() == MODULES.keys() - set(VERBS)
    assert all(one_line_help(verb).endswith(".") for verb in MODULES)
