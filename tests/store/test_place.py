from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.store.schema import database


def test_explicit_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTDECK_DB", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("HOME", "/home/ann")
    assert database().name == "agentdeck.db"
    assert database().parent.name == "agentdeck"
    monkeypatch.setenv("AGENTDECK_DB", "~/b.db")
    assert database() == Path("/home/ann/b.db")
    assert database("/c.db") == Path("/c.db")
