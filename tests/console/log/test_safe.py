"""Nothing an agent says does anything to the terminal, and every row is as wide as the screen."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len
from textual.strip import Strip

from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.pane import LineDetail, LogPane
from agentdeck.console.outline import OutlineView, outline
from agentdeck.console.step_detail import markdown_of
from tests.console.log.samples import Shown, rows

pytestmark = pytest.mark.anyio

EVIL = [
    "\x1b]52;c;cm0gLXJmIC8=\x07clipboard",
    "\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07 \x1b[2J\x1b[H\x1b[31mred\x1b[0m \x1b[6n \x1b[?1049h",
    '\x1bP$q"p\x1b\\ dcs \x1b_apc\x1b\\ \x1b^pm\x1b\\ \x1bX sos\x1b\\',
    "\x9b31m c1 \x90q\x9c \x85 \x8d \x84",
    "\u202eright to left\u202c \u2066isolated\u2069 \u200e\u200f",
    "[red]no style[/red] [/x] [@click=app.quit]no button[/]",
    "a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "half \ufffd\ufffd UTF-8 \udce2\udc82",
    "\x00\x07\x08bell\x7f\r\x0b\x0c tab\there",
    "株式会社 한국어 ｆｕｌｌ 👩\u200d👩\u200d👧 🇩🇪 ❤️ 👍🏽 é é",
    "z\u0335\u0321\u0322a\u0336l\u0337g\u0338o" * 20,
    '{"a": "\\u001b[31m", "b": "\\u202e", "\\u0007": "\\u009b"}',
    "x" * 1_000_000,
    "\x1b[" * 100_000,
    "株" * 300_000,
]
FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufe00-\ufe0f]"
)


def check(strip: Strip, width: int) -> None:
    assert strip.cell_length == width
    assert sum(cell_len(segment.text) for segment in strip) == width
    for segment in strip:
        assert not FORBIDDEN.search(segment.text), segment.text[:80]
        assert segment.control is None
        if segment.style is not None:
            assert segment.style.link is None
            assert set(segment.style.meta) <= {"offset"}


@pytest.mark.parametrize("keys", [(), ("W",), ("right", "right"), ("slash", "e", "enter", "C", "N")])
async def test_every_row_is_harmless_and_aligned(keys: tuple[str, ...]) -> None:
    lines = LineStore()
    lines.append(rows(EVIL * 2, step="\x1b[31mstep[red]\u202e"))
    pane = LogPane(lines)
    async with Shown(pane).run_test(size=(80, 40)) as pilot:
        pane.body.focus()
        await pilot.press("home", *keys)
        pane.frame()
        body = pane.body
        for _ in range(len(EVIL) + 2):
            body.render_lines(body.size.region)
            for y in range(body.size.height):
                check(body.render_line(y), body.size.width)
            body.scroll_down(animate=False, force=True)
        check(pane.head.render_line(0), pane.head.size.width)


@pytest.mark.parametrize("number", range(len(EVIL)))
async def test_a_whole_line_is_harmless_and_aligned(number: int) -> None:
    lines = LineStore()
    lines.append(rows(EVIL[number : number + 1]))
    app = Shown(LogPane(lines))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(LineDetail(lines.line(0)))
        await pilot.pause()
        sheet = app.screen.query_one(OutlineView)
        for y in range(sheet.size.height):
            check(sheet.render_line(y), sheet.size.width)


async def test_an_output_is_harmless_as_outline_and_as_markdown() -> None:
    output = {"evil\x1b[31m": EVIL[:12], "text": "\n".join(EVIL[:12])}
    sheet = OutlineView(outline(output, 0, "output"))
    async with Shown(sheet).run_test(size=(80, 60)) as pilot:
        await pilot.pause()
        for y in range(sheet.size.height):
            check(sheet.render_line(y), sheet.size.width)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", markdown_of(output))
