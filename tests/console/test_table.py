from __future__ import annotations

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from tests.console.scenes import page

Item = tuple[str, int]
pytestmark = pytest.mark.anyio


class Counted(TableRows[Item]):
    """Rows that count how often they are asked for."""

    asked = 0

    def row(self, at: int) -> Item:
        self.asked += 1
        return super().row(at)


def rows(items: list[Item]) -> Counted:
    return Counted(lambda item: item[0], lambda item: item[0], items)


COLUMNS: tuple[Column[Item], ...] = (
    Column("name", lambda item: item[0], 8, flex=1, order=lambda item: item[0]),
    Column("size", lambda item: str(item[1]), 6, right=True, order=lambda item: item[1]),
    Column("twice", lambda item: str(item[1] * 2), 20, rank=2),
    Column("half", lambda item: str(item[1] / 2), 20, rank=1),
)
MANY = [(f"row{n:06d}", (n * 7919) % 100_003) for n in range(100_000)]


class Shown(App[None]):
    def __init__(self, source: TableRows[Item]) -> None:
        super().__init__()
        self.table = Table(COLUMNS, source)
        self.told: list[tuple[object, bool]] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self.table.focus()

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        self.told.append((event.key, event.opened))


def names(app: Shown) -> list[str]:
    return [line.split()[0].lstrip("▪") for line in page(app.table)[1:] if line.strip()]


async def test_only_rows_that_can_be_seen_are_asked_for() -> None:
    source = rows(MANY)
    app = Shown(source)
    async with app.run_test(size=(80, 24)) as pilot:
        source.asked = 0
        await pilot.press("end")
        await pilot.pause()
        assert names(app)[-1] == "row099999"
        assert source.asked <= 4 * 24
        source.asked = 0
        for _ in range(10):
            await pilot.press("pageup")
        await pilot.pause()
        assert source.asked <= 10 * 4 * 24


async def test_a_hundred_thousand_rows_are_sorted_and_filtered() -> None:
    app = Shown(rows(MANY))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("greater_than_sign", "greater_than_sign")
        await pilot.pause()
        assert app.table.sorted_by is COLUMNS[1]
        assert "▼size" in page(app.table)[0]
        assert int(page(app.table)[1].split()[1]) == max(size for _, size in MANY)
        await pilot.press("r")
        await pilot.pause()
        assert int(page(app.table)[1].split()[1]) == min(size for _, size in MANY)
        await pilot.press("slash", *"09999", "enter")
        await pilot.pause()
        assert app.table.source.count == 11
        assert "11 found" in page(app.table)[-1]
        await pilot.press("escape")
        assert app.table.source.count == 100_000


async def test_nothing_is_repainted_where_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [("a", 1), ("b", 2), ("c", 3)]
    source = rows(items)
    app = Shown(source)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.pause()
        regions: list[tuple[int, int]] = []
        monkeypatch.setattr(app.table, "refresh", lambda *r: regions.extend((x.y, x.height) for x in r))
        app.table.refresh_lines()
        assert regions == []
        source.set_rows([("a", 1), ("b", 5), ("c", 3)])
        app.table.refresh_lines()
        assert regions == [(2, 1)]


async def test_the_cursor_stays_with_its_row_when_rows_move() -> None:
    source = rows([("a", 1), ("b", 2), ("c", 3)])
    app = Shown(source)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("down")
        source.set_rows([("new", 0), ("x", 9), ("a", 1), ("b", 2)])
        app.table.refresh_lines()
        assert (app.table.key, app.table.cursor) == ("b", 3)
        await pilot.press("enter")
        await pilot.pause()
        assert app.told == [("b", False), ("b", True)]


async def test_marks_survive_sorting_and_are_what_is_copied() -> None:
    app = Shown(rows([("b", 1), ("a", 2), ("c", 3)]))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("space", "down", "space", "greater_than_sign")
        assert set(app.table.selected()) == {"b", "c"}
        assert [line[0] for line in page(app.table)[1:4]] == [" ", "▪", "▪"]
        await pilot.press("y")
        assert app.clipboard == "b\t1\t2\t0.5\nc\t3\t6\t1.5"


