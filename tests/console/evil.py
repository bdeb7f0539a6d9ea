"""Text that tries to take the terminal over, a workflow whose every word is such text, what may not be seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

from rich.cells import cell_len
from textual.app import App
from textual.strip import Strip

EVIL = (
    "\x1b]52;c;cm0gLXJmIC8=\x07clipboard \x1b]0;title\x07\x1b[2J\x1b[H\x1b[31mred\x1b[0m\x1b[6n\x1b[?1049h",
    '\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\ \x1bP$q"p\x1b\\ \x1b_apc\x1b\\ \x9b31m \x90q\x9c',
    "\u202eright to left\u202c \u2066isolated\u2069 \u200e\u200f a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "[red]no style[/red] [/x] [@click=app.quit]no button[/] [link=http://evil.test]no link[/link] $primary",
    "\x85\x8d\x84 \x00\x07\x08bell\x7f\r\x0b\x0c tab\there",
    "株式会社 한국어 👩\u200d👩\u200d👧 🇩🇪 ❤️ 👍🏽 1\ufe0f\u20e3 e\u0301 क्षि",
)
ALL = " | ".join(EVIL)
LONG = "x[red]株\x1b[31m" * 90_000
FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufe00-\ufe0f]"
)

WORK = f"""
import os, sys
ALL = {json.dumps(ALL)}
LONG = {json.dumps(LONG)}

async def says(ctx, evil):
    for part in ALL.split(" | "):
        ctx.log(part)
        print(part)
        print(part, file=sys.stderr)
    ctx.log(LONG)
    os.write(1, b"half \\xe6\\xa0 of \\xff\\xfe\\n\\x1b[31mraw\\x1b]0;x\\x07\\n")
    os.write(2, ALL.encode() + b"\\n")
    return {{"evil": evil, ALL: [ALL, {{ALL: 1}}], "long": LONG[:100_000]}}

async def fails(ctx, says):
    raise RuntimeError(ALL + "\\n" + ALL)
"""


def workflow() -> str:
    """Every word an operator may write holds such text."""
    agents = {
        "says": {"python": "work:says", "with": {"evil": "${inputs.evil}"}},
        "fails": {"python": "work:fails", "needs": "says", "retry": 1},
        "shell": {"command": ["sh", "-c", 'printf "%s\n" "$1"; printf "%s\n" "$1" >&2', "sh", "${inputs.evil}"]},
        "model": {"needs": "says", "prompt": "${says} " + ALL},
        "each": {
            "needs": "says",
            "each": "[inputs.evil, inputs.evil]",
            "simulate": {"takes": "1ms", "says": [ALL]},
        },
        "asks": {
            "approve": {"ask": ALL + "${inputs.evil}", "show": ALL, "within": "300ms", "otherwise": "reject"},
            "needs": "says",
        },
    }
    inputs = {
        "evil": {"type": "string", "about": ALL, "default": ALL},
        "chosen": {"type": list(EVIL), "about": ALL, "default": EVIL[3]},
    }
    return json.dumps({"agentdeck": 1, "name": "evil", "about": ALL, "inputs": inputs, "agents": agents})


def recorded(folder: Path) -> Path:
    """A store in which such a workflow ran to its end, as a person would run it. Its folder and file have such
    names as well."""
    home = folder / "\x1b]0;evil\x07\u202e[red]株"
    home.mkdir()
    file = home / "\x1b[31mevil[@click=app.quit]\u202e.yaml"
    file.write_text(workflow(), encoding="utf-8")
    (home / "work.py").write_text(WORK, encoding="utf-8")
    tasks = [{"evil": text} for text in (*EVIL, ALL, "half \ud83d")] + [{"evil": LONG[:200_000]}]
    (home / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    db = folder / "deck.db"
    call = [sys.executable, "-m", "agentdeck.cli.main", "run", file.name, "--tasks", "tasks.jsonl"]
    call += ["--tag", ALL.replace("\x00", ""), "--db", str(db), "--json"]
    done = subprocess.run(
        call, cwd=home, capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": root()}
    )
    assert done.returncode == 1, done.stderr.decode(errors="replace")[-2000:]
    return db


def root() -> str:
    return str(Path(__file__).resolve().parents[2])


def check(app: App[None], where: str) -> None:
    """What is on the screen now: no control character, no link, no click, every row as wide as the screen."""
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        check_row(strip, app.size.width, f"{where}, row {y}")


def check_row(strip: Strip, width: int, where: str) -> None:
    text = strip.text
    assert not FORBIDDEN.search(text), f"{where}: {text!r}"
    assert cell_len(text) == width, f"{where}: {cell_len(text)} of {width} cells: {text!r}"
    assert cells(text) == width, f"{where}: {cells(text)} of {width} cells in a terminal: {text!r}"
    for segment in strip:
        assert segment.control is None, where
        if segment.style is not None:
            assert segment.style.link is None, f"{where}: {text!r}"
            assert "app.quit" not in str(segment.style.meta.get("@click")), where


def cells(text: str) -> int:
    """The width of text as terminals count it: by the character, marks that combine not at all."""
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return wide - sum(unicodedata.category(c) in ("Mn", "Me", "Mc", "Cf") for c in text)
