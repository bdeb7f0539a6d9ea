"""How far a run was exported, by receiver."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.store import exports
from agentdeck.store.exports import exported, save_exported
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing


def test_each_receiver_has_a_position_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "deck.db"
    save_exported(path, "r", "http://one", 7)
    save_exported(path, "r", "http://one", 9)
    save_exported(path, "r", "http://two", 3)
    reader = Reader(path)
    found = [exported(reader, run, f"http://{name}") for run in ("r", "s") for name in ("one", "two", "three")]
    reader.close()
    assert found == [9, 3, 0, 0, 0, 0]


def test_a_lock_of_another_process_is_an_error_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "TIMEOUT", 0.01)
    path = tmp_path / "deck.db"
    open_for_writing(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process holds the lock"):
        save_exported(path, "r", "http://one", 7)
    other.close()
