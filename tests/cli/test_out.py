"""`--out`: what is told there is on disk."""

from __future__ import annotations

import json
from pathlib import Path

from agentdeck.cli.conduct import Lines
from agentdeck.core import events as ev


def test_a_task_is_told_once_its_end_is_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    lines = Lines(str(file))
    for seq in (1, 2, 3):
        lines.event(seq, ev.TaskOpened(0.0, str(seq), {"n": seq}))
    for seq in (4, 5, 6):
        lines.event(seq, ev.TaskEnded(1.0, str(seq - 3), "done", seq))
    lines.kept(3)
    assert file.read_text() == ""
    lines.kept(5)
    assert [json.loads(line)["task"] for line in file.read_text().splitlines()] == ["1", "2"]
    lines.close(whole=False)
    assert len(file.read_text().splitlines()) == 2


def test_what_is_left_is_told_when_the_run_is_over(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    lines = Lines(str(file))
    lines.event(1, ev.TaskOpened(0.0, "1", {"n": 1}))
    lines.event(2, ev.TaskEnded(1.0, "1", "done", "x"))
    lines.close(whole=True)
    assert json.loads(file.read_text())["output"] == "x"