async def test_columns_of_high_rank_vanish_first() -> None:
    for width, titles in (
        (80, "name size twice half"),
        (45, "name size half"),
        (20, "name size"),
        (10, "name s…"),
    ):
        app = Shown(rows([("a", 1)]))
        async with app.run_test(size=(width, 5)):
            assert page(app.table)[0].split()[: len(titles.split())] == titles.split() or width == 10
            assert all(cell_len(line) <= width for line in page(app.table))


async def test_the_mouse_selects_opens_sorts_and_scrolls() -> None:
    app = Shown(rows(MANY[:100]))
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.click(app.table, offset=(3, 4))
        assert app.table.key == "row000003"
        await pilot.click(app.table, offset=(3, 5), times=2)
        assert app.told[-1] == ("row000004", True)
        await pilot.click(app.table, offset=(3, 0))
        assert app.table.sorted_by is COLUMNS[0]
        await pilot.click(app.table, offset=(3, 0))
        assert app.table.reversed
        assert names(app)[0] == "row000099"
        app.table.scroll_by(1000)
        assert names(app)[-1] == "row000000"


HOSTILE = "\x1b]52;c;aGk=\x07[red]x[/red][@click=app.quit]\x1b[2J‮evil\x9b31m\n\t仓库🚀"


async def test_hostile_text_is_harmless_and_stays_aligned() -> None:
    app = Shown(rows([(HOSTILE, 1), ("plain", 2), ("仓" * 60, 3), ("x" * 1_000_000, 4)]))
    async with app.run_test(size=(100, 8)):
        lines = page(app.table)
        assert "[red]x[/red][@click=app" in lines[1]
        text = "".join(lines)
        assert not any(ord(c) < 32 or 0x7F <= ord(c) <= 0x9F or c in "‮​" for c in text)
        assert [cell_len(line[: line.rindex(size)]) for line, size in zip(lines[1:5], "1234", strict=True)] == [
            cell_len(lines[1][: lines[1].rindex("1")])
        ] * 4


async def test_text_that_was_selected_is_what_is_seen() -> None:
    app = Shown(rows([("alpha", 1), ("beta", 2)]))
    async with app.run_test(size=(80, 6)) as pilot:
        await pilot.mouse_down(app.table, offset=(1, 1))
        await pilot.hover(app.table, offset=(5, 1))
        await pilot.mouse_up(app.table, offset=(5, 1))
        await pilot.pause()
        assert app.screen.get_selected_text() == "alpha"


async def test_an_empty_table_says_so() -> None:
    app = Shown(rows([]))
    async with app.run_test(size=(40, 6)) as pilot:
        assert "nothing here" in page(app.table)[1]
        await pilot.press("enter", "space", "y", "down", "greater_than_sign", "r", "slash", "z", "enter")
        assert "nothing matches /z" in page(app.table)[1]
        assert app.told == []


async def test_a_border_does_not_move_what_is_clicked() -> None:
    app = Shown(rows(MANY[:100]))
    async with app.run_test(size=(80, 12)) as pilot:
        app.table.styles.border = ("round", "white")
        await pilot.pause()
        await pilot.click(app.table, offset=(5, 2))
        assert app.table.key == "row000000"
        await pilot.click(app.table, offset=(78, 10))
        assert names(app)[-1] == "row000099"


async def test_a_filter_can_say_what_must_not_be_there() -> None:
    app = Shown(rows([("Alpha", 1), ("beta", 2), ("alphabet", 3)]))
    async with app.run_test(size=(60, 8)) as pilot:
        await pilot.press("slash", *"alpha")
        assert names(app)[:2] == ["Alpha", "alphabet"]
        await pilot.press("ctrl+u", "!", *"alpha", "enter")
        assert names(app)[0] == "beta"
        assert app.table.source.count == 1


async def test_rows_without_a_value_come_last_either_way() -> None:
    source = TableRows[Item](lambda item: item[0], lambda item: item[0], [("none", -1), ("low", 1), ("high", 9)])
    column: Column[Item] = Column("size", lambda item: "", 4, order=lambda item: None if item[1] < 0 else item[1])
    for reverse, order in ((False, ["low", "high", "none"]), (True, ["high", "low", "none"])):
        source.arrange(column, reverse, "")
        assert [source.key(at) for at in range(3)] == order
