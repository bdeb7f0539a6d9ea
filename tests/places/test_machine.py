"""How busy a machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.places import machine


def test_memory_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    assert machine.memory_in_use() is None
    machine.MEMORY.write_text("MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable: 400 kB\nHuge: 0\n")
    assert machine.memory_in_use() == 600 * 1024


def test_the_load_is_no_less_than_nothing() -> None:
    assert machine.load() >= 0
