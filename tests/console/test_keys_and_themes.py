"""What an operator may change: keys and looks; and what happens when they are changed wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from agentdeck.console import themes
from agentdeck.console.actions import SCREENS, bindings, resolve_keymap
from agentdeck.console.app import DeckApp
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.state_style import ROLES, RoleStyles
from agentdeck.engine.launch import Outcome
from agentdeck.operations.action_types import EVERYWHERE
from agentdeck.operations.actions import ACTIONS
from agentdeck.operations.bundled_files import themes as bundled
from tests.console.conftest import newest, until

NAMES = sorted(file.stem for file in bundled().glob("*.yaml"))


def test_no_screen_has_a_key_of_everywhere() -> None:
    everywhere = {key for action in ACTIONS if action.scope == EVERYWHERE for key in action.keys}
    assert not [a.id for a in ACTIONS if a.scope in SCREENS and not everywhere.isdisjoint(a.keys)]


def test_a_keymap_is_taken_over() -> None:
    keys, faults = resolve_keymap({"run.pause": "space", "run.cancel": ["c", "del"], "everywhere.help": "?"})
    assert keys == {"run.pause": "space", "run.cancel": "c,delete", "everywhere.help": "question_mark"}
    assert not faults


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"run.puase": "space"}, "did you mean run.pause"),
        ({"run.pause": "d"}, "d already belongs to run.drain"),
        ({"run.pause": "?"}, "question_mark already belongs to everywhere.help"),
        ({"run.pause": "space", "run.drain": "space"}, "space already belongs to run.pause"),
        ({"run.pause": "ctrl+q"}, "ctrl+q already belongs to everywhere.quit"),
        ({"run.pause": []}, "no key given"),
        ({"run.pause": ["two words"]}, "is not a key"),
        ({"everywhere.quit": None}, "is not a key"),
    ],
)
def test_what_cannot_be_kept_is_told(wanted: dict[str, object], said: str) -> None:
    keys, faults = resolve_keymap(wanted)
    assert len(faults) == 1
    assert said in faults[0]
    assert set(keys) <= {"run.pause"}


def test_keys_can_be_swapped() -> None:
    keys, faults = resolve_keymap({"run.pause": "d", "run.drain": "p"})
    assert keys == {"run.pause": "d", "run.drain": "p"}
    assert not faults


@pytest.mark.anyio
async def test_quit_stays_whatever_the_keymap_says(tmp_path: Path, home: Path) -> None:
    (home / "keymap.yaml").write_text(
        "everywhere.quit: f10\ndeck.edit: ctrl+q\ndeck.history: H\n", encoding="utf-8"
    )
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        await until(pilot, lambda: any("ctrl+q" in one.message for one in app._notifications))
        await pilot.press("H")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit)
    assert app.return_code == 0


def test_there_are_eight_themes_and_all_can_be_read() -> None:
    assert len(NAMES) >= 8
    assert {"deck", "paper", "contrast", "okabe", "plain"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_role_can_be_read_in_every_theme(name: str) -> None:
    """WCAG AA for what says something; lines only have to be seen."""
    theme = themes.read(bundled() / f"{name}.yaml")
    variables = {**theme.to_color_system().generate(), **theme.variables}
    look = RoleStyles(variables)
    if theme.ansi:
        assert look.cursor.reverse
        colors = [style.color for role in ROLES if (style := look[role]).color is not None]
        assert all(color.number is not None or color.is_default for color in colors if color)
        return
    for role in ROLES:
        style = look[role]
        assert style.color is not None
        assert style.color.triplet is not None
        front = Color(*style.color.triplet)
        least = 2.0 if role == "line" else 4.5
        for ground in ("background", "panel"):
            ratio = contrast(front, Color.parse(variables[ground]))
            assert ratio >= (least if ground == "background" else min(least, 3.5)), (role, ground, ratio)
    text, block = look.cursor.color, look.cursor.bgcolor
    assert text is not None
    assert block is not None
    assert text.triplet is not None
    assert block.triplet is not None
    assert contrast(Color(*text.triplet), Color(*block.triplet)) >= 4.5


def contrast(one: Color, other: Color) -> float:
    """The ratio of WCAG 2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: Color) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colors: [", "broken.yaml"),
        ("- 1", "a theme is a map"),
        ("colors: { primary: '#123456' }\ncolour: 1", "there is no colour"),
        ("colors: { primery: '#123456' }", "did you mean primary"),
        ("colors: { primary: greenish }", "is not a colour"),
        ("dark: perhaps\ncolors: { primary: '#123456' }", "true or false"),
        ("about: nothing", "at least primary"),
    ],
)
def test_a_broken_theme_says_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(themes.BrokenTheme, match=said):
        themes.read(file)


@pytest.mark.anyio
async def test_a_theme_is_read_again_while_it_is_edited(tmp_path: Path, home: Path) -> None:
    mine = home / "themes" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text("colors: { primary: '#112233' }", encoding="utf-8")
    (home / "theme").write_text("mine\n", encoding="utf-8")
    app: App[None] = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        assert app.theme == "mine"
        mine.write_text("colors: { primary: '#445566', background: '#000001' }", encoding="utf-8")
        await until(pilot, lambda: app.theme_variables["primary"].lower() == "#445566")
        mine.write_text("colors: { primary: nonsense }", encoding="utf-8")
        await until(pilot, lambda: any("nonsense" in one.message for one in app._notifications))
        assert app.theme_variables["primary"].lower() == "#445566"


@pytest.mark.anyio
async def test_no_color_is_the_plain_theme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == "plain"


@pytest.mark.anyio
async def test_no_color_leaves_the_terminal_its_own(
    recorded: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: bool(getattr(app.screen, "panes", None)))
        await pilot.pause()
        drawn = app.screen._compositor.render_strips()
        styles = {segment.style for strip in drawn for segment in strip}
        assert len(styles) > 3
        for style in styles - {None}:
            assert style.color is None or style.color.is_default  # type: ignore[union-attr]
            assert style.bgcolor is None or style.bgcolor.is_default  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(BUILTIN_THEMES))
def test_what_runs_and_what_is_done_differ_under_themes_from_elsewhere(name: str) -> None:
    theme = BUILTIN_THEMES[name]
    look = RoleStyles({**theme.to_color_system().generate(), **theme.variables})
    assert look["running"].color != look["done"].color


@pytest.mark.anyio
async def test_a_theme_that_is_not_there_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDECK_THEME", "nowhere")
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        await until(pilot, lambda: any("nowhere" in one.message for one in app._notifications))
        assert app.theme == "deck"


def test_bindings_carry_the_ids_that_a_keymap_names() -> None:
    ids = {getattr(binding, "id", None) for binding in bindings("run")}
    assert {action.id for action in ACTIONS if action.scope == "run" and action.keys} <= ids
